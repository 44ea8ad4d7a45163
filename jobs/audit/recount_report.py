"""What a recount came to: rows for programs; for people the windows that differ, and what differs where."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from headrace.jobs import output
from headrace.jobs.audit.places import Place
from headrace.jobs.audit.recounting import Counted, State, TopicRecount
from headrace.jobs.audit.wording import when

PLACES_SHOWN: Final = 40
NAMES: Final = tuple(field.name.removesuffix("_ms") for field in fields(Counted))
BY_NUMBER: Final = (
    "rows under a schema of its own no longer have the bytes that their records had: what agents sent is compared with what was"
    " recorded when they landed, and files with the log"
)
_STYLES: Final = {"same": "green", "differs": "bold red", "unknown": "yellow", "expired": "dim"}


def worst(recounts: Sequence[TopicRecount]) -> State:
    """`differs` if any does, else `unknown` if any is, else `same`; `expired` if nothing else is there."""
    states = {recount.state for recount in recounts}
    if states == {"expired"}:
        return "expired"
    return "differs" if "differs" in states else "unknown" if "unknown" in states else "same"


def print_recount(recounts: Sequence[TopicRecount], format_: str) -> None:
    """Print to standard output, in `table`, `csv` or `json`; where the rows are data, what differs goes to standard error."""
    counted = [row for recount in recounts for row in recount.rows]
    with output.output_stream(None) as stream:
        if format_ != "table":
            write = output.write_csv if format_ == "csv" else output.write_json
            write(NAMES, [_values(row) for row in counted], stream)
        else:
            console = output.console_on(stream)
            if unlike := [row for row in counted if row.state not in ("same", "expired")]:
                console.print(_table(unlike[: output.SHOWN_ROWS]))
            for said in list(differences_of(recounts))[:PLACES_SHOWN]:
                console.print(Text(f"  {said}"))
            state = worst(recounts)
            console.print(Text.assemble((state, _STYLES[state]), f": {_sums(counted)}"))
            return
    for said in differences_of(recounts):
        print(f"headrace audit: {said}", file=sys.stderr)


def differences_of(recounts: Sequence[TopicRecount]) -> Iterator[str]:
    """What differs and where, one line each."""
    for recount in recounts:
        if recount.is_by_number:
            yield f"{recount.topic}: {BY_NUMBER}"
        yield from (f"{recount.topic}: {output.escaped(remark)}" for remark in recount.remarks)
        yield from (
            f"{recount.topic}, {when(place.window_start_ms)}: {output.escaped(said(place))}" for place in recount.places
        )


def said(place: Place) -> str:
    """A place in words: `1 event of agent a is missing: stream s, positions 120 to 180 …`."""
    events = "1 event" if place.count == 1 else f"{place.count:,} events"
    is_are = "is" if place.count == 1 else "are"
    match place.kind:
        case "moved":
            assert place.moved_to is not None, "it was moved somewhere"
            topic, start_ms = place.moved_to
            what = f"{events} of agent {place.agent} {is_are} in the window of {when(start_ms)} of {topic} instead"
        case "doubled":
            what = f"{events} of agent {place.agent} {is_are} there twice"
        case "excess":
            what = f"{events} of agent {place.agent} {is_are} too many"
        case "missing":
            what = f"{events} of agent {place.agent} {is_are} missing"
        case "altered":
            what = f"events of agent {place.agent} were altered"
    return what + _where(place)


def _where(place: Place) -> str:
    parts = []
    if place.stream is not None and place.positions is not None:
        first, end = place.positions
        parts.append(f"stream {place.stream}, positions {first} to {end}")
    if place.files:
        shown = ", ".join(place.files[:3]) + (f" and {len(place.files) - 3} more" if len(place.files) > 3 else "")
        parts.append(f"{'beside it in' if place.kind == 'missing' else 'in'} {shown}")
    return f": {'; '.join(parts)}" if parts else ""


def _values(row: Counted) -> list[Any]:
    start = when(row.window_start_ms).replace(" ", "T")
    return [row.topic, start, row.agent, row.host, row.sent, row.recorded, row.counted, row.state]


def _table(rows: Sequence[Counted]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for name in NAMES:
        numbers = ("sent", "recorded", "counted")
        table.add_column(name.replace("_", " "), justify="right" if name in numbers else "left", no_wrap=True)
    for row in rows:
        cells = [f"{cell:,}" if isinstance(cell, int) else "–" if cell is None else cell for cell in _values(row)]
        table.add_row(*(output.escaped(cell) for cell in cells[:-1]), Text(row.state, _STYLES[row.state]))
    return table


def _sums(rows: Sequence[Counted]) -> str:
    ours = [row for row in rows if row.agent is not None]
    sent, recorded, counted = (sum(getattr(row, name) or 0 for row in ours) for name in ("sent", "recorded", "counted"))
    foreign = sum(row.counted or 0 for row in rows if row.agent is None)
    beside = f", and {foreign:,} of no agent" if foreign else ""
    if expired := sum(row.state == "expired" for row in ours):
        beside += f"; {expired:,} windows of agents are not compared, because files of theirs have expired"
    return f"{counted:,} counted in files, {recorded:,} recorded, {sent:,} sent{beside}"
