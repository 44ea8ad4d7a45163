"""The landing of one topic: its fold, the attempt in progress, and the ends of attempts.

Owns one table's directory as far as the log lets it: several loaders may, and fence each other by the log alone.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from headrace.clock import Clock
from headrace.errors import HeadraceError, PeerError, StorageError, UndecidedError
from headrace.sinks import metrics
from headrace.sinks.attempt import Attempt
from headrace.sinks.config import Output
from headrace.sinks.lag.standings import TableStanding
from headrace.sinks.recovery import Recovery, said
from headrace.sinks.registered import Schemas
from headrace.sinks.resume import Resume
from headrace.sinks.stores.roots import Root
from headrace.sinks.table import upkeep
from headrace.sinks.table.commit import Fenced, commit, give_up, read_head
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord
from headrace.sinks.table.store import carry_out

logger = logging.getLogger(__name__)

STALE_FOLD_MS: Final = 30_000
SWEEP_INTERVAL_MS: Final = 3_600_000


class TableLoader:
    """One topic on its way into one table.

    Raises (all methods but `drop` and `give_up`):
        CorruptError: the table's log is damaged.
        StorageError: the store failed.
    After these, or any other error: `give_up`, and go on from `open`, later.
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
    ) -> None:
        """`generation`: that of a rewind, loaded beside the table; None for the table itself."""
        self._standing = standing
        self.topic, self._output, self._generation = topic, output, generation
        self._store = root.table(topic)
        self._schemas, self._clock, self._new_name = schemas, clock, new_name
        self._incarnations: dict[int, int] = {}
        self._ids: dict[int, str | None] = {}
        self._waiting: deque[tuple[int, Sequence[Any]]] = deque()
        self.blocked: tuple[PeerError, int] | None = None
        """Why records wait for the registry, and since when (monotonic ms)."""
        self._swept_ms: int | None = None
        metrics.LOST.labels(topic)  # at 0 from the start, so that Prometheus sees it grow
        self.fold = Fold()
        self.attempt = self._new_attempt(self.fold)

    def open(self) -> None:
        """Fold to the head, and finish moves that a crash left undone."""
        self._forget()
        self.fold = carry_out(read_generation(self._generation), self._store)
        if self._generation not in (None, self.fold.generation) or self.fold.is_closed:
            raise StorageError(f"generation {self._generation} of table {self.topic} is no longer being loaded")
        self._standing.show(self.fold)
        self.attempt = self._new_attempt(self.fold)
        moved = carry_out(upkeep.finish_moves(self.fold), self._store)
        if moved:
            logger.info("files of an earlier commit moved into place", extra={"topic": self.topic, "files": moved})

    def _forget(self) -> None:
        """Have nothing of the table in memory, as when it was made."""
        self._waiting.clear()
        self.blocked = None
        self._incarnations.clear()
        self.fold = Fold()
        self.attempt = self._new_attempt(self.fold)

    @property
    def recovery(self) -> Recovery:
        """What has failed of late."""
        return self._standing.recovery

    def _new_attempt(self, fold: Fold) -> Attempt:
        return Attempt(
            self.topic, self._store, fold, self._output, name=self._new_name(), started_ms=self._clock.monotonic_ms()
        )

    def tell_only(self, partitions: Iterable[int]) -> None:
        """Say for metrics how far these are behind, and no others, which are not ours."""
        self._standing.keep(partitions)

    @property
    def partitions(self) -> Iterable[int]:
        """The partitions that are being read."""
        return self._incarnations.keys()

    def incarnation(self, partition: int) -> int:
        """The incarnation under which a partition is being read."""
        return self._incarnations[partition]

    def begin(self, partition: int, where: Resume, topic_id: str | None) -> None:
        """Read a partition as `where` says."""
        self._incarnations[partition] = where.incarnation
        self._ids[partition] = topic_id
        self.attempt.start(partition, where.incarnation, topic_id)
        self._standing.begin(partition, self.next_offset(partition))
        if where.gap:
            self.skip(partition, where.offset, where.gap)

    def end(self, partition: int) -> None:
        """Read a partition no more."""
        self._incarnations.pop(partition, None)

    def next_offset(self, partition: int) -> int:
        return self.attempt.next_offset(partition)

    @property
    def is_blocked(self) -> bool:
        """Whether records wait for the registry."""
        return bool(self._waiting)

    def take(self, partition: int, messages: Sequence[Any], why: Callable[[int, int], str]) -> bool:
        """Take records of a partition, in offset order; False if another loader has landed some meanwhile: start over."""
        if not self._keep_fresh():
            return False
        self._standing.saw(partition, messages[0])
        self._waiting.append((partition, messages))
        if len(self._waiting) == 1:
            self.take_waiting(why)
        return True

    def take_waiting(self, why: Callable[[int, int], str]) -> None:
        """Take what has been waiting for the registry, as far as it answers."""
        while self._waiting:
            partition, messages = self._waiting[0]
            try:
                self.attempt.take(partition, messages, self._schemas, why=why, now_ms=self._clock.monotonic_ms())
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

    def _keep_fresh(self) -> bool:
        """Let an attempt that has nothing yet start from a new fold, since its life counts from there."""
        if not self.attempt.is_empty or self._clock.monotonic_ms() - self.attempt.started_ms < STALE_FOLD_MS:
            return True
        return self._go_on_from(carry_out(read_head(self.fold), self._store)) and not self.fold.is_closed

    def _go_on_from(self, fold: Fold) -> bool:
        """A new attempt from `fold`; False if that moves the place where some partition is read."""
        before = {partition: self.attempt.next_offset(partition) for partition in self._incarnations}
        self.fold, self.attempt = fold, self._new_attempt(fold)
        for partition, incarnation in self._incarnations.items():
            self.attempt.start(partition, incarnation, self._ids[partition])
        return all(self.attempt.next_offset(partition) == offset for partition, offset in before.items())

    def is_due(self) -> bool:
        return self.attempt.is_due(self._clock.monotonic_ms())

    def commit(self, verify: Callable[[], bool], is_stopping: Callable[[], bool]) -> bool:
        """Commit what has been read; False if it came to nothing, or others moved on: start over from `open`.

        Args:
            verify: whether the topic still is what was read.
            is_stopping: whether a put that is not answered is to be left undecided.
        Raises:
            PeerError: Kafka cannot be asked.
        """
        if self.attempt.is_empty:
            return True
        draft = self.attempt.close(self._clock.wall_ms())
        steps = commit(draft, self.fold, started_ms=self.attempt.started_ms)
        try:
            outcome = carry_out(steps, self._store, self._clock, verify, is_stopping)
        except Exception as error:
            if isinstance(error, UndecidedError) or not isinstance(error, HeadraceError):
                self.attempt = self._new_attempt(self.fold)  # its record may come yet: its files are the sweeper's
            raise
        if isinstance(outcome, Fenced):
            metrics.COMMITS.labels(self.topic, "fenced").inc()
            logger.warning("attempt dropped: %s", outcome.why, extra={"topic": self.topic})
            return False
        self._celebrate(draft, outcome.fold)
        kept_place = self._go_on_from(outcome.fold)
        self._standing.landed(self.ends(), self.fold)
        for partition, messages in self._waiting:
            self._standing.saw(partition, messages[0])
        self._keep_up()
        return kept_place and not self.fold.is_closed

    def _celebrate(self, draft: CommitRecord, fold: Fold) -> None:
        rows, quarantined, duplicates = self.attempt.counts
        metrics.COMMITS.labels(self.topic, "won").inc()
        metrics.ROWS.labels(self.topic).inc(rows)
        metrics.QUARANTINED.labels(self.topic).inc(quarantined)
        metrics.BYTES.labels(self.topic).inc(sum(file.bytes for file in draft.add))
        metrics.DUPLICATES.labels(self.topic).inc(duplicates)
        gaps = [gap for landed in draft.ranges for gap in landed.gaps if gap.why == "lost"]
        metrics.LOST.labels(self.topic).inc(sum(gap.end - gap.start for gap in gaps))
        numbers = {"seq": fold.seq, "rows": rows, "quarantined": quarantined, "duplicates": duplicates, "files": len(draft.add)}
        logger.info("landed", extra={"topic": self.topic, **numbers})

    def _keep_up(self) -> None:
        if upkeep.checkpoint_is_due(self.fold):
            carry_out(upkeep.write_checkpoint(self.fold), self._store)

    def sweep(self) -> None:
        """Delete what nobody needs any more, once an hour."""
        now_ms = self._clock.monotonic_ms()
        if self._generation is None and (self._swept_ms is None or now_ms - self._swept_ms >= SWEEP_INTERVAL_MS):
            self._swept_ms = now_ms
            carry_out(upkeep.finish_moves(carry_out(read_head(), self._store)), self._store)
            if doomed := carry_out(upkeep.sweep(stages=self._store.stages), self._store):
                logger.info("swept", extra={"topic": self.topic, "files": len(doomed)})

    def drop(self) -> None:
        """Drop what has been read and not committed, without the store: what is there of it is the sweeper's."""
        try:
            self.attempt.discard()
        except Exception:  # nothing that is left of it matters
            logger.exception("what was read is not dropped whole", extra={"topic": self.topic})
        self._forget()

    def give_up(self, why: str) -> None:
        """Drop what has been read and not committed, and delete its files, unless a record of it may be in the log."""
        attempt, generation = self.attempt, self.fold.generation
        self.drop()
        metrics.COMMITS.labels(self.topic, "failed").inc()
        logger.warning("attempt given up: %s", why, extra={"topic": self.topic})
        files, quarantine = attempt.closed_files, attempt.closed_quarantine
        if not files and quarantine is None:
            return
        draft = CommitRecord("load", attempt.name, "", 0, add=files, quarantine=quarantine, generation=generation)
        try:
            carry_out(give_up(draft, why), self._store)
        except Exception as error:  # noqa: BLE001 - the table fails already, and has said why
            logger.warning("its files stay until they are swept: %s", said(error), extra={"topic": self.topic})

    def close(self) -> None:
        """Leave a checkpoint, so that the next start is short."""
        if self.fold.seq - self.fold.checkpoint_seq > 1:
            carry_out(upkeep.write_checkpoint(self.fold), self._store)

    def ends(self) -> Sequence[tuple[int, int]]:
        """(partition, next offset) of what has landed, for lag tools."""
        return [(partition, self.fold.end(incarnation, partition)) for partition, incarnation in self._incarnations.items()]
