"""The landing of one topic: what is read of it on its way into the attempt in progress, and what is told of it.

Owns one table's directory as far as the log lets it: several loaders may, and fence each other by the log alone. What becomes
of attempts is `tenure`'s to say.
"""

import logging
import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any, Final

from headrace.clock import Clock, MonotonicMs
from headrace.errors import PeerError
from headrace.sinks import metrics
from headrace.sinks.attempt import Attempt
from headrace.sinks.config import Output
from headrace.sinks.lag.standings import TableStanding
from headrace.sinks.recovery import Recovery
from headrace.sinks.registered import Schemas
from headrace.sinks.resume import Resume
from headrace.sinks.stores.roots import Root
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.store import Operation, carry_out
from headrace.sinks.tenure import CloseFiles, Ended, Steps, T, Tenure

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_MS: Final = 3_600_000
WhyOf = Callable[[int, int, int], tuple[int, str]]
"""`attempt.Why` of a partition, which comes first."""


class TableLoader:
    """One topic on its way into one table.

    Raises (all methods):
        CorruptError: the table's log is damaged.
        StorageError: the store failed.
    After these, or any other error: `Tenure.start_over`, and go on from `open`, later.
    """

    def __init__(
        self,
        topic: str,
        root: Root,
        output: Output,
        schemas: Schemas,
        clock: Clock,
        new_name: Callable[[], str],
        *,
        standing: TableStanding,
        generation: int | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        """`generation`: that of a rewind, loaded beside the table; None for the table itself."""
        self._standing = standing
        self.topic, self._output, self._generation = topic, output, generation
        self._store = root.table(topic)
        self._schemas, self._clock, self._new_name = schemas, clock, new_name
        self._is_stopping = is_stopping
        self._waiting: deque[tuple[int, Sequence[Any]]] = deque()
        self.blocked: tuple[PeerError, int] | None = None
        """Why records wait for the registry, and since when (monotonic ms)."""
        self._swept_ms: int | None = None
        metrics.LOST.labels(topic)  # at 0 from the start, so that Prometheus sees it grow
        self.tenure = Tenure(topic, self._new_attempt, random.Random(), generation=generation, is_stopping=is_stopping)

    def _new_attempt(self, fold: Fold, started_ms: MonotonicMs) -> Attempt:
        return Attempt(self.topic, self._store, fold, self._output, name=self._new_name(), started_ms=started_ms)

    @property
    def fold(self) -> Fold:
        return self.tenure.fold

    @property
    def attempt(self) -> Attempt:
        return self.tenure.attempt

    @property
    def recovery(self) -> Recovery:
        """What has failed of late."""
        return self._standing.recovery

    def carry_out(self, steps: Steps[T], others: Callable[[Any], Any]) -> T:
        """Carry out what `tenure` says; `others` does what is neither the store's nor this table's to do."""

        def ours(operation: Any) -> Any:
            match operation:
                case CloseFiles():
                    return self.attempt.close(self._clock.wall_ms())
                case Ended():
                    self._tell(operation)
                    return others(operation)
            return others(operation)

        return carry_out(steps, self._store, self._clock, ours, self._is_stopping)

    def open(self) -> None:
        """Fold to the head, and finish moves that a crash left undone."""
        self._forget_waiting()
        moved = carry_out(self.tenure.open(), self._store, self._clock)
        self._standing.show(self.fold)
        if moved:
            logger.info("files of an earlier commit moved into place", extra={"topic": self.topic, "files": moved})

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self.blocked = None

    def tell_only(self, partitions: Iterable[int]) -> None:
        """Say for metrics how far these are behind, and no others, which are not ours."""
        self._standing.keep(partitions)

    def begin(self, partition: int, where: Resume, topic_id: str | None) -> None:
        """Read a partition as `where` says."""
        self.tenure.begin(partition, where.incarnation, topic_id)
        self._standing.begin(partition, self.next_offset(partition))
        if where.gap:
            self.skip(partition, where.offset, where.gap)

    def next_offset(self, partition: int) -> int:
        return self.tenure.next_offset(partition)

    @property
    def is_blocked(self) -> bool:
        """Whether records wait for the registry."""
        return bool(self._waiting)

    def take(self, partition: int, messages: Sequence[Any], why: WhyOf) -> bool:
        """Take records of a partition, in offset order; False if another loader has landed some meanwhile: start over."""
        if not carry_out(self.tenure.keep_fresh(), self._store, self._clock):
            return False
        self._standing.saw(partition, messages[0])
        self._waiting.append((partition, messages))
        if len(self._waiting) == 1:
            self.take_waiting(why)
        return True

    def take_waiting(self, why: WhyOf) -> None:
        """Take what has been waiting for the registry, as far as it answers."""
        while self._waiting:
            partition, messages = self._waiting[0]
            try:
                now_ms = self._clock.monotonic_ms()
                self.attempt.take(partition, messages, self._schemas, why=partial(why, partition), now_ms=now_ms)
            except PeerError as error:
                logger.warning("records wait: %s", error, extra={"topic": self.topic})
                self.blocked = self.blocked or (error, self._clock.monotonic_ms())
                return
            self.blocked = None
            self._waiting.popleft()
            self._standing.took(partition, self.next_offset(partition), len(messages))

    def skip(self, partition: int, end: int, why: str) -> None:
        """Say that there is nothing from the partition's next offset to `end`."""
        if self.is_blocked or end <= self.next_offset(partition):
            return  # with records waiting, what lies before `end` is not known yet: the end is reported again later
        self.attempt.skip(partition, end, why, now_ms=self._clock.monotonic_ms())
        self._standing.took(partition, end)

    def skip_to(self, partition: int, end: int, why: WhyOf) -> None:
        """The same for all that is up to `end`, whatever each piece of it is."""
        while not self.is_blocked and (start := self.next_offset(partition)) < end:
            self.skip(partition, *why(partition, start, end))

    def is_due(self) -> bool:
        return self.attempt.is_due(self._clock.monotonic_ms())

    def _tell(self, ended: Ended) -> None:
        """Log and count what has become of an attempt."""
        metrics.COMMITS.labels(self.topic, ended.outcome).inc()
        if ended.outcome == "won":
            self._celebrate(ended.draft)
        else:
            self._forget_waiting()
            what = "dropped" if ended.outcome == "fenced" else "given up"
            logger.warning("attempt %s: %s", what, ended.why, extra={"topic": self.topic})

    def _celebrate(self, draft: CommitRecord) -> None:
        rows, quarantined, duplicates = (
            sum(getattr(landed, counted) for landed in draft.ranges) for counted in ("rows", "quarantined", "duplicates")
        )
        metrics.ROWS.labels(self.topic).inc(rows)
        metrics.QUARANTINED.labels(self.topic).inc(quarantined)
        metrics.BYTES.labels(self.topic).inc(sum(file.bytes for file in draft.add))
        metrics.DUPLICATES.labels(self.topic).inc(duplicates)
        gaps = [gap for landed in draft.ranges for gap in landed.gaps if gap.why == "lost"]
        metrics.LOST.labels(self.topic).inc(sum(gap.end - gap.start for gap in gaps))
        numbers = {"seq": self.fold.seq, "rows": rows, "quarantined": quarantined, "duplicates": duplicates}
        logger.info("landed", extra={"topic": self.topic, **numbers, "files": len(draft.add)})
        self._standing.landed(self.ends(), self.fold)
        for partition, messages in self._waiting:
            self._standing.saw(partition, messages[0])

    def sweep(self) -> None:
        """Delete what nobody needs any more, once an hour."""
        now_ms = self._clock.monotonic_ms()
        if self._generation is None and (self._swept_ms is None or now_ms - self._swept_ms >= SWEEP_INTERVAL_MS):
            self._swept_ms = now_ms
            carry_out(upkeep.finish_moves(carry_out(read_head(), self._store)), self._store)
            if doomed := carry_out(upkeep.sweep(stages=self._store.stages), self._store):
                logger.info("swept", extra={"topic": self.topic, "files": len(doomed)})

    def tell(self, steps: Generator[Operation, Any, None]) -> None:
        """Leave word beside the log: nothing of the landing depends on it."""
        carry_out(steps, self._store)

    def close(self) -> None:
        """Leave a checkpoint, so that the next start is short."""
        if self.fold.seq - self.fold.checkpoint_seq > 1:
            carry_out(upkeep.write_checkpoint(self.fold), self._store)

    def ends(self) -> Sequence[tuple[int, int]]:
        """(partition, next offset) of what has landed, for lag tools."""
        tenure = self.tenure
        return [(partition, self.fold.end(tenure.incarnation(partition), partition)) for partition in tenure.partitions]
