"""What `headrace lag` found: one JSON object or one line of CSV a partition, or a table for people."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final, TextIO

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from headrace.sinks.lag import spoken
from headrace.sinks.lag.survey import PartitionLag, TableLag, furthest_behind


def rows(tables: Sequence[TableLag], at_ms: int) -> Iterator[dict[str, Any]]:
    """One a partition; what is the table's is in each."""
    for table in tables:
        rate = table.files_per_gigabyte
        for lag in table.partitions:
            yield {
                **asdict(lag),
                "last_commit_ms": table.last_commit_ms,
                "files": table.files,
                "file_bytes": table.file_bytes,
                "files_per_gigabyte": None if rate is None else round(rate, 1),
                "at_ms": at_ms,
                "error": table.error,
            }


def write_json(tables: Sequence[TableLag], at_ms: int, stream: TextIO) -> None:
    """One object a line."""
    for row in rows(tables, at_ms):
        stream.write(json.dumps(row) + "\n")
    stream.flush()


def write_csv(tables: Sequence[TableLag], at_ms: int, stream: TextIO) -> None:
    """RFC 4180 with a header; what is not known is empty."""
    writer = csv.writer(stream, lineterminator="\n")
    for number, row in enumerate(rows(tables, at_ms)):
        if number == 0:
            writer.writerow(row)
        writer.writerow(row.values())
    stream.flush()


_TITLES: Final = (
    "topic",
    "part",
    "landed",
    "end",
    "lag",
    "oldest",
    "retention in",
    "lost",
    "last commit",
    "files",
    "MB",
    "files/GB",
)
_DISPENSABLE: Final = ("MB", "landed", "files", "end", "last commit", "files/GB")
"""What a narrow terminal does without, in this order."""
_GAP: Final = 3


def drawn(tables: Sequence[TableLag], now_ms: int, *, width: int, lines: int | None = None) -> Group:
    """A table for people, of so many letters and at most so many lines: what is in the most danger stays."""
    shown = [(table, lag) for table in tables for lag in table.partitions]
    left_out = 0
    if lines is not None and len(shown) > lines:
        worst = sorted(shown, key=lambda pair: _badness(pair[1]))[: max(1, lines - 1)]
        left_out, shown = len(shown) - len(worst), [pair for pair in shown if pair in worst]
    begins = [number == 0 or table is not shown[number - 1][0] for number, (table, _) in enumerate(shown)]
    cells = [_cells(table, lag, now_ms, begins=first) for (table, lag), first in zip(shown, begins, strict=True)]
    drawing = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    kept = _that_fit(cells, width)
    for index in kept:
        if index == 0:
            drawing.add_column(_TITLES[0], overflow="ellipsis", no_wrap=True)
        else:
            drawing.add_column(_TITLES[index], justify="right", no_wrap=True)
    for row in cells:
        drawing.add_row(*(row[index] for index in kept))
    more = [Text(f"{left_out} more are better off", style="dim")] if left_out else []
    return Group(drawing, *more, _summary(tables))


def _that_fit(cells: Sequence[Sequence[Text]], width: int) -> list[int]:
    """The indexes of the columns to show."""
    widths = [max([len(title), *(row[index].cell_len for row in cells)]) for index, title in enumerate(_TITLES)]
    kept = list(range(len(_TITLES)))
    for title in _DISPENSABLE:
        if sum(widths[index] + _GAP for index in kept) - _GAP <= width:
            break
        kept.remove(_TITLES.index(title))
    return kept


def _badness(lag: PartitionLag) -> tuple[float, float]:
    until = lag.seconds_until_retention
    return float("inf") if until is None else until, -(lag.lag_seconds or 0.0)


def _cells(table: TableLag, lag: PartitionLag, now_ms: int, *, begins: bool) -> list[Text]:
    until = lag.seconds_until_retention
    cells = [
        Text(lag.topic if begins else ""),
        Text(str(lag.partition)),
        _known(lag.landed_offset, f"{lag.landed_offset or 0:,}"),
        _known(lag.end_offset, f"{lag.end_offset or 0:,}"),
        _known(lag.lag_offsets, f"{lag.lag_offsets or 0:,}"),
        _known(lag.lag_seconds, spoken.duration(lag.lag_seconds or 0) if lag.lag_offsets else ""),
        Text("" if until is None else "overtaken" if until == 0 else spoken.duration(until), style=_danger(lag)),
        Text(f"{lag.lost_offsets:,}" if lag.lost_offsets else "", style="red"),
    ]
    if not begins:
        return [*cells, *(Text() for _ in _TITLES[len(cells) :])]
    if table.error is not None:
        return [*cells, Text("cannot be read", style="red"), Text(), Text(), Text()]
    rate, commit_ms = table.files_per_gigabyte, table.last_commit_ms
    since = "never" if commit_ms is None else f"{spoken.duration(max(0, (now_ms - commit_ms) / 1000))} ago"
    size = [Text(f"{table.files:,}"), Text(spoken.megabytes(table.file_bytes)), Text("" if rate is None else f"{rate:,.0f}")]
    return [*cells, Text(since), *size]


def _known(value: object, text: str) -> Text:
    return Text("?", style="dim") if value is None else Text(text)


def _danger(lag: PartitionLag) -> str:
    """The colour of what retention leaves: red where that is less than what landing is behind already."""
    until = lag.seconds_until_retention
    return "red" if until is not None and until < max(60.0, lag.lag_seconds or 0.0) else ""


def _summary(tables: Sequence[TableLag]) -> Text:
    offsets, seconds = furthest_behind(tables)
    partitions = sum(len(table.partitions) for table in tables)
    oldest = f", the oldest {spoken.duration(seconds)} old" if offsets else ""
    said = f"{len(tables)} topics, {partitions} partitions: {offsets:,} offsets have not landed{oldest}"
    return Text(said, no_wrap=True, overflow="ellipsis")
