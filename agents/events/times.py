"""Where a pipeline looks for an event's time, and how it reads it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from headrace.agents.events import timestamps
from headrace.agents.events.formats import Format, format_of
from headrace.agents.events.zones import Local, local_time

# Where structured logs keep their time, the more specific first.
TIME_KEYS = ("@timestamp", "timestamp", "time", "ts", "datetime", "event_time", "eventTime", "asctime", "date", "t")


@dataclass(frozen=True, slots=True)
class Times:
    """`keys` are the fields that may hold the time, the first that does counting; without `formats` its form is recognised.

    `local` is the zone of times that name none; `asked` says that the user said where the time is, or how it is written.
    """

    keys: tuple[str, ...] = TIME_KEYS
    formats: tuple[Format, ...] = ()
    local: Local = None
    asked: bool = False

    @property
    def at_start(self) -> Callable[[str, int], int | None]:
        """Reads the time that a text begins with."""
        if self.formats:
            return lambda text, read_time_us: self._by_format(text[:200], read_time_us, whole=False)
        return timestamps.at_start if self.local is None else partial(timestamps.at_start, local=self.local)

    def in_fields(self, fields: Mapping[str, Any], read_time_us: int) -> int | None:
        """The time that one of the fields holds, as text or as a number."""
        for key in self.keys:
            if key in fields:
                event_time_us = self.of(fields[key], read_time_us)
                if event_time_us is not None:
                    return event_time_us
        return None

    def of(self, value: Any, read_time_us: int) -> int | None:
        """A field's value as a time; None where it is none."""
        if isinstance(value, str):
            if self.formats:
                return self._by_format(value.strip()[:200], read_time_us, whole=True)
            return timestamps.at_start(value, read_time_us, self.local)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e20:
            return None
        if self.formats:
            text = str(value) if isinstance(value, int) else f"{value:.6f}"
            return self._by_format(text, read_time_us, whole=True)
        return timestamps.number(value)

    def _by_format(self, text: str, read_time_us: int, *, whole: bool) -> int | None:
        for form in self.formats:
            found = form(text, read_time_us, whole)
            if found is not None:
                return found
        return None


def times_of(rule: Mapping[str, Any] | None) -> Times:
    """From a definition's `time`: `field`, `formats` and `timezone`, each where it is said.

    Raises:
        ValueError: a format or a zone is none.
    """
    if not rule:
        return Times()
    local = local_time(rule.get("timezone", "UTC"))
    field, formats = rule.get("field"), rule.get("formats", [])
    keys = TIME_KEYS if field is None else (field,)
    return Times(keys, tuple(format_of(form, local) for form in formats), local, bool(field or formats))
