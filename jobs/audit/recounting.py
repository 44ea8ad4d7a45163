"""`headrace audit --recount`: landed files, counted again, against the records of their table and what agents have announced.

One pass over the files of the windows that are asked for gives sums by agent and window (`recount.py`). Where they are not what
is expected, the rows of those windows alone are read again, some windows at a time, and `places.py` says which events. Memory
holds the sums and those rows, however many rows the table has.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from headrace.audit import HASH_MODULUS, WINDOW_MS, window_start_ms
from headrace.jobs.audit.announced import Agent
from headrace.jobs.audit.damage import counts_by_event_time, damaged_by
from headrace.jobs.audit.evidence import Damaged, WindowSum
from headrace.jobs.audit.history import OtherSums, records_with_other_sums
from headrace.jobs.audit.judged import TopicVerdict
from headrace.jobs.audit.places import Difference, Place, moved, moves, unseen, within
from headrace.jobs.audit.recount import FileCount, Key, count_of, merged
from headrace.jobs.audit.window_rows import holding, rows_of
from headrace.jobs.audit.wording import when
from headrace.jobs.landed_rows import open_rows
from headrace.sinks.check import strangers, unnamed
from headrace.sinks.check_history import check_history
from headrace.sinks.content_hash import content_hash
from headrace.sinks.repair import data_files
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.arrow_schema import decode_schema
from headrace.sinks.table.audit_totals import DAY_MS, AuditTotal, WindowKey, day_start_ms
from headrace.sinks.table.reader import LiveFile, TableSnapshot
from headrace.sinks.values import HEADERS

MOST_PLACED: Final = 200
"""Differing windows of which the rows are looked at; of all of them the sums are told."""
_AT_ONCE: Final = 8
Progress = Callable[[int, int], None]
"""Told of (rows counted so far, rows there are)."""
State = Literal["same", "differs", "unknown", "expired"]


@dataclass(frozen=True, slots=True)
class Counted:
    """One agent's window (agent None: rows of nobody): announced, said by the table's records, and counted in its files.

    `sent` is None where nobody could announce it, `recorded` where the records do not tell windows apart any more, `counted`
    where its rows do not say whose they are, or some could not be read. `unknown`: so it is then, and where the audit's verdict
    is, so that only records and files compare.
    `expired`: files that held some of it have.
    """

    topic: str
    window_start_ms: int
    agent: str | None
    host: str | None
    sent: int | None
    recorded: int | None
    counted: int | None
    state: State


@dataclass(slots=True)
class TopicRecount:
    """What a topic's recount came to; `remarks`: what is wrong with single files and records."""

    topic: str
    rows: list[Counted] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    state: State = "same"
    is_by_number: bool = False
    """Whether it has rows under a user's own schema: hashes of theirs cannot be compared, only those of files."""
    suspects: set[WindowKey] = field(default_factory=set)
    """Agents' windows that are not the same, or have rows in files that are not as the log says."""
    uncounted: dict[str, Damaged] = field(default_factory=dict)
    """Files that could not be read, by name: windows that may have rows there are not compared with those of others."""

    _is_counted: dict[int, bool] = field(default_factory=dict)

    def is_counted(self, start_ms: int) -> bool:
        """Whether all rows of a window were; asked when all files have been counted, or not."""
        if start_ms not in self._is_counted:
            self._is_counted[start_ms] = not any(one.overlaps(start_ms) for one in self.uncounted.values())
        return self._is_counted[start_ms]


def recount_topic(
    root: Path | str,
    table: TableSnapshot,
    agents: Mapping[str, Agent],
    verdict: TopicVerdict,
    *,
    since_ms: float = -math.inf,
    until_ms: float = math.inf,
    counts: Mapping[str, FileCount] | None = None,
    progress: Progress = lambda _done, _all: None,
) -> TopicRecount:
    """Count the files of a table that hold windows of a time again, and compare.

    Args:
        verdict: of the same windows, made by the same announcements; where it is unknown, more of them may be on their way.
        counts: of `files_of_time`, by name, where others have counted them.
    Raises:
        CorruptError, StorageError: the log, or a file that could be read before, cannot be read.
    """
    files = files_of_time(table, since_ms, until_ms)
    done = TopicRecount(table.topic, remarks=_wrong_with_table(root, table, files))
    sums: dict[Key, AuditTotal] = {}
    named: Counter[WindowKey] = Counter()
    unhashed = []
    counted_rows, all_rows = 0, sum(file.rows for file in files)
    for file in files:
        mine = count_of(root, table.topic, file) if counts is None else counts[file.name]
        counted_rows += file.rows
        progress(counted_rows, all_rows)
        if mine.unread is not None:
            done.uncounted[file.name] = damaged_by(table, file, mine.unread)
        if mine.wrong:
            done.remarks += [f"{file.path}: {what}" for what in mine.wrong]
            done.suspects |= {(agent, start_ms) for agent, start_ms in mine.sums if agent is not None}
        if mine.named or any(agent is None for agent, _ in mine.sums):
            unhashed.append(file)
        merged(sums, {key: total for key, total in mine.sums.items() if since_ms < key[1] + WINDOW_MS and key[1] < until_ms})
        named += mine.named
    files = [file for file in files if file.name not in done.uncounted]
    table = replace(table, files=tuple(file for file in table.files if file.name not in done.uncounted))
    own = {key for key in _own_keys(table, sums, named, verdict) if done.is_counted(key[1])}
    if own:  # their bytes are not to be had again: files are compared with the log instead
        done.remarks += [f"{path}: {what}" for path, what in _changed(root, table, unhashed).items()]
    done.is_by_number = bool(own)
    unlike_days = set() if own else {day for day in _unlike_days(sums, table, since_ms, until_ms) if _is_day_counted(done, day)}
    done.remarks += [f"of {when(day_ms)[:10]} the log says another sum than its files hold" for day_ms in sorted(unlike_days)]
    _compare(done, sums, named, own, table, agents, verdict, since_ms, until_ms)
    done.suspects |= {
        (row.agent, row.window_start_ms) for row in done.rows if row.agent is not None and row.state in ("differs", "unknown")
    }
    if done.state == "differs":
        _place(done, root, table, agents, sums, own, files, unlike_days)
    if done.uncounted:
        done.state = "differs" if done.state == "differs" else "unknown"
        done.remarks += [_uncounted(one) for one in done.uncounted.values()]
    return done


def _wrong_with_table(root: Path | str, table: TableSnapshot, files: Sequence[LiveFile]) -> list[str]:
    """What is wrong with its log, and what lies among the data of these files, or where no file is, that the log does not name.

    Raises:
        CorruptError, StorageError: the log cannot be read.
    """
    store = open_root(root).table(table.topic)
    placed = data_files(store)  # before the log: what lands meanwhile is not held against it
    history = check_history(store)
    elsewhere = {_directory(file.name) for file in table.files} - {_directory(file.name) for file in files}
    return history.broken + [unnamed(name) for name in strangers(placed, history) if _directory(name) not in elsewhere]


def _directory(name: str) -> str:
    return name.rpartition("/")[0]


def files_of_time(table: TableSnapshot, since_ms: float, until_ms: float) -> list[LiveFile]:
    """The files that may hold rows of windows of a time that say whose they are, by what the log says."""
    if not counts_by_event_time(table) and HEADERS in decode_schema(table.arrow_schema or "").names:
        return list(table.files)
    return [
        file
        for file in table.files
        if since_ms < window_start_ms(file.max_event_time_ms) + WINDOW_MS and window_start_ms(file.min_event_time_ms) < until_ms
    ]


def _is_day_counted(done: TopicRecount, day_ms: int) -> bool:
    return all(done.is_counted(start_ms) for start_ms in range(day_ms, day_ms + DAY_MS, WINDOW_MS))


def _uncounted(one: Damaged) -> str:
    """What is said of a file that could not be read."""
    if not math.isfinite(one.first_ms):
        return f"{one.what}: no window of this topic can be counted without it; put it back, and count again"
    span = f"{when(window_start_ms(int(one.first_ms)))} to {when(window_start_ms(int(one.last_ms)) + WINDOW_MS)}"
    return f"{one.what}: the windows from {span} are not counted; put it back, and count again"


def _own_keys(
    table: TableSnapshot, sums: Mapping[Key, AuditTotal], named: Mapping[WindowKey, int], verdict: TopicVerdict
) -> set[WindowKey]:
    """Whose rows, and of which windows, say in headers alone, or nowhere, whose they are: those under a user's own schema."""
    if not named and all(agent is not None for agent, _ in sums):
        return set()
    landed = {key for key, total in table.audit.items() if total.count}
    landed |= {
        (row.agent, row.window_start_ms)
        for window in verdict.windows
        for row in window.rows
        if row.agent is not None and row.landed and day_start_ms(row.window_start_ms) in table.settled
    }
    return landed - sums.keys()


def _compare(
    done: TopicRecount,
    sums: Mapping[Key, AuditTotal],
    named: Mapping[WindowKey, int],
    own: Collection[WindowKey],
    table: TableSnapshot,
    agents: Mapping[str, Agent],
    verdict: TopicVerdict,
    since_ms: float,
    until_ms: float,
) -> None:
    states = dict(verdict.windows.states())
    keys = sums.keys() | {key for key in table.audit if since_ms < key[1] + WINDOW_MS and key[1] < until_ms}
    keys |= {(row.agent, window.window_start_ms) for window in verdict.windows for row in window.rows if row.agent}
    for agent_id, start_ms in sorted(keys, key=lambda key: (key[1], key[0] or "")):
        counted = sums.get((agent_id, start_ms), AuditTotal())
        if agent_id is None:
            done.rows.append(Counted(table.topic, start_ms, None, None, None, counted.count, counted.count, "same"))
            continue
        recorded, agent = _recorded(table, (agent_id, start_ms)), agents.get(agent_id)
        sent = _sent(agent, table.topic, start_ms)
        said = None if recorded is None else recorded.count
        found: int | None = counted.count
        landed: AuditTotal | None = counted
        is_same = recorded is None or _sum_of(recorded) == _sum_of(counted)
        if (agent_id, start_ms) in own:
            found = named.get((agent_id, start_ms), 0) if named else None
            is_same, landed = said is None or found in (None, said), recorded
        state: State = "same" if is_same else "differs"
        if state == "same" and landed is not None and sent != _sum_of(landed):
            state = "unknown" if states.get(start_ms) == "unknown" else "differs"
        if not done.is_counted(start_ms):
            found, state = None, "unknown"
        if table.expired_ms is not None and start_ms <= table.expired_ms:
            state = "expired"
        host = agent.host if agent else None
        done.rows.append(Counted(table.topic, start_ms, agent_id, host, sent.count, said, found, state))
    worst = {row.state for row in done.rows if row.agent is not None}
    done.state = "differs" if "differs" in worst or done.remarks else "unknown" if "unknown" in worst else "same"
    if worst == {"expired"}:
        done.state = "expired"


def _recorded(table: TableSnapshot, key: tuple[str, int]) -> AuditTotal | None:
    """What the records say of a window; None where they do not tell windows apart."""
    return None if day_start_ms(key[1]) in table.settled else table.audit.get(key, AuditTotal())


def _unlike_days(sums: Mapping[Key, AuditTotal], table: TableSnapshot, since_ms: float, until_ms: float) -> Iterator[int]:
    """Days that were counted whole, and of which the files hold something else than their sum in the log."""
    for day_ms, total in table.settled.items():
        if day_ms < since_ms or day_ms + DAY_MS > until_ms or (table.expired_ms is not None and day_ms <= table.expired_ms):
            continue
        counted = AuditTotal()
        for (agent, start_ms), found in sums.items():
            if agent is not None and day_start_ms(start_ms) == day_ms:
                counted += found
        if _sum_of(counted) != _sum_of(total):
            yield day_ms


def _sum_of(total: AuditTotal) -> WindowSum:
    return WindowSum(total.count, total.hash)


def _sent(agent: Agent | None, topic: str, start_ms: int) -> WindowSum:
    sent = agent.sent_of(topic, start_ms) if agent else None
    return WindowSum(sent.count, sent.content_hash) if sent else WindowSum(0, 0)


def _place(
    done: TopicRecount,
    root: Path | str,
    table: TableSnapshot,
    agents: Mapping[str, Agent],
    sums: Mapping[Key, AuditTotal],
    own: Collection[WindowKey],
    files: Sequence[LiveFile],
    unlike_days: Collection[int],
) -> None:
    """Say where the differences lie: against what was announced where that differs, else against the records."""
    differences = []
    unlike = {(agent, start_ms) for agent, start_ms in sums if agent is not None and day_start_ms(start_ms) in unlike_days}
    for row in done.rows:
        if row.state != "differs" or row.agent is None:
            continue
        key = row.agent, row.window_start_ms
        counted, logged = _sum_of(sums.get(key, AuditTotal())), _recorded(table, key)
        recorded = counted if logged is None else _sum_of(logged)
        if key not in own and recorded != counted:
            unlike.add(key)
        sent = _sent(agents.get(row.agent), table.topic, row.window_start_ms)
        if key in own:
            if sent != recorded:
                done.places += unseen(Difference(table.topic, *key, sent, recorded), table.streams)
            continue
        if sent.count and sent != counted:
            differences.append(Difference(table.topic, *key, sent, counted))
        elif recorded != counted and not sent.count:
            differences.append(Difference(table.topic, *key, recorded, counted))
        elif not sent.count:
            done.remarks.append(f"no message tells of the {counted.count:,} events of agent {key[0]} from {when(key[1])} on")
    changed = _changed(root, table, holding(files, {start_ms for _, start_ms in unlike})) if unlike or done.remarks else {}
    done.remarks += [said for path, what in changed.items() if (said := f"{path}: {what}") not in done.remarks]
    done.remarks += [_said(one) for one in records_with_other_sums(root, table, unlike)] if unlike else []
    pairs, rest = moves(differences)
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        rows = rows_of(root, table, files, [come for _, come in some], changed)
        done.places += [place for gone, come in some for place in moved(gone, come, rows[come.agent, come.window_start_ms])]
    # What seems to be missing beside a window that is not counted may be there: only how much differs is told.
    beside = [one for one in rest if not all(done.is_counted(one.window_start_ms + by) for by in (-WINDOW_MS, WINDOW_MS))]
    done.places += [place for one in beside for place in unseen(one, {})]
    rest = [one for one in rest if one not in beside]
    for start in range(0, min(len(rest), MOST_PLACED), _AT_ONCE):
        some_alone = rest[start : start + _AT_ONCE]
        rows = rows_of(root, table, files, some_alone, changed)
        done.places += [place for one in some_alone for place in within(one, rows[one.agent, one.window_start_ms])]
    if len(rest) > MOST_PLACED:
        done.remarks.append(f"{len(rest) - MOST_PLACED:,} more windows differ, of which the events were not looked for")


def _said(one: OtherSums) -> str:
    said = f"record {one.seq} says that {one.recorded:,} events of agent {one.agent} have landed"
    return (
        f"{said} with other bytes than its files hold"
        if one.recorded == one.counted
        else f"{said}; its files hold {one.counted:,}"
    )


def _changed(root: Path | str, table: TableSnapshot, files: Sequence[LiveFile]) -> dict[str, str]:
    """By path, what is wrong with files whose rows are not those that were committed."""
    found = {}
    for file in files:
        total = 0
        with open_rows(root, table.topic, file) as landed:
            for batch in landed.batches():
                total = (total + content_hash(batch)) % HASH_MODULUS
        if f"{total:016x}" != file.content_hash:
            found[file.path] = (
                f"it was changed after it landed: its rows' hash is {total:016x}, the log says {file.content_hash}"
            )
    return found
