"""What `headrace broker check` prints: a table for people, or one JSON object a line for programs."""

import json
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.broker.log.findings import Fault, Report

_STYLES = {"clean": "green", "leftovers": "yellow", "damaged": "bold red"}
_PIPE_WIDTH = 400  # where nobody looks, lines are as wide as they need


def print_json(reports: Sequence[Report]) -> None:
    """One object a partition; the directory itself is the one whose topic is null."""
    for report in reports:
        print(json.dumps(_values(report)))


def _values(report: Report) -> dict[str, Any]:
    return {
        "topic": report.topic,
        "partition": report.partition,
        "segments": report.segments,
        "bytes": report.bytes,
        "records": report.records,
        "log_start_offset": report.log_start_offset,
        "log_end_offset": report.log_end_offset,
        "state": report.state,
        "faults": [fault._asdict() for fault in report.faults],
        "notes": [note._asdict() for note in report.notes],
    }


def print_table(reports: Sequence[Report]) -> None:
    """A row a partition, then every fault with file and byte, then what the next start sees to."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for name in ("topic", "partition", "segments", "bytes", "records", "offsets", "state"):
        table.add_column(name, justify="left" if name in ("topic", "state") else "right", no_wrap=True)
    partitions = [report for report in reports if report.topic is not None]
    for report in partitions:
        numbers = (report.partition, report.segments, report.bytes, report.records)
        offsets = f"{report.log_start_offset:,} – {report.log_end_offset:,}"
        state = Text(report.state, style=_STYLES[report.state])
        table.add_row(Text(report.topic or ""), *(f"{number:,}" for number in numbers), offsets, state)
    if partitions:
        console.print(table)
    for kind, style in (("fault", "red"), ("note", "dim")):
        for report in reports:
            for found in report.faults if kind == "fault" else report.notes:
                console.print(Text.assemble((f"{kind}: ", style), _told(found)))
    _print_sum(console, reports, len(partitions))


def _told(found: Fault) -> str:
    byte = "" if found.byte is None else f", byte {found.byte}"
    return ": ".join(filter(None, (f"{found.file}{byte}", found.what)))


def _print_sum(console: Console, reports: Sequence[Report], partitions: int) -> None:
    faults = sum(len(report.faults) for report in reports)
    size, records = sum(report.bytes for report in reports), sum(report.records for report in reports)
    worst = "damaged" if faults else "clean"
    said = f": {faults} faults; {partitions} partitions, {size:,} bytes, {records:,} records"
    console.print(Text.assemble((worst, _STYLES[worst]), said))
