"""What of a landed table is read, and by which pieces: files and row groups that may hold the rows, then the rows themselves.

`ReadTable` and the jobs read by this. Held are one batch of rows, and what a file's reader holds.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import StorageError
from headrace.jobs.batch.conditions import Conditions
from headrace.jobs.batch.event_rows import Rows, Span
from headrace.schemas.unified import project
from headrace.sinks.event_time import FIRST_HOUR, HOUR_MS, LAST_HOUR
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.table.arrow_schema import decode_schema
from headrace.sinks.table.reader import LiveFile, open_live
from headrace.sinks.table.record import DataFile

PIECE_BYTES: Final = 32 << 20
"""Smaller files are read together, larger ones by several workers, some row groups each."""
_PIECE_FILES: Final = 100
BATCH_ROWS: Final = 131_072
"""Many enough for Arrow's functions, which cost some hundred microseconds each time, few enough to hold."""
BATCH_BYTES: Final = 64 << 20
_STEP_ROWS: Final = 8192
_TIMES: Final = ("event_time", "_timestamp")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a table; `is_within`: all its rows are of the time that is read."""

    name: str
    format: str
    is_within: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Files of a topic's table, or some row groups of one: what one worker reads at a time."""

    topic: str
    files: tuple[File, ...]
    bytes: int
    """Of the files."""
    row_groups: tuple[int, ...] | None = None

    @property
    def is_large(self) -> bool:
        """Whether several workers should read it."""
        return self.bytes > PIECE_BYTES and self.files[0].format == "parquet" and self.row_groups is None


@dataclass(frozen=True, slots=True)
class Scan:
    """Which rows and columns of a table are read."""

    root: str
    topic: str
    schema: str
    """The table's columns, as a commit record says them."""
    columns: tuple[str, ...]
    span: Span
    """Of event time."""
    conditions: Conditions

    def pieces(self, files: Mapping[str, DataFile | LiveFile]) -> list[Piece]:
        """The files, by their names in the table, that may have such rows by what its log says of them.

        Raises:
            StorageError: one of them is known to be damaged.
        """
        found: list[Piece] = []
        held: list[File] = []
        held_bytes = 0
        for name in sorted(files):
            file = files[name]
            first_ms, last_ms = file.min_event_time_ms, file.max_event_time_ms
            if not self.span.meets(first_ms, last_ms) or not self.conditions.hold_of(name):
                continue
            if isinstance(file, LiveFile) and file.damage is not None:
                raise StorageError(file.damage)
            if held and (held_bytes + file.bytes > PIECE_BYTES or len(held) == _PIECE_FILES):
                found.append(Piece(self.topic, tuple(held), held_bytes))
                held, held_bytes = [], 0
            held.append(File(name, file.format, self.span.covers(first_ms, last_ms)))
            held_bytes += file.bytes
        return [*found, Piece(self.topic, tuple(held), held_bytes)] if held else found

    def split(self, piece: Piece) -> Iterator[Piece]:
        """A piece as smaller ones, by row groups, without those that cannot have such rows."""
        if not piece.is_large:
            yield piece
            return
        (file,) = piece.files
        with self._opened(file) as landed:
            groups = landed.row_groups(self._bounds(file, landed.schema))
            at_once = max(1, PIECE_BYTES * len(landed.row_groups(None)) // piece.bytes)
        for at in range(0, len(groups), at_once):
            yield replace(piece, row_groups=tuple(groups[at : at + at_once]))

    def batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """The rows of a piece, in order, as few batches as may be held, none of them empty.

        Raises:
            StorageError: a file is nowhere. CorruptError: it cannot be read.
        """
        held: list[pa.RecordBatch] = []
        rows = held_bytes = 0
        for batch in self._found(piece):
            held.append(batch)
            rows, held_bytes = rows + batch.num_rows, held_bytes + batch.nbytes
            if rows >= BATCH_ROWS or held_bytes >= BATCH_BYTES:
                yield _one(held)
                held, rows, held_bytes = [], 0, 0
        if held:
            yield _one(held)

    def _found(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        table = decode_schema(self.schema)
        asked = self.conditions.columns.union(self.columns)
        read = pa.schema([field for field in table if field.name in asked])
        wanted = pa.schema([table.field(name) for name in self.columns], table.metadata)
        expression = self.conditions.expression
        for file in piece.files:
            with self._opened(file) as landed:
                for batch in self._read(file, piece.row_groups, landed, asked if file.is_within else asked.union(_TIMES)):
                    rows = pa.Table.from_batches([batch])
                    if not file.is_within:
                        rows = Rows(self.topic, rows).within(self.span).table
                    rows = project(rows.select([name for name in rows.column_names if name in asked]), read)
                    if expression is not None:
                        rows = rows.filter(expression)
                    yield from (found for found in rows.select(self.columns).cast(wanted).to_batches() if found.num_rows)

    def _read(self, file: File, groups: Iterable[int] | None, landed: LandedRows, needed: Set[str]) -> Iterator[pa.RecordBatch]:
        names = [name for name in landed.schema.names if name in needed]
        if file.format != "parquet":
            return landed.batches(names)
        if groups is None:
            groups = landed.row_groups(self._bounds(file, landed.schema))
        return landed.batches_of(tuple(groups), names, _STEP_ROWS)

    def _opened(self, file: File) -> LandedRows:
        data = open_live(self.root, self.topic, file.name)
        return LandedRows(data, file.format, file.name, f"; run: headrace check --deep {self.root}")

    def _bounds(self, file: File, schema: pa.Schema) -> pc.Expression | None:
        """What the statistics of a row group are asked: all that holds of wanted rows, by columns that are as in the table."""
        table = decode_schema(self.schema)
        alike = {field.name for field in schema if field.name in table.names and field.type == table.field(field.name).type}
        found = [] if file.is_within else _time_bounds(schema, self.span)
        if self.conditions.rows and self.conditions.columns <= alike:
            found.append(self.conditions.expression)
        return None if not found else found[0] if len(found) == 1 else found[0] & found[1]


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _time_bounds(schema: pa.Schema, span: Span) -> list[pc.Expression]:
    """A row's time is its `event_time`; where that is null or of no calendar, it is another."""
    kind = schema.field("event_time").type if "event_time" in schema.names else None
    if kind not in (pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")):
        return []
    column = pc.field("event_time")
    first, end = _at(FIRST_HOUR * HOUR_MS * 1000, kind), _at((LAST_HOUR + 1) * HOUR_MS * 1000, kind)
    elsewhere = column.is_null() | (column < first) | (column >= end)
    inside = pc.scalar(True)
    if span.start_us is not None:
        inside = inside & (column >= _at(span.start_us, kind))
    if span.end_us is not None:
        inside = inside & (column < _at(span.end_us, kind))
    return [elsewhere | inside]


def _at(us: int, kind: pa.DataType) -> pa.Scalar:
    """A time, or the next one that a column can hold: as many of its values lie before it."""
    return pa.scalar(us if kind.unit == "us" else -(-us // 1000), pa.int64()).cast(kind)
