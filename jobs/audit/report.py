"""The audit's report: a table for people, rows for programs; the reasons go to standard error where the rows are data."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from headrace.jobs import output
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.reasons import Spell
from headrace.jobs.audit.verdict import Row, TopicVerdict, when

REASONS_SHOWN: Final = 20
_STYLES: Final = {"complete": "green", "incomplete": "bold red", "unknown": "yellow"}
_TEXTS: Final = ("topic", "window_start", "agent", "host", "state")
NAMES: Final = tuple(field.name.removesuffix("_ms") for field in fields(Row))


def print_report(found: GateVerdict, format_: str) -> None:
    """Print the rows of all windows to standard output, in `table`, `csv` or `json`."""
    rows = [_values(row) for verdict in found.topics for window in verdict.windows for row in window.rows]
    with output.output_stream(None) as stream:
        if format_ == "table":
            _print_table(rows, found, stream)
            return
        write = output.write_csv if format_ == "csv" else output.write_json
        write(NAMES, rows, stream)
    for spell in found.spells():
        print(f"headrace audit: {_told(spell)}", file=sys.stderr)


def _told(spell: Spell) -> str:
    """A reason with its topic and windows, in a line."""
    if not spell.starts:
        return f"{spell.topic}: {output.escaped(spell.reason)}"
    others = f" to {when(spell.end_ms or 0)}" if len(spell.starts) > 1 else ""
    return f"{spell.topic}, {when(spell.starts[0])}{others}: {output.escaped(spell.reason)}"


def _values(row: Row) -> list[Any]:
    start = when(row.window_start_ms).replace(" ", "T")
    return [start if name == "window_start_ms" else value for name, value in asdict(row).items()]


def _print_table(rows: list[list[Any]], found: GateVerdict, stream: TextIO) -> None:
    console = output.console_on(stream)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for name in NAMES:
        table.add_column(name.replace("_", " "), justify="left" if name in _TEXTS else "right", no_wrap=True)
    for row in rows[: output.SHOWN_ROWS]:
        table.add_row(*(_cell(name, value) for name, value in zip(NAMES, row, strict=True)))
    console.print(table)
    if len(rows) > output.SHOWN_ROWS:
        console.print(f"… and {len(rows) - output.SHOWN_ROWS:,} more rows (--format csv or json gives all)", style="dim")
    reasons = [_told(spell) for spell in found.spells()]
    for reason in reasons[:REASONS_SHOWN]:
        console.print(Text(f"  {reason}"))
    if len(reasons) > REASONS_SHOWN:
        console.print(f"  … and {len(reasons) - REASONS_SHOWN:,} more reasons", style="dim")
    console.print(Text.assemble((found.state, _STYLES[found.state]), f": {_sums(found.topics)}"))


def _cell(name: str, value: Any) -> Text:
    if name == "state":
        return Text(value, style=_STYLES[value])
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, int):
        trouble = value and name in ("dropped", "lost", "quarantined", "rejected")
        return Text(f"{value:,}", style="red" if trouble else "dim" if not value else "")
    return Text(output.escaped(value[:8] if name == "agent" else value))


def _sums(verdicts: Sequence[TopicVerdict]) -> str:
    windows = [window for verdict in verdicts for window in verdict.windows]
    rows = [row for window in windows for row in window.rows]
    sent, landed = sum(row.sent or 0 for row in rows), sum(row.landed for row in rows if row.agent)
    foreign = sum(row.landed for row in rows if row.agent is None)
    beside = f", and {foreign:,} of no agent" if foreign else ""
    count = f"{len(windows):,} {'window' if len(windows) == 1 else 'windows'} of {len(verdicts):,} "
    return f"{landed:,} landed of {sent:,} sent{beside}, in {count}{'topic' if len(verdicts) == 1 else 'topics'}"
