"""What of a landed table is read, and by which pieces: files and row groups that may hold the rows, then the rows themselves.

A predicate is what pyarrow calls filters: a list of (column, op, value), all of which hold, or a list of such lists, one of
which does. `op` is one of == = != < <= > >= in, not in; where a value is null nothing holds.
"""

import difflib
import operator
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import UsageError
from headrace.jobs.landed_rows import event_times_of
from headrace.schemas.unified import project
from headrace.sinks.event_time import FIRST_HOUR, HOUR_MS, LAST_HOUR
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.table.arrow_schema import decode_schema, encode_schema
from headrace.sinks.table.reader import open_live
from headrace.sinks.table.record import DataFile

Condition = tuple[str, str, Any]
Where = Sequence[Condition] | Sequence[Sequence[Condition]]

SPLIT_BYTES: Final = 32 << 20
"""Files larger than this are read by several workers, a row group each."""
BATCH_ROWS: Final = 65_536
_TIMES: Final = ("event_time", "_timestamp")
_TESTS: Final[Mapping[str, Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
    "not in": lambda value, values: value not in values,
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a table, or some of its row groups: what one worker reads at a time."""

    name: str
    format: str
    bytes: int
    is_within: bool
    """Whether all its rows are of the time that is read."""
    row_groups: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """Which rows and columns of a table are read; event times in ms, from `since_ms` to before `until_ms` (None: no bound)."""

    root: str
    topic: str
    schema: str
    """The table's columns, as a commit record says them."""
    columns: tuple[str, ...]
    since_ms: int | None
    until_ms: int | None
    where: tuple[tuple[Condition, ...], ...]
    """Of rows; any one of these holds whole. Empty: all rows."""
    paths: tuple[Condition, ...]
    """Of the keys in files' paths."""

    def pieces(self, files: Sequence[DataFile]) -> list[Piece]:
        """The files that may have such rows, by what the table's log says of them."""
        first = -(1 << 63) if self.since_ms is None else self.since_ms
        end = 1 << 63 if self.until_ms is None else self.until_ms
        return [
            Piece(file.path, file.format, file.bytes, first <= file.min_event_time_ms and file.max_event_time_ms < end)
            for file in files
            if file.max_event_time_ms >= first and file.min_event_time_ms < end and self._lies_there(file.path)
        ]

    def _lies_there(self, path: str) -> bool:
        keys = path_keys(path)
        for column, test, value in self.paths:
            text = keys.get(column)
            if text is None or not _TESTS[test](_like(text, value), value):
                return False
        return True

    def split(self, piece: Piece) -> Iterator[Piece]:
        """A piece as smaller ones, by row groups, without those that cannot have such rows."""
        if piece.format != "parquet" or piece.bytes <= SPLIT_BYTES:
            yield piece
            return
        with self._opened(piece) as landed:
            groups = landed.row_groups(self._bounds(piece, landed.schema))
        for group in groups:
            yield Piece(piece.name, piece.format, piece.bytes, piece.is_within, (group,))

    def batches(self, piece: Piece) -> Iterator[pa.RecordBatch]:
        """The rows of a piece, in order, none of them empty.

        Raises:
            StorageError: the file is nowhere. CorruptError: it cannot be read.
        """
        asked = {column for conditions in self.where for column, _, _ in conditions}.union(self.columns)
        table = decode_schema(self.schema)
        read = pa.schema([field for field in table if field.name in asked])
        wanted = pa.schema([table.field(name) for name in self.columns], table.metadata)
        expression = self._expression
        with self._opened(piece) as landed:
            for batch in self._read(piece, landed, asked if piece.is_within else asked.union(_TIMES)):
                rows = pa.Table.from_batches([batch if piece.is_within else self._in_time(batch)])
                rows = project(rows.select([name for name in rows.column_names if name in asked]), read)
                if expression is not None:
                    rows = rows.filter(expression)
                for found in rows.select(self.columns).cast(wanted).combine_chunks().to_batches():
                    if found.num_rows:
                        yield found

    def _read(self, piece: Piece, landed: LandedRows, needed: Set[str]) -> Iterator[pa.RecordBatch]:
        names = [name for name in landed.schema.names if name in needed]
        if piece.format != "parquet":
            return landed.batches(names)
        groups = piece.row_groups
        if groups is None:
            groups = tuple(landed.row_groups(self._bounds(piece, landed.schema)))
        return landed.batches_of(groups, names, BATCH_ROWS)

    @property
    def _expression(self) -> pc.Expression | None:
        return pq.filters_to_expression([list(one) for one in self.where]) if self.where else None

    def _opened(self, piece: Piece) -> LandedRows:
        return LandedRows(open_live(self.root, self.topic, piece.name), piece.format, piece.name)

    def _in_time(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        times = event_times_of(batch)
        kept = times == times
        if self.since_ms is not None:
            kept &= times >= self.since_ms
        if self.until_ms is not None:
            kept &= times < self.until_ms
        return batch if kept.all() else batch.filter(pa.array(kept))

    def _bounds(self, piece: Piece, schema: pa.Schema) -> pc.Expression | None:
        """What the statistics of a row group are asked: all that holds of wanted rows, by columns that are as in the table."""
        table = decode_schema(self.schema)
        alike = {field.name for field in schema if field.name in table.names and field.type == table.field(field.name).type}
        found = [] if piece.is_within else self._time_bounds(schema)
        if self.where and all(column in alike for conditions in self.where for column, _, _ in conditions):
            found.append(self._expression)
        return None if not found else found[0] if len(found) == 1 else found[0] & found[1]

    def _time_bounds(self, schema: pa.Schema) -> list[pc.Expression]:
        """A row's time is its `event_time`; where that is null or of no calendar, it is another."""
        kind = schema.field("event_time").type if "event_time" in schema.names else None
        if kind not in (pa.timestamp("us", "UTC"), pa.timestamp("ms", "UTC")):
            return []
        column = pc.field("event_time")
        first, end = _at(FIRST_HOUR * HOUR_MS, kind), _at((LAST_HOUR + 1) * HOUR_MS, kind)
        elsewhere = column.is_null() | (column < first) | (column >= end)
        inside = pc.scalar(True)
        if self.since_ms is not None:
            inside = inside & (column >= _at(self.since_ms, kind))
        if self.until_ms is not None:
            inside = inside & (column < _at(self.until_ms, kind))
        return [elsewhere | inside]


def _at(ms: int, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(ms * 1000 if kind.unit == "us" else ms, pa.int64()).cast(kind)


def path_keys(path: str) -> dict[str, str]:
    """What the directories of a file are called, `dt=2026-11-22/…`, by key."""
    return dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)


def _like(text: str, value: Any) -> Any:
    """A path's text as a number where it is compared with one."""
    sample = next(iter(value), None) if isinstance(value, list | tuple | set | frozenset) else value
    return int(text) if isinstance(sample, int) and text.isdigit() else text


def scan_of(
    root: str,
    topic: str,
    schema: pa.Schema,
    files: Sequence[DataFile],
    *,
    columns: Sequence[str] | None,
    times: tuple[int | None, int | None],
    where: Where,
) -> Scan:
    """A scan of a table, checked against its columns and the keys of its paths.

    Raises:
        UsageError: a column is not there, or a condition is none.
    """
    names = schema.names if columns is None else list(columns)
    keys = {key for file in files for key in path_keys(file.path)}.difference(schema.names)
    groups = tuple(tuple(group) for group in ([where] if where and isinstance(where[0][0], str) else where))
    for name in (*names, *(column for group in groups for column, _, _ in group)):
        if name not in schema.names and (name not in keys or name in names):
            close = difflib.get_close_matches(name, schema.names, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"table {topic} has no column {name!r}{meant} (columns: {', '.join(schema.names)})")
    for column, test, _ in (condition for group in groups for condition in group):
        if test not in _TESTS:
            raise UsageError(f"{column} {test}: no such test; write one of {', '.join(_TESTS)}")
    paths = tuple(condition for group in groups for condition in group if condition[0] in keys)
    if paths and len(groups) > 1:
        raise UsageError(f"{paths[0][0]} is a key of paths, and stands in one of several lists; filter by it alone")
    rows = tuple(found for group in groups if (found := tuple(condition for condition in group if condition[0] not in keys)))
    scan = Scan(root, topic, encode_schema(schema), tuple(names), *times, rows, paths)
    try:
        if scan._expression is not None:
            schema.empty_table().filter(scan._expression)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(f"where: {' '.join(str(error).split())}; give values of the columns' types") from error
    return scan
