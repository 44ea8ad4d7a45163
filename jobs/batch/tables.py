"""Beam's source of landed tables: exactly the rows of one snapshot of a table's log, as Arrow batches (docs/batch.md).

Files are an explicit list, never a glob, which would match what no record names. A file that has moved since is found again, on
whatever store it lies, by our own readers. The steps are plain ones, so that they work on every runner: the list, the row
groups of large files, the rows.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders.coders import Coder
from apache_beam.coders.typecoders import registry
from apache_beam.pvalue import PCollection

from headrace.clock import SystemClock
from headrace.errors import ArgumentError, UsageError
from headrace.jobs.batch.conditions import Where, columns_in, conditions_of, path_keys
from headrace.jobs.batch.event_rows import Span
from headrace.jobs.batch.table_scan import Piece, Scan
from headrace.jobs.far_times import values_of
from headrace.schemas.unified import IncompatibleError, fit
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.places import unknown_table
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.arrow_schema import decode_schema, encode_schema
from headrace.sinks.table.history import Moment, read_as_of
from headrace.sinks.table.reader import LiveFile, head, open_live, tables
from headrace.sinks.table.record import DataFile
from headrace.sinks.table.store import carry_out
from headrace.sinks.times import parse_time
from headrace.sinks.values import OWN_COLUMNS

Time = datetime | str | int
"""A time, as ISO 8601 or `36h` for so long ago, or in ms since the epoch; UTC where it does not say."""


class ReadTable(beam.PTransform[Any, Any]):
    """The rows of a landed table, as `pyarrow.RecordBatch`es of one schema; `rows=True`: as dicts.

    Args:
        root: where the tables are, a path or a URL (docs/stores.md).
        since, until: of event time, from `since` to before `until`.
        columns: those wanted, in that order; None: all.
        where: conditions as pyarrow's `filters`: a list of (column, op, value) that all hold, or a list of such lists, one of
            which does. A key of the files' paths (`dt`, `hour`) may be a column here, too.
        as_of: the table as it was after a record, by its number, or at a time; None: as it is when the pipeline is built.
    Raises:
        UsageError: no such table, column or moment; when the pipeline is built. ArgumentError (a ValueError, too): `since` is
            after `until`.
        StorageError, CorruptError: the log cannot be read, or later a file.
    """

    def __init__(
        self,
        root: Path | str,
        topic: str,
        *,
        since: Time | None = None,
        until: Time | None = None,
        columns: Sequence[str] | None = None,
        where: Where = (),
        as_of: int | str | None = None,
        rows: bool = False,
    ) -> None:
        super().__init__()
        self._rows = rows
        self._scan, self._pieces = plan(root, topic, since=since, until=until, columns=columns, where=where, as_of=as_of)

    def expand(self, begin: Any) -> PCollection[Any]:
        scan = self._scan
        pieces = begin | Pieces({scan.topic: scan}, self._pieces)
        batches: PCollection[Any] = pieces | "Batches" >> beam.FlatMap(scan.batches).with_output_types(pa.RecordBatch)
        return batches | "Rows" >> beam.FlatMap(rows_of_batch) if self._rows else batches

    def display_data(self) -> dict[str, Any]:
        return {"root": str(open_root(self._scan.root)), "topic": self._scan.topic}


class Pieces(beam.PTransform[Any, Any]):
    """What there is to read, spread over workers; of large files the row groups, which a worker looks up.

    Args:
        scans: of the topics' tables.
        work: pieces of them; anything else is handed on as it is.
    """

    def __init__(self, scans: Mapping[str, Scan], work: Sequence[Any]) -> None:
        super().__init__()
        self._scans, self._work = scans, work

    def expand(self, begin: Any) -> PCollection[Any]:
        spread: PCollection[Any] = begin | "Work" >> beam.Create(self._work, reshuffle=False) | "Spread" >> beam.Reshuffle()
        if not any(isinstance(one, Piece) and one.is_large for one in self._work):
            return spread
        split: PCollection[Any] = spread | "Row groups" >> beam.FlatMap(_split, self._scans)
        again: PCollection[Any] = split | "Spread row groups" >> beam.Reshuffle()
        return again


def _split(work: Any, scans: Mapping[str, Scan]) -> Iterator[Any]:
    return scans[work.topic].split(work) if isinstance(work, Piece) else iter((work,))


def plan(
    root: Path | str,
    topic: str,
    *,
    since: Time | None,
    until: Time | None,
    columns: Sequence[str] | None,
    where: Where,
    as_of: int | str | None = None,
) -> tuple[Scan, list[Piece]]:
    """What is read, and in which pieces."""
    where_is = open_root(root)
    if topic not in (known := tables(root)):
        raise unknown_table(topic, known)
    fold = head(where_is, topic)
    if as_of is not None and (moment := Moment.parse(str(as_of))) is not None:
        fold = carry_out(read_as_of(moment, fold), where_is.table(topic))
    schema = columns_of(root, topic, fold.arrow_schema, fold.files)
    names = schema.names if columns is None else list(columns)
    keys = {key for path in fold.files for key in path_keys(path)}.difference(schema.names)
    for name in (*names, *(key for key in columns_in(where) if key not in keys)):
        if name not in schema.names:
            close = difflib.get_close_matches(name, schema.names, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"table {topic} has no column {name!r}{meant} (columns: {', '.join(schema.names)})")
    start_ms, end_ms = between(since, until)
    span = Span(None if start_ms is None else start_ms * 1000, None if end_ms is None else end_ms * 1000)
    scan = Scan(str(root), topic, encode_schema(schema), tuple(names), span, conditions_of(where, schema, keys))
    return scan, scan.pieces(fold.files)


def columns_of(root: Path | str, topic: str, said: str | None, files: Mapping[str, DataFile | LiveFile]) -> pa.Schema:
    """A table's columns, as its log says them (`arrow_schema`); where it does not, those of its files, by name.

    Raises:
        UsageError: the files' do not go together.
    """
    if said is not None:
        return decode_schema(said)
    unified: pa.Schema | None = None
    for name in sorted(files):
        with LandedRows(open_live(root, topic, name), files[name].format, name) as landed:
            try:
                unified = fit(unified, landed.schema, aside=False, last=OWN_COLUMNS).columns
            except IncompatibleError as error:
                raise UsageError(f"table {topic}: {name}: {error}; read its files by time ranges that go together") from error
    return pa.schema([]) if unified is None else unified


def between(since: Time | None, until: Time | None) -> tuple[int | None, int | None]:
    """Two times in ms since the epoch; None: unbounded.

    Raises:
        UsageError: one is no time. ArgumentError: there is nothing between them.
    """
    start_ms, end_ms = _ms_of(since, "since"), _ms_of(until, "until")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ArgumentError(f"since={since!r} is after until={until!r}: no time is between them")
    return start_ms, end_ms


def _ms_of(time: Time | None, name: str) -> int | None:
    if isinstance(time, datetime):
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    return int(parse_time(time, name, SystemClock().wall_ms())) if isinstance(time, str) else time


def rows_of_batch(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any]]:
    """The rows of a batch as dicts; a map is one too, and a time that Python's calendar lacks is a text."""
    names = batch.schema.names
    for row in zip(*map(values_of, batch.columns), strict=True):
        yield dict(zip(names, row, strict=True))


class RecordBatchCoder(Coder):
    """Arrow's IPC format for batches that a runner moves between workers; nothing is unpickled."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as stream:
            stream.write_batch(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        with pa.ipc.open_stream(pa.py_buffer(encoded)) as stream:
            return stream.read_next_batch()

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> Any:
        return pa.RecordBatch


registry.register_coder(pa.RecordBatch, RecordBatchCoder)
