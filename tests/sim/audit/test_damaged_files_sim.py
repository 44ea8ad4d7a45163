"""Verdicts where landed files are gone or cannot be read: the rows of the audit's simulated world, in files.

Held under every seed:

    a window of which a row lies in a file that is known to be so is unknown: never complete, and blamed on nobody
    the time that is asked for is not complete if such a row is of it, also where nothing else tells of its window
    a window outside of what such files may hold is judged as if all of them were there
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from headrace.audit import WINDOW_MS, window_start_ms
from headrace.errors import CorruptError
from headrace.jobs.audit import damage, verdict
from headrace.jobs.audit.damage import Reading, counts_by_event_time
from headrace.jobs.audit.evidence import Damaged, Landed, WindowSum
from headrace.jobs.audit.judged import TopicVerdict
from headrace.jobs.audit.verdict import excesses
from headrace.jobs.audit.window_rows import holding
from headrace.jobs.landed_rows import Found, recounts
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.reader import LiveFile, TableSnapshot
from tests.landed_tables import ENVELOPE
from tests.sim.audit.test_audit_sim import Auditing, Fault, few_windows, settle, step
from tests.sim.audit.world import HOUR_MS, PARTITIONS, TOPIC, Line, World
from tests.sim.harness import Guard, each_guard, run_seeds

EVENTS = encode_schema(pa.schema([field.with_nullable(False) for field in ENVELOPE]))
OWN = encode_schema(ENVELOPE)
"""As it is when rows of a schema without these columns have landed, too."""
NOBODY = "nobody"
Rows = list[tuple[Line, int, int]]


@dataclass(frozen=True)
class Files:
    """A world's rows in files. `bad` are damaged, of which the names without an underscore are gone, as a listing tells.

    With `shift_ms` agents' are under a user's own schema, and count in other windows than those of their event time.
    """

    rows: dict[str, Rows]
    bad: frozenset[str]
    shift_ms: int

    @property
    def gone(self) -> frozenset[str]:
        return frozenset(name for name in self.bad if "_" not in name)

    def span(self, name: str) -> tuple[int, int]:
        times = [self.event_ms(line) for line, _, _ in self.rows[name]]
        return min(times), max(times)

    def event_ms(self, line: Line) -> int:
        assert line.event_ms is not None, "it was read"
        return line.event_ms + (0 if line.agent == NOBODY else self.shift_ms)

    def live(self) -> tuple[LiveFile, ...]:
        return tuple(self._live(name, f"{name} is gone" if name in self.gone else None) for name in self.rows)

    def _live(self, name: str, damage: str | None) -> LiveFile:
        return LiveFile(name, name, "", 1, 1, *self.span(name), "", "", (), "", "", damage)

    def may_hold(self, name: str, start_ms: int) -> bool:
        first_ms, last_ms = map(window_start_ms, self.span(name))
        return bool(self.shift_ms) or first_ms <= start_ms <= last_ms

    def read(self, file: LiveFile) -> Rows:
        if file.name in self.bad:
            raise CorruptError(f"{file.name} is damaged")
        return self.rows[file.name]

    def of_agents(self, file: LiveFile, keys: set[tuple[str, int]]) -> list[Found]:
        return [(line.window, line.identity, (0, *at)) for line, *at in self.read(file) if line.window in keys]  # type: ignore[misc]


def cut(rng: random.Random, world: World) -> Files:
    """Of each hour or day some files; in some worlds with rows of nobody, of whose windows nothing else tells."""
    strangers = [Line(NOBODY, "x", n, world.now_ms - rng.randrange(40 * HOUR_MS), 0) for n in range(rng.choice((0, 0, 3)))]
    shift_ms = rng.choice((0, 0, -2, 1)) * HOUR_MS
    size_ms = rng.choice((1, 1, 24)) * HOUR_MS
    groups: dict[tuple[int, int], Rows] = defaultdict(list)
    for row in [*world.rows, *((line, 0, 0) for line in strangers)]:
        groups[row[0].start_ms // size_ms, rng.randrange(3)].append(row)
    named = {f"{n}{rng.choice(('', '_'))}": rows for n, (_, rows) in enumerate(sorted(groups.items()))}
    return Files(named, frozenset(name for name in named if rng.random() < 0.2), shift_ms)


def judged(world: World, agents: Auditing, files: Files, since_ms: float, until_ms: float) -> tuple[TopicVerdict, set[str]]:
    """As the auditor has it (auditor.py), and the files that were noticed."""
    known, audit = agents.agents(), world.fold.audit.windows
    columns = OWN if files.shift_ms else EVENTS
    table = TableSnapshot(TOPIC, 1, 0, "a", None, columns, files.live(), {}, audit, {}, None, {}, (), (), {})
    reading = Reading(table)
    sums = {key: WindowSum(total.count, total.hash, total.duplicates) for key, total in audit.items()}
    foreign: dict[int, int] = defaultdict(int)
    for file in table.files if any(line.agent == NOBODY for rows in files.rows.values() for line, _, _ in rows) else ():
        for line, _, _ in reading.of(file, files.read) or ():
            foreign[line.start_ms] += line.agent == NOBODY
    landed = Landed(ends=dict(world.ends), sums=sums, foreign={start_ms: n for start_ms, n in foreign.items() if n})
    keys = excesses(TOPIC, known, landed)
    near = holding(table.files, {start_ms for _, start_ms in keys}) if counts_by_event_time(table) else table.files
    read = partial(files.of_agents, keys=keys)
    found = recounts(
        (rows for file in near if (rows := reading.of(file, read)) is not None), dict.fromkeys(range(PARTITIONS), 0)
    )
    landed = replace(landed, damaged=reading.damaged(since_ms, until_ms))
    times = {"since_ms": since_ms, "until_ms": until_ms}
    noticed = {one.what.split()[0] for one in landed.damaged}
    return verdict.judge(TOPIC, known, landed, found, now_ms=world.now_ms, **times), noticed


def a_time(rng: random.Random, files: Files) -> tuple[float, float]:
    """All, or some windows about a row."""
    rows = [line for of_file in files.rows.values() for line, _, _ in of_file]
    rows = [line for line in rows if line.agent == NOBODY] or rows
    if rng.random() < 0.3 or not rows:
        return -math.inf, math.inf
    since_ms = rng.choice(rows).start_ms + rng.randrange(-HOUR_MS, HOUR_MS)
    return since_ms, since_ms + rng.randrange(1, 2 * HOUR_MS)


def ask(rng: random.Random, world: World) -> None:
    agents, files = Auditing(rng, world), cut(rng, world)
    since_ms, until_ms = a_time(rng, files)
    found, noticed = judged(world, agents, files, since_ms, until_ms)
    whole, _ = judged(world, agents, replace(files, bad=frozenset()), since_ms, until_ms)
    states = {window.window_start_ms: window for window in whole.windows}
    lacking = {line.start_ms for name in noticed | files.gone for line, _, _ in files.rows[name]}
    for window in found.windows:
        start_ms = window.window_start_ms
        if start_ms in lacking:
            assert window.state == "unknown", window
        elif not any(files.may_hold(name, start_ms) for name in noticed):
            assert window == states[start_ms], (window, states[start_ms])
    lacks = any(since_ms < start_ms + WINDOW_MS and start_ms < until_ms for start_ms in lacking)
    assert found.state == "unknown" or not lacks, found


def damaged_files_are_unknown(rng: random.Random) -> None:
    with few_windows(rng):
        world = World(rng, ["a", "b", "c"][: rng.choice((1, 2, 3))])
        if rng.random() < 0.5:
            Fault(rng, world, "broker", "loader")
        for _ in range(rng.randint(20, 80)):
            step(world, clocks=True, ends=True)
            if rng.random() < 0.03:
                ask(rng, world)
        settle(world)
        for _ in range(10):
            ask(rng, world)


def test_what_lies_in_damaged_files_is_unknown_and_all_else_is_judged_as_ever() -> None:
    run_seeds(damaged_files_are_unknown, count=20)


@each_guard(
    (Damaged, "overlaps", "self.last_ms >= start_ms", "self.last_ms >= start_ms + WINDOW_MS"),
    (Damaged, "overlaps", "self.first_ms < start_ms + WINDOW_MS", "self.first_ms < start_ms"),
    (Reading, "__post_init__", "file.damage is not None", "False"),
    (Reading, "of", "self._broken[file.name] = str(error)", "pass"),
    (Reading, "damaged", "since_ms - WINDOW_MS", "since_ms"),
    (damage, "damaged_by", "counts_by_event_time(table)", "True"),
    (damage, "counts_by_event_time", "not any(columns.field(name).nullable for name in EVENT_COLUMNS)", "True"),
    (verdict, "judge", "damaged.edges(since_ms, until_ms)", "()"),
)
def test_a_guard_of_damaged_files_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(damaged_files_are_unknown, count=60)
