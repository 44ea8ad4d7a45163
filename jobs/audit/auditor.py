"""The audit of landed tables: reads `_audit` and the table logs, and has each topic judged. Needs nothing running.

`_audit` is read first, and each table after it, so that a table is never older than what was announced of it. The files of a
table are read only where the log's sums do not explain them: rows that no agent announced, and rows of no agent.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from headrace.audit import AUDIT_TOPIC, WINDOW_MS
from headrace.errors import CorruptError, StorageError
from headrace.jobs.audit.announced import LATENESS_MS, Agent
from headrace.jobs.audit.damage import Reading, counts_by_event_time
from headrace.jobs.audit.evidence import Landed, Recount, Trouble, WindowSum
from headrace.jobs.audit.hearing import Hearing
from headrace.jobs.audit.judged import TopicVerdict, Verdict
from headrace.jobs.audit.known_agents import SILENT_MS
from headrace.jobs.audit.recount import FileCount
from headrace.jobs.audit.recounting import Progress, TopicRecount, recount_topic
from headrace.jobs.audit.settled_days import unlike_days
from headrace.jobs.audit.verdict import excesses, is_retired_by_policy, judge
from headrace.jobs.audit.window_rows import holding
from headrace.jobs.landed_rows import ends_of_windows, read_announcements, recounts, rows_by_window, rows_of_agents
from headrace.sinks.places import landed_topics
from headrace.sinks.table.audit_totals import DAY_MS, day_start_ms
from headrace.sinks.table.fold import PartitionEnd
from headrace.sinks.table.reader import TableSnapshot, seen, snapshot, tables


def overall_verdict(root: Path | str, topic: str, *, read_rows: bool = True) -> Verdict:
    """The state of a whole topic now: unknown if any window is, else incomplete if any is, else complete.

    A topic of which nothing has landed or been announced is unknown, unless every agent there is has finished without it.
    `read_rows`: as Auditor.judge has it.
    """
    return Auditor(root).judge(topic, now_ms=time.time_ns() // 1_000_000, read_rows=read_rows).state


class Auditor:
    """Judges the topics below one root, as often as asked; what was read of immutable files is kept between the times."""

    def __init__(self, root: Path | str, *, lateness_ms: int = LATENESS_MS, retire_after_ms: float = math.inf) -> None:
        self.root = root
        self.lateness_ms, self.retire_after_ms = lateness_ms, retire_after_ms
        self._agents: Mapping[str, Agent] = {}
        self._heard = False
        self._hearing: Hearing | None = None
        self._heard_of = 0
        """The generation of `_audit`'s table that has been heard."""
        self._unheard: tuple[Trouble, ...] = ()
        self._windows: dict[str, Mapping[int, int]] = {}
        self._tables: dict[str, TableSnapshot] = {}
        """As they were judged."""
        self.listen()

    def listen(self) -> None:
        """Read what `_audit` has landed; `judge` judges by it until the next time."""
        self._heard = AUDIT_TOPIC in tables(self.root)
        if not self._heard:
            return
        table = snapshot(self.root, AUDIT_TOPIC)
        is_whole = _is_whole(table)
        if self._hearing is None or (self._hearing.is_whole, self._heard_of) != (is_whole, table.generation):
            self._hearing = Hearing(
                partial(read_announcements, self.root, AUDIT_TOPIC), lateness_ms=self.lateness_ms, is_whole=is_whole
            )
            self._heard_of = table.generation
        self._hearing.hear(table)
        self._unheard = _lost(table)
        self._agents = self._hearing.agents

    @property
    def unreadable(self) -> list[str]:
        """Records of `_audit` that are no message of ours; they have no say."""
        return self._hearing.unreadable if self._hearing else []

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Everything announced, by agent id."""
        return self._agents

    def quiet(self, now_ms: int) -> frozenset[tuple[str, bool]]:
        """What of a verdict depends on the time alone: the agents that are silent, and whether each is taken for retired."""
        return frozenset(
            (agent.agent_id, is_retired_by_policy(agent, now_ms, self.retire_after_ms))
            for agent in self._agents.values()
            if agent.heard_ms is not None and now_ms - agent.heard_ms > SILENT_MS
        )

    def topics(self) -> list[str]:
        """Every topic that has a table or was announced by an agent; internal ones left out."""
        announced = {topic for agent in self._agents.values() for topic in agent.acked if not topic.startswith("_")}
        return sorted(announced.union(landed_topics(self.root)))

    def table(self, topic: str) -> TableSnapshot | None:
        """The table by which a topic was judged last; None: there was none, or it could not be read."""
        return self._tables.get(topic)

    def judge(
        self,
        topic: str,
        *,
        now_ms: int,
        since_ms: float = -math.inf,
        until_ms: float = math.inf,
        read_rows: bool = True,
        every_window: bool = False,
    ) -> TopicVerdict:
        """Judge one topic's windows that overlap a time; see `verdict.judge`.

        Where more has landed than was announced, rows are read to know whether it is too much (a second for 200,000). Without
        `read_rows` it is taken to be announced yet: unknown.
        """
        self._tables.pop(topic, None)
        landed, recounts = Landed(heard=self._heard, unheard=self._unheard), {}
        if topic in tables(self.root):
            try:
                table = self._tables[topic] = snapshot(self.root, topic, is_whole=False)
                files = Reading(table)
                landed = self._landed(table, files, since_ms, until_ms)
                recounts = self._recounts(table, files, landed) if read_rows else {}
                landed = replace(landed, damaged=files.damaged(since_ms, until_ms))
            except (CorruptError, StorageError) as error:
                landed = replace(landed, damage=str(error))
        return judge(
            topic,
            self._agents,
            landed,
            recounts,
            now_ms=now_ms,
            since_ms=since_ms,
            until_ms=until_ms,
            lateness_ms=self.lateness_ms,
            retire_after_ms=self.retire_after_ms,
            every_window=every_window,
        )

    def recount(
        self,
        verdict: TopicVerdict,
        *,
        since_ms: float = -math.inf,
        until_ms: float = math.inf,
        counts: Mapping[str, FileCount] | None = None,
        progress: Progress = lambda _done, _all: None,
    ) -> TopicRecount:
        """Count the files of a topic again, as they were when this verdict was given of its windows; see `recount_topic`."""
        table = self._tables.get(verdict.topic)
        if table is None:
            return TopicRecount(verdict.topic, remarks=[str(reason) for reason in verdict.reasons], state="unknown")
        times = {"since_ms": since_ms, "until_ms": until_ms}
        try:
            return recount_topic(self.root, table, self._agents, verdict, counts=counts, progress=progress, **times)
        except (CorruptError, StorageError) as error:
            return TopicRecount(verdict.topic, remarks=[f"it cannot be counted: {error}"], state="differs")

    def judge_nothing(self, *, now_ms: int) -> Verdict:
        """The verdict where no topic has landed or been announced: whether any agent may still announce one."""
        nothing = Landed(heard=self._heard)
        return judge("", self._agents, nothing, {}, now_ms=now_ms, retire_after_ms=self.retire_after_ms).state

    def _landed(self, table: TableSnapshot, files: Reading, since_ms: float, until_ms: float) -> Landed:
        newest = _newest(table)
        ends = {partition: table.ends[incarnation, partition] for partition, incarnation in newest.items()}
        offsets = {partition: end.offset for partition, end in ends.items()}
        settled = {day: total for day, total in table.settled.items() if since_ms < day + DAY_MS and day < until_ms}
        sums = {key: WindowSum(total.count, total.hash, total.duplicates) for key, total in table.audit.items()}
        return Landed(
            ends=offsets,
            sums=sums,
            foreign=self._foreign(table, files, since_ms, until_ms),
            lost=_lost(table),
            quarantined=tuple(Trouble(found.count, found.start_ms, found.end_ms - 1) for found in table.quarantined),
            reached_ms=self._reached_ms(table),
            settled=frozenset(settled),
            unlike=unlike_days(table.topic, self._agents, settled, offsets, self.lateness_ms),
            heard=self._heard,
            unheard=self._unheard,
            uncounted_until_ms=table.uncounted_until_ms,
        )

    def _reached_ms(self, table: TableSnapshot) -> dict[int, int]:
        """How far each partition has come by its last record; without agents also as loaders have seen, who know of all."""
        told = {} if table.audit or table.settled else seen(self.root, table.topic)
        there = {partition: incarnation for incarnation, partition in sorted({*told, *table.ends})}
        found = {}
        for partition, incarnation in there.items():
            key = (incarnation, partition)
            end = table.ends.get(key, PartitionEnd(0))
            found[partition] = end.last_timestamp_ms or 0
            if key in told and end.offset >= told[key].offset:
                found[partition] = max(found[partition], told[key].at_ms)
        return found

    def _foreign(self, table: TableSnapshot, files: Reading, since_ms: float, until_ms: float) -> dict[int, int]:
        """Rows of no agent by window: what is in the files beyond the agents' sums."""
        landed = sum(total.count for total in (*table.audit.values(), *table.settled.values()))
        if sum(file.rows for file in table.files) == landed:
            return {}
        rows: dict[int, int] = {}
        for file in table.files:
            if file.max_event_time_ms < since_ms - WINDOW_MS or file.min_event_time_ms >= until_ms + WINDOW_MS:
                continue
            counts = self._windows.get(file.name) or files.of(file, partial(rows_by_window, self.root, table.topic))
            if counts is None:
                continue
            self._windows[file.name] = counts
            for start_ms, count in counts.items():
                rows[start_ms] = rows.get(start_ms, 0) + count
        for (_, start_ms), total in table.audit.items():
            rows[start_ms] = rows.get(start_ms, 0) - total.count
        for agent in self._agents.values() if table.settled else ():
            for start_ms, sent in agent.sent.get(table.topic, {}).items():
                if start_ms in rows and day_start_ms(start_ms) in table.settled:
                    rows[start_ms] -= sent.count
        return {start_ms: count for start_ms, count in rows.items() if count > 0}

    def _recounts(self, table: TableSnapshot, files: Reading, landed: Landed) -> dict[tuple[str, int], Recount]:
        keys = excesses(table.topic, self._agents, landed)
        if not keys:
            return {}
        newest = _newest(table)
        near = holding(table.files, {start_ms for _, start_ms in keys}) if counts_by_event_time(table) else table.files
        read = partial(rows_of_agents, self.root, table.topic, keys=keys)
        found = recounts((rows for file in near if (rows := files.of(file, read)) is not None), newest)
        if unnamed := keys - found.keys():  # the loader has dropped their repeats; rows do not say whose they are
            ends = self._ends(table, files, {start_ms for _, start_ms in unnamed})
            for key in unnamed:
                if ends.get(key[1]):
                    count = landed.sums[key].count
                    found[key] = Recount(count, count, ends[key[1]])
        return found

    def _ends(self, table: TableSnapshot, files: Reading, starts: set[int]) -> dict[int, dict[int, int]]:
        """Up to which offsets records of windows lie; of none, if a file cannot be read that may hold the last of them."""
        read = partial(ends_of_windows, self.root, table.topic, starts=starts, newest=_newest(table))
        ends: dict[int, dict[int, int]] = {start_ms: {} for start_ms in starts}
        for file in table.files:
            here = files.of(file, read)
            if here is None:
                return {}
            for start_ms, of_file in here.items():
                for partition, end in of_file.items():
                    ends[start_ms][partition] = max(ends[start_ms].get(partition, 0), end)
        return ends


def _newest(table: TableSnapshot) -> dict[int, int]:
    """The newest incarnation of each partition."""
    return {partition: incarnation for incarnation, partition in sorted(table.ends)}


def _is_whole(table: TableSnapshot) -> bool:
    """Whether each record there ever was is a row, is quarantined or was lost: none expired, or had gone when landing began."""
    found = sum(file.rows for file in table.files) + sum(one.count for one in table.quarantined)
    return found + sum(lost.end - lost.start for lost in table.lost) == sum(end.offset for end in table.ends.values())


def _lost(table: TableSnapshot) -> tuple[Trouble, ...]:
    where = "partition {0.partition}, offsets {0.start} to {0.end}"
    return tuple(Trouble(lost.end - lost.start, lost.after_ms, lost.before_ms, where.format(lost)) for lost in table.lost)
