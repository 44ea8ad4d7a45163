"""What `headrace demo` shows at its end: the landed tree, the answer to a question, and the audit in brief."""

import collections
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich import box
from rich.table import Table
from rich.tree import Tree

from headrace.jobs import output
from headrace.jobs.audit.auditor import Auditor
from headrace.jobs.audit.judged import Row, worst
from headrace.jobs.audit.report import STYLES
from headrace.sinks.table.reader import LiveFile, snapshot, tables
from headrace.supervise import Layout

_HOURS_SHOWN: Final = 12
_PERIODS_SHOWN: Final = 24
# The finest period that fits is shown: ten minutes (the audit's own), an hour, a day, a month, a year.
_PERIODS: Final = ("%Y-%m-%d %H:%M", "%Y-%m-%d %H:00", "%Y-%m-%d", "%Y-%m", "%Y")
_COUNTED: Final = ("sent", "rejected", "dropped", "landed", "quarantined", "duplicates", "lost")
_ALWAYS_SHOWN: Final = ("sent", "landed")
_MADE_UP_QUESTION: Final = (
    "SELECT hour, count(*) AS requests, count(*) FILTER (fields['status'] >= '500') AS errors, "
    "bar(count(*), 0, 6000, 40) AS traffic FROM logs GROUP BY hour ORDER BY hour"
)
_QUESTION: Final = (
    "SELECT service, count(*) AS rows, date_trunc('second', min(event_time)) AS first, "
    "date_trunc('second', max(event_time)) AS last, max(length(message)) AS longest "
    "FROM logs GROUP BY service ORDER BY rows DESC, service LIMIT 20"
)


def print_tree(layout: Layout) -> None:
    """The landed tables, their hours, and what is in each."""
    tree = Tree(f"[bold]{layout.landed}[/bold]")
    for topic in tables(layout.landed):
        files = snapshot(layout.landed, topic).files
        branch = tree.add(f"[bold]{topic}[/bold]  {_sizes(files)}")
        hours: dict[str, list[LiveFile]] = collections.defaultdict(list)
        for file in sorted(files, key=lambda file: (file.dt, file.hour)):
            hours[f"dt={file.dt}/hour={file.hour}"].append(file)
        for hour, of_hour in list(hours.items())[:_HOURS_SHOWN]:
            branch.add(f"{hour}  {_sizes(of_hour)}")
        if len(hours) > _HOURS_SHOWN:
            branch.add(f"… and {len(hours) - _HOURS_SHOWN} more hours")
        branch.add("_headrace/  the table's log")
    output.console_on(sys.stdout).print(tree, highlight=False)


def _sizes(files: Sequence[LiveFile]) -> str:
    rows, size_bytes = sum(file.rows for file in files), sum(file.bytes for file in files)
    return f"{_counted(rows, 'row')} in {_counted(len(files), 'file')}, {size_bytes / 1000:,.0f} kB"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def print_answer(layout: Layout, *, made_up: bool) -> None:
    """A question worth asking of these logs, as the user would ask it, and its answer."""
    from headrace.cli import main

    question = _MADE_UP_QUESTION if made_up else _QUESTION
    print(f'\n$ headrace query --data {layout.root} "{question}"', flush=True)
    main(["query", "--data", str(layout.root), question])


def print_audit(layout: Layout) -> None:
    """The audit of topic `logs`, its ten-minute windows summed to as many rows as one likes to read."""
    auditor = Auditor(layout.landed)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    verdict = auditor.judge("logs", now_ms=now_ms)
    print(f"\n$ headrace audit --data {layout.root}   # in brief", flush=True)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    rows_of_all = [row for window in verdict.windows for row in window.rows]
    shown = [name for name in _COUNTED if name in _ALWAYS_SHOWN or _sum(rows_of_all, name)]
    for name in ("from (UTC)", "windows", *shown, "state"):
        table.add_column(name, justify="left" if name in ("from (UTC)", "state") else "right", no_wrap=True)
    periods = _by_period(rows_of_all)
    for period, rows in list(periods.items())[:_PERIODS_SHOWN]:
        state = worst(row.state for row in rows)
        windows = len({row.window_start_ms for row in rows})
        counts = [f"{_sum(rows, name):,}" for name in shown]
        table.add_row(period, f"{windows:,}", *counts, f"[{STYLES[state]}]{state}[/]")
    console = output.console_on(sys.stdout)
    console.print(table)
    if len(periods) > _PERIODS_SHOWN:
        console.print(f"… and {len(periods) - _PERIODS_SHOWN} more", style="dim")
    absent = [name for name in _COUNTED if name not in shown]
    if rows_of_all and absent:
        console.print(
            f"nothing {', '.join(absent[:-1])} or {absent[-1]}" if absent[1:] else f"nothing {absent[0]}", style="dim"
        )
    for reason in verdict.reasons or [reason for _, reasons in verdict.windows.reasons() for reason in reasons][:3]:
        console.print(f"  {reason}", markup=False, highlight=False)


def _by_period(rows: list[Row]) -> dict[str, list[Row]]:
    periods: dict[str, list[Row]] = {}
    for form in _PERIODS:
        periods = {}
        for row in rows:
            start = datetime.fromtimestamp(row.window_start_ms / 1000, UTC)
            periods.setdefault(start.strftime(form), []).append(row)
        if len(periods) <= _PERIODS_SHOWN:
            break
    return periods


def _sum(rows: list[Row], name: str) -> int:
    return sum(getattr(row, name) or 0 for row in rows)
