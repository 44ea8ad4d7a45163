"""The audit's report. For people: topics by state, what is not complete and why, and the rest in ranges; for programs: rows.

Where the rows are data (`csv`, `json`), the reasons go to standard error.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby, islice
from typing import Any, Final, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.audit import WINDOW_MS
from headrace.jobs import output
from headrace.jobs.audit.gate import GateVerdict
from headrace.jobs.audit.judged import SUMMED, Row, TopicVerdict, Verdict, sums_of
from headrace.jobs.audit.reasons import REMEDIES, Spell
from headrace.jobs.audit.wording import when

STYLES: Final[dict[Verdict, str]] = {"complete": "green", "incomplete": "bold red", "unknown": "yellow"}
NAMES: Final = tuple(field.name.removesuffix("_ms") for field in fields(Row))
_TEXTS: Final = ("topic", "window_start", "agent", "host", "state")
_ALWAYS_SUMMED: Final = ("sent", "landed")
_TROUBLES: Final = ("dropped", "lost", "quarantined", "rejected")
_TOPICS_SHOWN: Final = 60
_REASONS_SHOWN: Final = 40
_RANGES_SHOWN: Final = 4


def print_report(found: GateVerdict, format_: str, *, every_window: bool = False) -> None:
    """Print to standard output: `csv` and `json` have the rows of all windows, a `table` only with `every_window`."""
    with output.output_stream(None) as stream:
        if format_ == "table":
            _print_for_people(found, stream, every_window=every_window)
            return
        write = output.write_csv if format_ == "csv" else output.write_json
        write(NAMES, _rows(found), stream)
    for said in found.assumed:
        print(f"headrace audit: {output.escaped(said)}", file=sys.stderr)
    for spell in found.spells():
        place = f"{spell.topic}, {_span_of(spell)}" if spell.starts else spell.topic
        print(f"headrace audit: {place}: {output.escaped(spell.reason)}", file=sys.stderr)


def span(start_ms: int, end_ms: int) -> str:
    """From when to when (UTC), to the minute; a day that is the same is said once."""
    start, end = when(start_ms)[:16], when(end_ms)[:16]
    return f"{start}–{end[11:]}" if start[:10] == end[:10] else f"{start} – {end}"


def _print_for_people(found: GateVerdict, stream: TextIO, *, every_window: bool) -> None:
    console = output.console_on(stream)
    sums = {topic.topic: sums_of(topic.windows) for topic in found.topics}
    if every_window:
        _print_windows(_rows(found), console)
    else:
        _print_topics(found.topics, sums, console)
    _print_reasons(found.spells(), console)
    if not every_window:
        _print_complete(found.topics, console)
    for said in found.assumed:
        console.print(Text(output.escaped(said), "dim"))
    console.print(Text.assemble((found.state, STYLES[found.state]), f": {_in_all(found.topics, sums)}"))


def _rows(found: GateVerdict) -> Iterator[list[Any]]:
    for topic in found.topics:
        for window in topic.windows:
            for row in window.rows:
                start = when(row.window_start_ms).replace(" ", "T")
                yield [start if name == "window_start" else getattr(row, name) for name in NAMES]


def _table(names: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for name in names:
        left = name in _TEXTS or name.endswith("(UTC)")
        table.add_column(name.replace("_", " "), justify="left" if left else "right", no_wrap=True)
    return table


def _print_topics(topics: Sequence[TopicVerdict], sums: Mapping[str, Counter[str]], console: Console) -> None:
    """A line a topic: its windows by state, and what there is of them; the worst first."""
    summed = [name for name in SUMMED if name in _ALWAYS_SUMMED or any(of_topic[name] for of_topic in sums.values())]
    table = _table(["topic", "windows (UTC)", *STYLES, *summed])
    worst_first = sorted(topics, key=lambda topic: (topic.state == "complete", topic.state == "unknown", topic.topic))
    for topic in worst_first[:_TOPICS_SHOWN]:
        starts = topic.windows.starts
        counts = [_counted(topic, state) for state in STYLES]
        numbers = [_number(name, sums[topic.topic][name]) for name in summed]
        covered = span(starts[0], starts[-1] + WINDOW_MS) if starts else "none"
        table.add_row(Text(output.escaped(topic.topic), STYLES[topic.state]), covered, *counts, *numbers)
    if topics:
        console.print(table)
    if len(topics) > _TOPICS_SHOWN:
        console.print(f"… and {len(topics) - _TOPICS_SHOWN:,} more topics (--all, --format csv or json)", style="dim")


def _counted(topic: TopicVerdict, state: Verdict) -> Text:
    count = topic.windows.count_of(state)
    return Text(f"{count:,}", STYLES[state] if count else "dim")


def _print_windows(rows: Iterator[list[Any]], console: Console) -> None:
    table = _table(NAMES)
    for row in islice(rows, output.SHOWN_ROWS):
        table.add_row(*(_cell(name, value) for name, value in zip(NAMES, row, strict=True)))
    console.print(table)
    if more := sum(1 for _ in rows):
        console.print(f"… and {more:,} more rows (--format csv or json gives all)", style="dim")


def _print_reasons(spells: Sequence[Spell], console: Console) -> None:
    """What is not complete, where, and why; below each kind what to do. Faults first; one agent's silence is told once."""
    by_reason: dict[tuple[str | None, ...], list[Spell]] = {}
    for spell in sorted(spells, key=lambda spell: (not spell.reason.is_fault, spell.reason.kind)):
        where = () if spell.reason.is_of_agent else (spell.topic, str(spell.starts))
        by_reason.setdefault((*spell.reason.same, *where), []).append(spell)
    shown = list(by_reason.values())[:_REASONS_SHOWN]
    for kind, alike in groupby(shown, key=lambda one: one[0].reason.kind):
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column()
        for first, *others in alike:
            style = STYLES["incomplete" if first.reason.is_fault else "unknown"]
            more = f" and {len(others):,} more" if others else ""
            grid.add_row(Text(output.escaped(first.topic) + more, style), _span_of(first), Text(output.escaped(first.reason)))
        console.print(grid)
        console.print(Text(f"  → {REMEDIES[kind]}", "italic"))
    if len(by_reason) > _REASONS_SHOWN:
        console.print(f"… and {len(by_reason) - _REASONS_SHOWN:,} more reasons (--format csv or json gives all)", style="dim")


def _span_of(spell: Spell) -> str:
    if spell.end_ms is None:
        return ""
    of_many = f" ({len(spell.starts):,} windows)" if len(spell.starts) > 1 else ""
    return span(spell.starts[0], spell.end_ms) + of_many


def _print_complete(topics: Sequence[TopicVerdict], console: Console) -> None:
    """The complete windows of topics that have others too, in ranges; of the others the line of the topic says it."""
    for topic in topics:
        ranges = list(_complete_ranges(topic))
        if topic.state == "complete" or not ranges:
            continue
        told = [f"{span(first, last + WINDOW_MS)} ({count:,})" for first, last, count in ranges[-_RANGES_SHOWN:]]
        more = f"{len(ranges) - _RANGES_SHOWN:,} more ranges, " if len(ranges) > _RANGES_SHOWN else ""
        console.print(Text.assemble((output.escaped(topic.topic), "green"), f"  complete: {more}{', '.join(told)}"))


def _complete_ranges(topic: TopicVerdict) -> Iterator[tuple[int, int, int]]:
    """First start, last start and number of complete windows in a row."""
    for state, alike in groupby(topic.windows.states(), key=lambda each: each[1]):
        if state == "complete":
            starts = [start_ms for start_ms, _ in alike]
            yield starts[0], starts[-1], len(starts)


def _cell(name: str, value: Any) -> Text:
    if name == "state":
        return Text(value, style=STYLES[value])
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, int):
        return _number(name, value)
    return Text(output.escaped(value[:8] if name == "agent" else value))


def _number(name: str, value: int) -> Text:
    return Text(f"{value:,}", style="dim" if not value else "red" if name in _TROUBLES else "")


def _in_all(verdicts: Sequence[TopicVerdict], sums: Mapping[str, Counter[str]]) -> str:
    windows = sum(len(verdict.windows) for verdict in verdicts)
    sent, landed, foreign = (sum(one[name] for one in sums.values()) for name in ("sent", "landed", "foreign"))
    beside = f", and {foreign:,} of no agent" if foreign else ""
    count = f"{windows:,} {'window' if windows == 1 else 'windows'} of {len(verdicts):,} "
    return f"{landed - foreign:,} landed of {sent:,} sent{beside}, in {count}{'topic' if len(verdicts) == 1 else 'topics'}"
