"""What one loader has of one table, and how it lets go of it: a pure core on top of the table log's (sinks/table).

    closed ── open: fold ──▶ open, reads some partitions ──┬─ commit won: a new attempt from the new fold ──▶ open
      ▲                                                    ├─ commit fenced, or something fails: give up ──▶ closed, rests
      │                                                    ╰─ partitions come or go: commit, then start over ──▶ closed
      ╰── rests a while ◀──────────────────────────────────────────────────────────────────────────────────╯

Who starts over reads no partition until it has folded afresh, so that nothing goes on from a place at which others have been.
The generators yield the store's operations, and the four below, in the order in which they must be carried out.
"""

import contextlib
import random
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from headrace.clock import MonotonicMs
from headrace.errors import HeadraceError, StorageError, UndecidedError, UsageError
from headrace.sinks.recovery import said
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import Fenced, commit, give_up, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.slices import of_other_kind
from headrace.sinks.table.store import Now, Operation

STALE_FOLD_MS: Final = 30_000
REST_MS: Final = (100, 1500)
"""How long a loader rests that starts over: at random between these, so that racing loaders do not meet again."""


class Attempt(Protocol):
    """What has been read since a fold (sinks/attempt.py), as far as it matters here."""

    @property
    def started_ms(self) -> MonotonicMs: ...
    @property
    def is_empty(self) -> bool: ...
    def start(self, partition: int, incarnation: int, topic_id: str | None) -> object: ...
    def next_offset(self, partition: int) -> int: ...
    def so_far(self) -> CommitRecord:
        """A record that names the files that are finished: the commit protocol's to delete."""
        ...

    def discard(self) -> None:
        """Give up what is not finished."""
        ...


A = TypeVar("A", bound=Attempt)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CloseFiles:
    """Answer: CommitRecord, the attempt's draft: its files are finished and durable."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """Nothing of these partitions that was read, or is yet on its way, may be taken any more. Answer: None."""

    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """Somebody may want to know what has become of an attempt. Answer: None."""

    outcome: Literal["won", "fenced", "failed"]
    draft: CommitRecord
    why: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Work has failed. Answer: for how long the table rests (ms); None: nothing is asked of the store any more."""

    error: Exception


Steps = Generator[Operation | CloseFiles | StopReading | Ended | Failed, Any, T]


def as_steps(work: Callable[[], T]) -> Steps[T]:
    """Something that is done at once, in between."""
    yield from ()
    return work()


class Tenure(Generic[A]):
    """One loader's part in one table."""

    def __init__(
        self,
        topic: str,
        new_attempt: Callable[[Fold, MonotonicMs], A],
        rng: random.Random,
        *,
        generation: int | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        """
        Args:
            new_attempt: begins one, of a fold that was made after that time.
            generation: that of a rewind, loaded beside the table; None for the table itself.
            is_stopping: whether the loader is to end.
        """
        self.topic, self._new_attempt, self._rng = topic, new_attempt, rng
        self._generation, self._is_stopping = generation, is_stopping
        self._reads: dict[int, tuple[int, str | None]] = {}
        self.fold = Fold()
        self.attempt = new_attempt(self.fold, MonotonicMs(0))
        self.is_open = False
        self.rest_until_ms = 0

    # What is read.

    @property
    def partitions(self) -> Collection[int]:
        """Those that are being read."""
        return self._reads.keys()

    def incarnation(self, partition: int) -> int:
        """The incarnation under which a partition is being read."""
        return self._reads[partition][0]

    def next_offset(self, partition: int) -> int:
        """The first offset of a partition that has not been read."""
        return self.attempt.next_offset(partition)

    def begin(self, partition: int, incarnation: int, topic_id: str | None) -> None:
        """Read a partition, from its next offset on."""
        self._reads[partition] = incarnation, topic_id
        self.attempt.start(partition, incarnation, topic_id)

    def end(self, partition: int) -> None:
        """A partition is not read any more; what was read of it is committed with the rest."""
        self._reads.pop(partition, None)

    def stop_reading(self) -> Steps[None]:
        """Read nothing more."""
        yield StopReading(tuple(self._reads))
        self._reads.clear()

    # From one fold to the next.

    def open(self) -> Steps[int]:
        """Fold to the head, and finish moves that a crash left undone: of how many files.

        Raises (from the generator):
            StorageError: the store failed, or the rewind is over.
            UsageError: the table is a job's output.
        """
        assert not self._reads, "who is closed reads nothing"
        started_ms: MonotonicMs = yield Now()
        fold = yield from read_generation(self._generation)
        if self._generation not in (None, fold.generation) or fold.is_closed:
            raise StorageError(f"generation {self._generation} of table {self.topic} is no longer being loaded")
        if why := of_other_kind("load", fold):
            raise UsageError(f"{why}: leave topic {self.topic} out of load.topics, or name another table for the job")
        self._begin_attempt(fold, started_ms)
        moved = yield from upkeep.finish_moves(fold)
        self.is_open = True
        return moved

    def _begin_attempt(self, fold: Fold, started_ms: MonotonicMs) -> None:
        self.fold, self.attempt = fold, self._new_attempt(fold, started_ms)
        for partition, (incarnation, topic_id) in self._reads.items():
            self.attempt.start(partition, incarnation, topic_id)

    def _go_on_from(self, fold: Fold, started_ms: MonotonicMs) -> bool:
        """A new attempt; False if that moves the place where some partition is read, or the table is another by now."""
        before = {partition: self.next_offset(partition) for partition in self._reads}
        self._begin_attempt(fold, started_ms)
        return not fold.is_closed and all(self.next_offset(partition) == offset for partition, offset in before.items())

    def keep_fresh(self) -> Steps[bool]:
        """Let an attempt that has nothing yet start from a new fold, since its life counts from there; False: start over."""
        now_ms: MonotonicMs = yield Now()
        if not self.attempt.is_empty or now_ms - self.attempt.started_ms < STALE_FOLD_MS:
            return True
        fold = yield from read_head(self.fold)
        return self._go_on_from(fold, now_ms)

    # The ends of attempts.

    def commit(self) -> Steps[None]:
        """Commit what has been read; start over if it came to nothing, or others have moved on."""
        if not self.attempt.is_empty and not (yield from self._commit()):
            yield from self.start_over("")

    def _commit(self) -> Steps[bool]:
        now_ms: MonotonicMs = yield Now()
        draft: CommitRecord = yield CloseFiles()
        try:
            outcome = yield from commit(draft, self.fold, started_ms=self.attempt.started_ms)
        except Exception as error:
            if isinstance(error, UndecidedError) or not isinstance(error, HeadraceError):
                self._begin_attempt(self.fold, now_ms)  # its record may come yet: its files are the sweeper's
            raise
        if isinstance(outcome, Fenced):
            yield Ended("fenced", draft, outcome.why)
            return False
        keeps_place = self._go_on_from(outcome.fold, now_ms)
        yield Ended("won", draft)
        if upkeep.checkpoint_is_due(self.fold) and not self._is_stopping():  # else it comes with the end
            yield from upkeep.write_checkpoint(self.fold)
        return keeps_place

    def share(self, holds: Callable[[str, int], bool], new: Collection[tuple[str, int]]) -> Steps[None]:
        """Other partitions are ours to read: if they are of this table, commit or drop what is open, and fold afresh.

        Args:
            holds: whether a partition is ours.
            new: partitions that have become ours.
        """
        loses = any(not holds(self.topic, partition) for partition in self._reads)
        gains = any(topic == self.topic and partition not in self._reads for topic, partition in new)
        if self.is_open and (loses or gains):
            yield from self.commit()
            if self.is_open:
                yield from self.start_over("", rest_ms=0)

    def guarded(self, work: Steps[object]) -> Steps[Exception | None]:
        """Do something for the table; what fails makes it begin again, as after kill -9 (recovery.py). What has failed."""
        try:
            yield from work
            return None
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the supervisor of tables
            failed = error
        rest_ms: int | None = yield Failed(failed)
        if rest_ms is None:
            yield from self.drop()
        else:
            yield from self.start_over(said(failed), rest_ms=rest_ms)
        return failed

    def start_over(self, why: str, *, rest_ms: int | None = None) -> Steps[None]:
        """Give the attempt up if there is a reason, and read nothing until the table is opened again, after a rest."""
        yield from self.stop_reading()
        if self.is_open:
            self.is_open = False
            if why:
                yield from self._give_up(why)
        self.rest_until_ms = (yield Now()) + (self._rng.randrange(*REST_MS) if rest_ms is None else rest_ms)

    def _give_up(self, why: str) -> Steps[None]:
        """Delete the files that are finished, unless a record of them may be in the log."""
        draft = self.attempt.so_far()
        self._forget()
        if draft.add or draft.quarantine:
            try:
                yield from give_up(draft, why)
            except Exception as error:  # noqa: BLE001 - the table fails already, and says why
                why += f"; its files stay until they are swept: {said(error)}"
        yield Ended("failed", draft, why)

    def drop(self) -> Steps[None]:
        """Let go of the table without a word to the store: what is there of the attempt is the sweeper's."""
        yield from self.stop_reading()
        if self.is_open:
            self.is_open = False
            self._forget()

    def _forget(self) -> None:
        """Have nothing of the table in memory, as when it was made."""
        attempt = self.attempt
        self._begin_attempt(Fold(), MonotonicMs(0))
        with contextlib.suppress(Exception):  # nothing that is left of it matters
            attempt.discard()
