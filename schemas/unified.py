"""One set of columns for rows of many schemas: columns are added, widened and made optional, nothing else. Pure.

Widened are int32 to int64, float32 to float64, milliseconds to microseconds, decimals of one scale to the greater precision (up
to 38 digits), and null to anything: what Iceberg allows, so that its projection can follow, and what changes no value, so that
rows of any earlier schema can be projected. All else is incompatible: int64 and double share no type that holds both exactly,
and a text is not the JSON text of a union. A struct's fields, a list's items and a map's values follow the same rules.

No two columns differ in case only: Spark and Hive refuse such a table, and SQL takes them for one. The later is `<name>__2`.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

MAX_COLUMNS: Final = 10_000
"""Of a table, nested ones counted; a schema that would add more is incompatible."""
_TEXT: Final = b"headrace.text"
JSON_TEXT: Final = {_TEXT: b"json"}
"""Metadata of a string field whose values are JSON texts."""
DECIMAL_TEXT: Final = {_TEXT: b"decimal"}
"""Metadata of a string field whose values are decimals of more digits than engines have."""
MISFIT: Final = "does not go with the"
"""In the reason of every record that would land but for its columns."""
_WIDER: Final = (
    (pa.int32(), pa.int64()),
    (pa.float32(), pa.float64()),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")),
    (pa.timestamp("ms"), pa.timestamp("us")),
    (pa.time32("ms"), pa.time64("us")),
)


class IncompatibleError(ValueError):
    """Rows that do not go with the table's columns; the message is the reason that quarantine shows."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How rows go into a table: the table's columns from now on, and which of them each of the rows' own goes to, in order."""

    columns: pa.Schema
    names: tuple[str, ...]


def fit(columns: pa.Schema | None, rows: pa.Schema, *, aside: bool, last: Collection[str] = ()) -> Fit:
    """Unify the schema of rows with a table's columns (None: it has none yet).

    Args:
        aside: where a column is incompatible, give it the name `<name>__2`, `__3` … instead: the first that fits.
        last: names of columns that stay behind all others.
    Raises:
        IncompatibleError: a column is incompatible, or there would be too many.
    """
    if columns is None:
        if are_apart(rows.names):
            return Fit(rows, tuple(rows.names))
        columns = pa.schema([])
    if columns.equals(rows, check_metadata=True):
        return Fit(columns, tuple(rows.names))
    known = {field.name: field for field in columns}
    taken = set(rows.names)
    whose = {name.casefold(): name for name in known}
    target: dict[str, pa.Field] = {}
    names = []
    for new in rows:
        field = _fit_field(known, new, taken, whose, aside=aside)
        target[field.name] = field
        whose[field.name.casefold()] = field.name
        names.append(field.name)
    merged = [target.get(name) or field.with_nullable(True) for name, field in known.items()]
    merged += [
        # Earlier rows have no value for it.
        field.with_nullable(True)
        for name, field in target.items()
        if name not in known
    ]
    unified = pa.schema([f for f in merged if f.name not in last] + [f for f in merged if f.name in last])
    if (count := sum(map(_count, unified))) > MAX_COLUMNS:
        raise IncompatibleError(f"the table would have {count} columns, more than {MAX_COLUMNS}")
    return Fit(columns if columns.equals(unified, check_metadata=True) else unified, tuple(names))


def are_apart(names: Iterable[str]) -> bool:
    """Whether names are told apart by who does not mind their case."""
    folded = [name.casefold() for name in names]
    return len(set(folded)) == len(folded)


def _fit_field(known: dict[str, pa.Field], new: pa.Field, taken: set[str], whose: dict[str, str], *, aside: bool) -> pa.Field:
    for name in _names(new.name, taken):
        if name not in known:
            if whose.get(name.casefold(), name) != name:
                continue
            return new.with_name(name)
        try:
            return _unified(known[name], new.with_name(name), name)
        except IncompatibleError:
            if not aside:
                raise
    raise AssertionError("there is always another name")


def _names(name: str, taken: set[str]) -> Iterator[str]:
    yield name
    number = 2
    while True:
        if (other := f"{name}__{number}") not in taken:
            yield other
        number += 1


def _unified(old: pa.Field, new: pa.Field, where: str) -> pa.Field:
    if old.equals(new, check_metadata=True):
        return old
    if pa.types.is_null(old.type) or pa.types.is_null(new.type):
        return (new if pa.types.is_null(old.type) else old).with_nullable(True)
    if _text_of(old) != _text_of(new):
        raise IncompatibleError(f"column {where}: {_says(new)} {MISFIT} {_says(old)} of the table")
    kind = _unified_type(old, new, where)
    return pa.field(old.name, kind, old.nullable or new.nullable, old.metadata)


def _unified_type(old: pa.Field, new: pa.Field, where: str) -> pa.DataType:
    one, other = old.type, new.type
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return _unified_struct(one, other, where)
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_unified(one.value_field, other.value_field.with_name(one.value_field.name), f"{where}[]"))
    if pa.types.is_map(one) and pa.types.is_map(other) and one.key_type == other.key_type:
        item = _unified(one.item_field, other.item_field.with_name(one.item_field.name), f"{where}{{}}")
        return pa.map_(one.key_field, item)
    if one == other:
        return one
    for narrow, wide in _WIDER:
        if {one, other} == {narrow, wide}:
            return wide
    if pa.types.is_decimal128(one) and pa.types.is_decimal128(other) and one.scale == other.scale:
        return one if one.precision > other.precision else other
    raise IncompatibleError(f"column {where}: {_says(new)} {MISFIT} {_says(old)} of the table")


def _unified_struct(one: pa.DataType, other: pa.DataType, where: str) -> pa.DataType:
    news = {field.name: field for field in other}
    fields = []
    for old in one:
        new = news.pop(old.name, None)
        fields.append(old.with_nullable(True) if new is None else _unified(old, new, f"{where}.{old.name}"))
    found = [*fields, *(new.with_nullable(True) for new in news.values())]
    if news and not are_apart(field.name for field in found):
        raise IncompatibleError(f"column {where}: a field of another case ({', '.join(news)[:100]}) {MISFIT} table's")
    return pa.struct(found)


def _text_of(field: pa.Field) -> bytes | None:
    return field.metadata.get(_TEXT) if field.metadata else None


def _says(field: pa.Field) -> str:
    match _text_of(field):
        case b"json":
            return "JSON text"
        case b"decimal":
            return "decimal as text"
    return str(field.type)[:100]


def _count(field: pa.Field) -> int:
    kind = field.type
    return 1 + sum(_count(kind.field(index)) for index in range(kind.num_fields)) if pa.types.is_nested(kind) else 1


def project(rows: pa.Table, columns: pa.Schema) -> pa.Table:
    """Rows under columns that they were fitted to; what they lack is null."""
    if rows.schema.equals(columns, check_metadata=True):
        return rows
    arrays = [
        _projected_column(rows.column(field.name), field.type)
        if field.name in rows.schema.names
        else _nulls(rows.num_rows, field.type)
        for field in columns
    ]
    return pa.Table.from_arrays(arrays, schema=columns)


def _nulls(count: int, kind: pa.DataType) -> pa.Array:
    """As pa.nulls, but that in a struct what may not be null is not: Parquet's writer refuses it even below a null."""
    if not pa.types.is_nested(kind):
        return pa.nulls(count, kind)
    return pa.array([None], kind).take(pa.array([0] * count, pa.int64()))


def _projected_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    return pa.chunked_array([_projected(chunk, kind) for chunk in column.chunks], kind)


def _projected(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if pa.types.is_null(array.type):
        return _nulls(len(array), kind)
    if not pa.types.is_nested(kind):
        return array.cast(kind)
    if array.offset:  # a slice: its children are not sliced with it
        array = array.take(pa.array(range(len(array)), pa.int64()))
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(kind):
        have = {array.type.field(index).name: array.field(index) for index in range(array.type.num_fields)}
        children = [
            _projected(have[field.name], field.type) if field.name in have else _nulls(len(array), field.type) for field in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=mask)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, _projected(array.values, kind.value_type), type=kind, mask=mask)
    return pa.MapArray.from_arrays(array.offsets, array.keys, _projected(array.items, kind.item_type), type=kind, mask=mask)
