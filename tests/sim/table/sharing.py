"""Loaders that share partitions: `claims` and `tenure`, the cores of the real ones, between a group, a topic and the store.

A turn is as the real loader's (sinks/loader.py): look at the topic, open the table and begin what is ours; hear the group;
read; commit what is due. Every operation of the cores, and every file, is a step of its own in the world.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.clock import MonotonicMs, WallMs
from headrace.errors import CorruptError, HeadraceError, PeerError, StorageError
from headrace.sinks.claims import Answer, Claims, HandOver
from headrace.sinks.recovery import Recovery
from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange
from headrace.sinks.table.store import Now, Verify
from headrace.sinks.tenure import CloseFiles, Ended, Failed, StopReading, Tenure
from tests.sim.table.group import PARTITIONS, TOPIC, Assigned, Revoked

if TYPE_CHECKING:
    from tests.sim.table.world import Topic, World


@dataclass(frozen=True)
class Hear:
    """Answer: what the group tells this member now, or None."""

    member: int


@dataclass(frozen=True)
class Tell:
    """The member has done what it was told."""

    member: int
    event: Assigned | Revoked


@dataclass
class _Progress:
    incarnation: int
    start: int
    topic_id: str | None
    next: int
    rows: list[Any] = field(default_factory=list)


class SimAttempt:
    """What has been read; as the real one, it takes a hole in what it is given for one in the topic."""

    def __init__(self, world: "World", fold: Fold, started_ms: MonotonicMs) -> None:
        self.name, self.started_ms = world.new_name(), started_ms
        self._world, self._fold = world, fold
        self._progress: dict[int, _Progress] = {}
        self._files: list[DataFile] = []

    @property
    def is_empty(self) -> bool:
        return all(progress.next == progress.start for progress in self._progress.values())

    def start(self, partition: int, incarnation: int, topic_id: str | None) -> None:
        end = self._fold.end(incarnation, partition)
        self._progress.setdefault(partition, _Progress(incarnation, end, topic_id, end))

    def next_offset(self, partition: int) -> int:
        return self._progress[partition].next

    def take(self, partition: int, first: int, topic_id: str, count: int) -> None:
        progress = self._progress[partition]
        for offset in range(max(first, progress.next), first + count):
            progress.rows.append((progress.incarnation, partition, offset, topic_id))
            progress.next = offset + 1
            self._world.taken[progress.incarnation, partition, offset] += 1

    def close(self) -> Generator[Any, Any, CommitRecord]:
        ranges = []
        for partition, one in self._progress.items():
            if one.rows:
                self._files.append((yield from self._world.write(f"{self.name}-{partition}", one.rows)))
                last = {"last_offset": one.next - 1, "last_fingerprint": f"{one.topic_id}/{one.next - 1}"}
                ranges.append(
                    LandedRange(one.incarnation, partition, one.start, one.next, len(one.rows), 0, 0,
                                topic_id=one.topic_id, **last)  # type: ignore[arg-type]
                )  # fmt: skip
        now_ms = self._world.store.clock_ms
        return CommitRecord(
            "load", self.name, "sim", now_ms,
            ranges=tuple(ranges), add=tuple(self._files), generation=self._fold.generation,
        )  # fmt: skip

    def so_far(self) -> CommitRecord:
        return CommitRecord("load", self.name, "", 0, add=tuple(self._files), generation=self._fold.generation)

    def discard(self) -> None:
        """Nothing is kept that is not finished."""


class Sharer:
    """One loader."""

    def __init__(self, world: "World", member: int, mine: list[str]) -> None:
        self.member = member
        self._world, self._mine = world, mine
        self.claims = Claims()
        self.tenure = Tenure(TOPIC, self._new_attempt, world.rng, generation=None, is_stopping=lambda: False)
        self._recovery = Recovery()
        self._topic: Topic | None = None
        self._positions: dict[int, int] = {}
        self._coming: list[tuple[int, int, str, int]] = []
        """What has been asked for in the last turn: (partition, first offset, topic id, how many)."""
        self.is_leaving = False

    def _new_attempt(self, fold: Fold, started_ms: MonotonicMs) -> SimAttempt:
        return SimAttempt(self._world, fold, started_ms)

    def reads(self, partition: int) -> bool:
        return self.tenure.is_open and partition in self.tenure.partitions

    def program(self) -> Generator[Any, Any, None]:
        while not self.is_leaving:
            yield from self._look()
            yield from self._hear()
            yield from self._read()
            if self.tenure.is_open and self._world.rng.random() < 0.25:
                yield from self._guarded(self.tenure.commit())
        if self.tenure.is_open:
            yield from self._guarded(self.tenure.commit())
        self._world.group.leave(self.member)

    def _look(self) -> Generator[Any, Any, None]:
        from tests.sim.table.world import Look

        topic: Topic = yield Look()
        if self._topic is not None and topic.topic_id != self._topic.topic_id and self.tenure.is_open:
            yield from self._carry_out(self.tenure.start_over("the topic's id has changed"))
        self._topic, self._mine[0] = topic, topic.topic_id
        ours = [partition for partition in PARTITIONS if self.claims.holds(TOPIC, partition)]
        now_ms = yield Now()
        if not ours or self.tenure.rest_until_ms > now_ms:
            return
        if not self.tenure.is_open:
            yield from self._guarded(self.tenure.open())
        for partition in ours if self.tenure.is_open else ():
            if partition not in self.tenure.partitions:
                self.tenure.begin(partition, self._place(partition, topic).incarnation, topic.topic_id)
                self._positions[partition] = self.tenure.next_offset(partition)

    def _place(self, partition: int, topic: "Topic") -> Resume:
        fold = self.tenure.fold
        known = fold.ends.get((fold.incarnation(partition), partition))
        fingerprint = None if known is None else known.last_fingerprint
        return resume(fold, partition, Sight(topic.topic_id, 0, topic.ends[partition], fingerprint))

    def _hear(self) -> Generator[Any, Any, None]:
        event: Assigned | Revoked | None = yield Hear(self.member)
        if event is None:
            return
        places = {(TOPIC, partition) for partition in event.partitions}
        reaction = self.claims.on_assign(places) if isinstance(event, Assigned) else self.claims.on_revoke(places)
        for step in reaction:
            match step:
                case HandOver(new):
                    yield from self._guarded(self.tenure.share(self.claims.holds, new))
                case Answer():
                    yield Tell(self.member, event)

    def _read(self) -> Generator[Any, Any, None]:
        from tests.sim.table.world import Look

        now: Topic = yield Look()  # the client reads by name: whatever topic bears it by now
        came, self._coming = self._coming, []
        for partition, start in self._positions.items():
            most = 60 if self._world.calm else self._world.rng.randint(1, 3)
            if (count := min(now.ends[partition] - start, most)) > 0:
                self._coming.append((partition, start, now.topic_id, count))
                self._positions[partition] += count
        for partition, *records in came:
            if self.reads(partition):
                yield from self._guarded(self._take(partition, *records))

    def _take(self, partition: int, start: int, topic_id: str, count: int) -> Generator[Any, Any, None]:
        if (yield from self.tenure.keep_fresh()):
            self.tenure.attempt.take(partition, start, topic_id, count)
        else:
            yield from self.tenure.start_over("another loader has landed since")

    # The shell.

    def _guarded(self, steps: Generator[Any, Any, object]) -> Generator[Any, Any, None]:
        yield from self._carry_out(self.tenure.guarded(steps))

    def _carry_out(self, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, None]:
        answer: Any = None
        failed: StorageError | PeerError | None = None
        while True:
            try:
                operation = steps.send(answer) if failed is None else steps.throw(failed)
            except StopIteration:
                return
            failed = None
            try:
                answer = yield from self._answer(operation)
            except (StorageError, PeerError) as error:
                failed = error

    def _answer(self, operation: Any) -> Generator[Any, Any, Any]:
        match operation:
            case CloseFiles():
                return (yield from self.tenure.attempt.close())
            case StopReading():
                self._positions.clear()
                self._coming.clear()
                return None
            case Failed(error):
                if not isinstance(error, HeadraceError) or isinstance(error, CorruptError):
                    raise error
                return self._recovery.failed(error, WallMs(self._world.store.clock_ms))
            case Ended(outcome, draft, _):
                self._world.ended(self.member, outcome, draft.attempt)
                return None
            case Verify() if not self._world.calm and self._world.rng.random() < 0.02:
                raise PeerError("kafka does not answer")
        return (yield operation)
