"""Where a pipeline looks for an event's time, and how it reads it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from headrace.agents.events import time_forms, timestamps
from headrace.agents.events.formats import Format, format_of
from headrace.agents.events.zones import Local, local_time

# Where structured logs keep their time, the more specific first.
TIME_KEYS_1 = ("@timestamp", "timestamp", "time", "ts", "datetime", "event_time", "eventTime", "asctime", "date", "t")
# Of Serilog, log4j, nginx, journald, Kubernetes' audit, Envoy, Fortinet.
TIME_KEYS = (
    *TIME_KEYS_1, "@t", "Timestamp", "timeMillis", "instant", "time_iso8601", "time_local", "msec", "__REALTIME_TIMESTAMP",
    "requestReceivedTimestamp", "start_time", "_time", "Time", "eventtime",
)  # fmt: skip
_LEAST_UNIT = {"epochSecond": "nanoOfSecond", "seconds": "nanos"}  # of log4j's `instant`, of protobuf's Timestamp as an object


@dataclass(frozen=True, slots=True)
class Times:
    """`keys` are the fields that may hold the time, the first that does counting; without `formats` its form is recognised.

    `local` is the zone of times that name none; `asked` says that the user said where the time is, or how it is written.
    `recognise` finds times by their form: pipelines of version 1 knew fewer.
    """

    keys: tuple[str, ...] = TIME_KEYS
    formats: tuple[Format, ...] = ()
    local: Local = None
    asked: bool = False
    recognise: Callable[..., int | None] = time_forms.at_start

    @property
    def at_start(self) -> Callable[[str, int], int | None]:
        """Reads the time that a text begins with."""
        if self.formats:
            return lambda text, read_time_us: self._by_format(text[:200], read_time_us, whole=False)
        return self.recognise if self.local is None else partial(self.recognise, local=self.local)

    def in_fields(self, fields: Mapping[str, Any], read_time_us: int) -> int | None:
        """The time that one of the fields holds, as text or as a number."""
        for key in self.keys:
            if key in fields:
                event_time_us = self.of(fields[key], read_time_us)
                if event_time_us is not None:
                    return event_time_us
        if "date" in fields and "time" in fields and not self.asked and self.recognise is time_forms.at_start:
            return self.of(f"{fields['date']} {fields['time']}", read_time_us)
        return None

    def of(self, value: Any, read_time_us: int) -> int | None:
        """A field's value as a time; None where it is none."""
        if isinstance(value, str):
            if self.formats:
                return self._by_format(value.strip()[:200], read_time_us, whole=True)
            return self.recognise(value, read_time_us, self.local)
        if isinstance(value, Mapping):
            return self._of_object(value, read_time_us) if self.recognise is time_forms.at_start else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e20:
            return None
        if self.formats:
            text = str(value) if isinstance(value, int) else f"{value:.6f}"
            return self._by_format(text, read_time_us, whole=True)
        return timestamps.number(value)

    def _of_object(self, value: Mapping[str, Any], read_time_us: int) -> int | None:
        """`{"$date": "2026-11-26T14:05:06.123Z"}` as MongoDB writes it, or seconds since the epoch and what is less."""
        if isinstance(value.get("$date"), str):
            return self.of(value["$date"], read_time_us)
        for seconds, nanos in _LEAST_UNIT.items():
            if type(at := value.get(seconds)) is int and type(less := value.get(nanos, 0)) is int and 0 < at < 10**11:
                return at * 1_000_000 + less // 1000
        return None

    def _by_format(self, text: str, read_time_us: int, *, whole: bool) -> int | None:
        for form in self.formats:
            found = form(text, read_time_us, whole)
            if found is not None:
                return found
        return None


def times_of(rule: Mapping[str, Any] | None, version: int = 2) -> Times:
    """From a definition's `time`: `field`, `formats` and `timezone`, each where it is said; and its version.

    Raises:
        ValueError: a format or a zone is none.
    """
    usual, recognise = (TIME_KEYS, time_forms.at_start) if version >= 2 else (TIME_KEYS_1, timestamps.at_start)
    if not rule:
        return Times(usual, recognise=recognise)
    local = local_time(rule.get("timezone", "UTC"))
    field, formats = rule.get("field"), rule.get("formats", [])
    keys = usual if field is None else (field,)
    return Times(keys, tuple(format_of(form, local) for form in formats), local, bool(field or formats), recognise)
