"""Faults planted into the log of a broker that is not running, as if they had been appended so: whole batches, right CRCs."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro

from headrace.broker.log.file_names import INDEX, LOG, TIME_INDEX
from headrace.broker.log.record import Record, build_batch
from headrace.broker.log.record import records as records_in
from headrace.schemas.envelope import ENVELOPE

_SCHEMA = fastavro.parse_schema(ENVELOPE)
_FRAME_BYTES = 5
Change = Callable[[Record], Sequence[Record]]


def log_of(broker: Path, topic: str, partition: int = 0) -> Path:
    """The one segment of a partition below a broker's `log.dirs`."""
    (segment,) = (broker / f"{topic}-{partition}").glob(f"*{LOG}")
    return segment


def records(segment: Path) -> list[Record]:
    return list(records_in(segment.read_bytes()))


def rewrite(segment: Path, wanted: Iterable[Record]) -> None:
    """Put these records in the place of those that are there; offsets that none has are holes. Indexes are to be made anew."""
    in_order = sorted(wanted, key=lambda record: record.offset)
    starts = [0, *(at for at, (one, other) in enumerate(pairwise(in_order), 1) if other.offset != one.offset + 1)]
    runs = [in_order[start:end] for start, end in pairwise([*starts, len(in_order)])]
    segment.write_bytes(b"".join(build_batch(run, base_offset=run[0].offset) for run in runs))
    for suffix in (INDEX, TIME_INDEX):
        segment.with_suffix(suffix).unlink(missing_ok=True)


def change(segment: Path, text: bytes, to: Change) -> Record:
    """Put others in the place of the record whose value has a text in it; that record."""
    before = records(segment)
    (found,) = (record for record in before if text in (record.value or b""))
    rewrite(segment, [new for record in before for new in (to(record) if record is found else (record,))])
    return found


def append(segment: Path, record: Record) -> Record:
    """Produce a record again, or here: as it lies in the log then."""
    before = records(segment)
    last = replace(record, offset=before[-1].offset + 1 if before else 0)
    rewrite(segment, [*before, last])
    return last


def event_of(record: Record) -> dict[str, Any]:
    """The envelope's record."""
    found: Any = fastavro.schemaless_reader(io.BytesIO((record.value or b"")[_FRAME_BYTES:]), _SCHEMA, _SCHEMA)
    return dict(found)


def with_event(record: Record, **fields: Any) -> Record:
    """The record with other fields of the envelope."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _SCHEMA, event_of(record) | fields)
    return replace(record, value=(record.value or b"")[:_FRAME_BYTES] + out.getvalue())
