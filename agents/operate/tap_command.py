"""`headrace agent tap`: what a running agent sends, while it sends it."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from headrace.agents.operate.place import add_place, directory_of
from headrace.errors import UsageError
from headrace.schemas.envelope import HEAD

if TYPE_CHECKING:
    from headrace.agents.operate.asking import Sent

_WINDOW_S = 1.0
_NOT_OF_THE_LINE = {"input", "topic", "fields", *(each["name"] for each in cast("list[dict[str, str]]", HEAD["fields"]))}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent tap`."""
    add_place(parser)
    parser.add_argument("--input", action="append", default=[], metavar="NAME", help="of this input only; may be given again")
    parser.add_argument("--filter", metavar="REGEX", help="events whose message or fields hold this only")
    parser.add_argument("--rate", type=float, default=50.0, metavar="N", help="show N events a second (default: %(default)g)")
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Show events until interrupted, until there were `--count`, or until the agent ends."""
    from headrace.agents.operate.asking import tap

    pattern = _pattern(args.filter)
    if not args.rate > 0:
        raise UsageError(f"--rate {args.rate:g}: give a number above 0")
    directory, shown = directory_of(args), Shown(args.rate, args.count)
    began = False
    try:
        for sent in tap(directory):
            began = True
            for event in _events(sent, args.input, pattern, shown):
                _show(event, args.format)
            if shown.enough:
                break
    except KeyboardInterrupt:
        pass
    finally:
        if began:
            print(f"{shown.shown:,} events shown, {shown.left_out:,} left out", file=sys.stderr)
    return 0


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as error:
        raise UsageError(f"--filter {text!r}: {error}") from error


class Shown:
    """How many were shown, within so many a second, and how many were not, by the agent or here."""

    def __init__(self, rate: float, count: int | None) -> None:
        self._rate, self._count = rate, count
        self._window_s, self._in_window = 0.0, 0
        self.shown = self.left_out = 0

    @property
    def enough(self) -> bool:
        return self._count is not None and self.shown >= self._count

    def admits(self, now_s: float) -> bool:
        """Whether one more is shown at a monotonic time."""
        if now_s - self._window_s >= _WINDOW_S:
            self._window_s, self._in_window = now_s, 0
        if self.enough or self._in_window >= max(1.0, self._rate * _WINDOW_S):
            self.left_out += not self.enough
            return False
        self._in_window += 1
        self.shown += 1
        return True


def _events(sent: "Sent | None", inputs: list[str], pattern: re.Pattern[str] | None, shown: Shown) -> Iterator[dict[str, Any]]:
    if sent is None or (inputs and sent.input not in inputs):
        return
    from headrace.agents.operate.decoding import decoded

    shown.left_out += sent.left_out
    for value in sent.values:
        event = decoded(value, sent.schema)
        if pattern is not None and not any(map(pattern.search, (str(event.get("message", "")), *_fields(event)))):
            continue
        if shown.admits(time.monotonic()):
            yield {"input": sent.input, "topic": sent.topic, **event}


def _fields(event: dict[str, Any]) -> Iterator[str]:
    """What the line said: the columns of its schema, and the map of what has none."""
    columns = {name: value for name, value in event.items() if name not in _NOT_OF_THE_LINE and value is not None}
    rest = event.get("fields")
    for name, value in {**columns, **(rest if isinstance(rest, dict) else {})}.items():
        yield f"{name}={value}"


def _told(value: Any) -> str:
    """A value that is no JSON; a time as everywhere else."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


def _show(event: dict[str, Any], form: str) -> None:
    from headrace.agents.operate.printing import console, printable

    if form == "json":
        print(json.dumps(event, default=_told), flush=True)
        return
    from rich.text import Text

    fields = " ".join(_fields(event))
    console().print(
        Text.assemble(
            (_told(event.get("event_time", "")), "green"), " ", (event["input"], "cyan"), " ",
            printable(str(event.get("message", ""))), *((" ", (printable(fields), "dim")) if fields else ()),
        ),
        soft_wrap=True,
    )  # fmt: skip
