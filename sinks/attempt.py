"""One attempt at a commit: what has been read since the fold, on its way into files and into one record.

An attempt lives from a fold to a put. It knows neither Kafka's client nor the log's store: messages come in, a draft of the
record comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from headrace.clock import MonotonicMs, WallMs
from headrace.process import process_name
from headrace.sinks.audit_sums import has_identity
from headrace.sinks.buckets import Buckets, Rows
from headrace.sinks.config import Output
from headrace.sinks.evolution import Evolution
from headrace.sinks.fingerprint import fingerprint
from headrace.sinks.identities import of_headers
from headrace.sinks.inputs import decide_input
from headrace.sinks.layout import Layout
from headrace.sinks.quarantine import QuarantineFile
from headrace.sinks.registered import Input, Schemas
from headrace.sinks.repeats import Repeats
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile, Gap, LandedRange
from headrace.sinks.table.store import Store
from headrace.sinks.values import Decoded, decode

Why = Callable[[int, int], tuple[int, str]]
"""Of a hole [start, end) between records: up to where it has one cause, and which; may raise PeerError."""
MAX_AGE_MS: Final = 1_800_000
"""An attempt is committed at this age whatever the configuration says, because it lives an hour."""


@dataclass(slots=True)
class Progress:
    """One partition's share: offsets [start, next) have been read; rows + quarantined + duplicates + Σ gaps = next − start."""

    incarnation: int
    start: int
    next: int
    topic_id: str | None
    last_ms: int | None
    """Kafka timestamp of the last record read, in this attempt or before."""
    rows: int = 0
    quarantined: int = 0
    duplicates: int = 0
    gaps: list[Gap] = field(default_factory=list)
    last: Any = None
    """The last message read in this attempt."""

    def gap(self, end: int, why: str, before_ms: int | None) -> None:
        """Say why there is nothing in [next, end), and go on from `end`."""
        previous = self.gaps[-1] if self.gaps else None
        if previous and previous.end == self.next and previous.why == why:
            self.gaps[-1] = Gap(previous.start, end, why, previous.after_ms, before_ms)
        else:
            self.gaps.append(Gap(self.next, end, why, self.last_ms, before_ms))
        self.next = end


class Attempt:
    """What one table has read since `fold`."""

    def __init__(self, topic: str, store: Store, fold: Fold, output: Output, *, name: str, started_ms: MonotonicMs) -> None:
        self.topic, self.name, self.started_ms = topic, name, started_ms
        self.input: str | None = fold.input
        self._decided = False
        self._rotate, self._shape, self._layout = output.rotate, output.shape, Layout(output.layout)
        self._fold = fold
        self._progress: dict[int, Progress] = {}
        self._repeats = Repeats(fold.streams)
        self._evolution = Evolution(fold.arrow_schema, aside=output.shape.aside)
        self._buckets = Buckets(store, name, output)
        self._quarantine = QuarantineFile(store, name, fold.created_ms)
        self._first_ms: MonotonicMs | None = None

    def start(self, partition: int, incarnation: int, topic_id: str | None) -> Progress:
        """Where reading a partition stands; it begins at the fold's end."""
        if partition not in self._progress:
            end = self._fold.end(incarnation, partition)
            known = self._fold.ends.get((incarnation, partition))
            last_ms = known.last_timestamp_ms if known else None
            self._progress[partition] = Progress(incarnation, end, end, topic_id, last_ms)
        return self._progress[partition]

    def next_offset(self, partition: int) -> int:
        """The first offset of a started partition that has not been read."""
        return self._progress[partition].next

    def take(
        self,
        partition: int,
        messages: Sequence[Any],
        schemas: Schemas,
        *,
        why: Why,
        now_ms: MonotonicMs,
    ) -> None:
        """Take records of a started partition, in offset order, from its next offset on.

        Args:
            why: asked about holes between records.
        Raises:
            PeerError: the registry, or the broker about a hole, is needed and away; nothing has been taken: again, later.
            StorageError: the store failed; the attempt is to be given up.
        """
        progress = self._progress[partition]
        if messages and messages[0].offset() < progress.next:
            messages = [message for message in messages if message.offset() >= progress.next]
        if not messages:
            return
        holes = _holes(progress.next, messages, why)
        if not self._decided:
            self.input = decide_input(self.topic, self.input, messages, schemas, now_ms)
            self._decided = True
        kind: Input = self.input  # type: ignore[assignment] # decided above
        decoded, bad = decode(
            self.topic, kind, messages, schemas, progress.incarnation, partition, shape=self._shape, now_ms=now_ms
        )
        columns = self._evolution.columns
        admitted, misfits = self._evolution.admit(decoded)
        if columns is not None and columns is not self._evolution.columns:
            self._buckets.project(self._evolution.projected)
        self._note_holes(progress, messages, holes)
        for one in bad + misfits:
            self._quarantine.add(progress.incarnation, partition, one)
        progress.quarantined += len(bad) + len(misfits)
        fresh = [kept for batch in admitted if (kept := self._fresh(progress, partition, batch)).rows.num_rows]
        if fresh:
            self._hold(progress, fresh)
        self._begin(now_ms)

    def _begin(self, now_ms: MonotonicMs) -> None:
        if self._first_ms is None:
            self._first_ms = now_ms

    def skip(self, partition: int, end: int, why: str, *, now_ms: MonotonicMs, before_ms: int | None = None) -> None:
        """Say that [next, end) of a started partition holds no records that can be read."""
        if end > self._progress[partition].next:
            self._progress[partition].gap(end, why, before_ms)
            self._begin(now_ms)

    @staticmethod
    def _note_holes(progress: Progress, messages: Sequence[Any], holes: Mapping[int, Sequence[tuple[int, str]]]) -> None:
        first, last = messages[0], messages[-1]
        if progress.gaps and progress.gaps[-1].before_ms is None and progress.gaps[-1].end == first.offset():
            progress.gaps[-1] = replace(progress.gaps[-1], before_ms=first.timestamp()[1])
        if holes:
            for message in messages:
                for end, why in holes.get(message.offset(), ()):
                    progress.gap(end, why, message.timestamp()[1])
                progress.next = message.offset() + 1
                progress.last_ms = message.timestamp()[1]
        progress.next = last.offset() + 1
        progress.last = last
        progress.last_ms = last.timestamp()[1]

    def _fresh(self, progress: Progress, partition: int, batch: Decoded) -> Decoded:
        """A batch without the repeats of what has landed. Where records' headers say whose they are, that counts alone."""
        if (named := of_headers(batch.messages)) is not None:
            rows, identities = named
            fresh = np.ones(batch.rows.num_rows, bool)
            values = [batch.messages[row].value() for row in rows.tolist()]
            fresh[rows] = self._repeats.keep_counted(partition, identities, values)
        elif has_identity(batch.rows.schema):
            fresh = self._repeats.keep(partition, batch.rows, batch.event_time_ms)
        else:
            return batch
        kept = int(fresh.sum())
        if kept == len(fresh):
            return batch
        progress.duplicates += len(fresh) - kept
        return replace(
            batch,
            rows=batch.rows.filter(pa.array(fresh)),
            offsets=batch.offsets[fresh],
            event_time_ms=batch.event_time_ms[fresh],
        )

    def _hold(self, progress: Progress, batches: Sequence[Decoded]) -> None:
        rows, _, times, schema_ids = self._evolution.merged(batches)
        progress.rows += rows.num_rows
        directories = np.zeros(rows.num_rows, np.int32)
        paths = []
        for number, (path, part) in enumerate(self._layout.split(rows, times)):
            paths.append(path)
            if part is not None:
                directories[part] = number
        self._buckets.add(Rows(rows, times, directories, tuple(paths), schema_ids))

    @property
    def held_bytes(self) -> int:
        """Rows held in memory."""
        return self._buckets.held_bytes

    def spill(self) -> None:
        """Move the largest share of the rows in memory to a temporary file."""
        self._buckets.spill()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return all(progress.next == progress.start for progress in self._progress.values())

    def is_due(self, now_ms: MonotonicMs) -> bool:
        """Whether a file is full, or what was read first has waited long enough."""
        if self._first_ms is None or self.is_empty:
            return False
        rotate, age_ms = self._rotate, now_ms - self._first_ms
        if age_ms >= min(rotate.age * 1000, MAX_AGE_MS) or now_ms - self.started_ms >= MAX_AGE_MS:
            return True
        return self._buckets.is_due(bytes_=rotate.bytes, rows=rotate.rows)

    def close(self, now_ms: WallMs) -> CommitRecord:
        """Finish the files, and say in a draft what they hold; `seq` and `prev` are the commit protocol's to fill in.

        Raises:
            StorageError: the store failed; the attempt is to be given up.
        """
        files = self._buckets.close()
        return self._draft(files, now_ms)

    def _draft(self, files: tuple[DataFile, ...], now_ms: WallMs) -> CommitRecord:
        return CommitRecord(
            kind="load",
            attempt=self.name,
            loader=process_name(),
            created_ms=now_ms,
            generation=self._fold.generation,
            ranges=tuple(
                _landed_range(partition, progress)
                for partition, progress in sorted(self._progress.items())
                if progress.next > progress.start
            ),
            add=files,
            quarantine=self._quarantine.close(),
            audit=self._repeats.audit(),
            streams=self._repeats.streams(),
            input=self.input,
            arrow_schema=self._evolution.news if files else None,
        )

    def discard(self) -> None:
        """Give up the files that are still open, after an error."""
        self._buckets.discard()
        self._quarantine.discard()

    def so_far(self) -> CommitRecord:
        """A record that names the files that are finished: the commit protocol's to delete."""
        return CommitRecord(
            "load",
            self.name,
            "",
            0,
            add=self._buckets.closed,
            quarantine=self._quarantine.closed,
            generation=self._fold.generation,
        )


def _holes(start: int, messages: Sequence[Any], why: Why) -> dict[int, list[tuple[int, str]]]:
    """By the offset of the record behind it, each hole before or between records: its pieces' ends and causes."""
    if messages[0].offset() == start and messages[-1].offset() - start + 1 == len(messages):
        return {}
    found: dict[int, list[tuple[int, str]]] = {}
    for message in messages:
        while start < message.offset():
            end, cause = why(start, message.offset())
            found.setdefault(message.offset(), []).append((end, cause))
            start = end
        start = message.offset() + 1
    return found


def _landed_range(partition: int, progress: Progress) -> LandedRange:
    last = progress.last
    return LandedRange(
        incarnation=progress.incarnation,
        partition=partition,
        start=progress.start,
        end=progress.next,
        rows=progress.rows,
        quarantined=progress.quarantined,
        duplicates=progress.duplicates,
        gaps=tuple(progress.gaps),
        last_offset=last.offset() if last else None,
        last_leader_epoch=last.leader_epoch() if last else None,
        last_timestamp_ms=last.timestamp()[1] if last else None,
        last_fingerprint=fingerprint(last) if last else None,
        topic_id=progress.topic_id,
    )
