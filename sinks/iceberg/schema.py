"""How the columns of landed files appear in Iceberg, format version 2.

Every column is optional, at every level: a later file may lack it, and Iceberg can make a column optional but not give old
files a value. What Iceberg has no type for is left out, wherever it stands, and so is a list or map of it, or a struct of
nothing else: times in nanoseconds (Spark reads them as microseconds, tens of thousands of years off), unsigned integers that
need more bits than a signed one has; and what only older files have: null alone, time of day in milliseconds, decimals of more
than 38 digits.
Names that Iceberg keeps for its own columns are shown as others: Spark refuses a table that has one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table.name_mapping import MappedField, NameMapping, create_mapping_from_schema
from pyiceberg.types import DecimalType, StringType

RENAMED: Final[Mapping[str, str]] = {
    "_partition": "_kafka_partition",
    "_file": "_file_",
    "_pos": "_pos_",
    "_deleted": "_deleted_",
    "_spec_id": "_spec_id_",
    "_row_id": "_row_id_",
    "_last_updated_sequence_number": "_last_updated_sequence_number_",
}
"""Name in our files → name in Iceberg (its spec, Reserved Field IDs)."""
_SAME: Final[tuple[Callable[[pa.DataType], bool], ...]] = (
    pa.types.is_boolean,
    pa.types.is_signed_integer,
    pa.types.is_uint8,
    pa.types.is_uint16,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_date32,
    pa.types.is_decimal128,
)
_LEFT_OUT: Final = 2_000_000_000
Path = tuple[str, ...]
"""The names of a column of a file and of what is in it, outermost first."""


def shown_schema(schema: pa.Schema) -> pa.Schema:
    """The columns that Iceberg shows of a file, with the types that it shows them as."""
    shown = [(field.name, _shown(field.type)) for field in schema]
    return pa.schema([pa.field(RENAMED.get(name, name), type_, nullable=True) for name, type_ in shown if type_ is not None])


def left_out(schema: pa.Schema) -> frozenset[Path]:
    """What Iceberg cannot show, and all that is in it."""
    return frozenset(path for field in schema for path in _left_out((field.name,), field.type))


def _left_out(path: Path, type_: pa.DataType) -> Iterator[Path]:
    if _shown(type_) is None:
        yield from _paths(path, type_)
    else:
        for name, inner in _inside(type_).items():
            yield from _left_out((*path, name), inner)


def unlike(columns: pa.Schema, schema: Schema) -> tuple[str, ...]:
    """Columns that pyiceberg takes for the table's though readers would see other values: it lets any two scales of a decimal
    pass for one, and text for bytes."""
    found, known = [], {field.name: field.field_type for field in schema.fields}
    for column in columns:
        if column.name not in known:
            continue
        type_ = known[column.name]
        is_same = (
            column.type.scale == type_.scale
            if isinstance(type_, DecimalType)
            else pa.types.is_string(column.type) == isinstance(type_, StringType)
        )
        if not is_same:
            found.append(f"{column.name} ({column.type}, so far {type_})")
    return tuple(found)


def name_mapping(schema: Schema, hidden: Iterable[Path]) -> str:
    """The property that says which column of a file, which has no field ids, is which of the table's.

    What is left out has ids that no column of the table will get: pyiceberg refuses a file that has a name without one. What
    was left out of older files and is shown by now (a null that has got a type) has the table's id.
    """
    in_files = {shown: name for name, shown in RENAMED.items()}
    shown = [
        field.model_copy(update={"names": [in_files.get(name, name) for name in field.names]})
        for field in create_mapping_from_schema(schema)
    ]
    ids = {path: _LEFT_OUT + n for n, path in enumerate(sorted(hidden))}
    return NameMapping(_with_hidden(shown, ids, ())).model_dump_json()


def hidden_columns(mapping: NameMapping | None) -> frozenset[Path]:
    """What a table's mapping says is left out."""
    return frozenset(_hidden(mapping.root if mapping else (), ()))


def _hidden(fields: Iterable[MappedField], inside: Path) -> Iterator[Path]:
    for field in fields:
        path = (*inside, field.names[0])
        if field.field_id is not None and field.field_id >= _LEFT_OUT:
            yield path
        yield from _hidden(field.fields, path)


def _with_hidden(fields: Iterable[MappedField], ids: Mapping[Path, int], inside: Path) -> list[MappedField]:
    found = {field.names[0]: field for field in fields}
    for path, field_id in ids.items():
        if path[:-1] == inside and path[-1] not in found:
            found[path[-1]] = MappedField.model_validate({"field-id": field_id, "names": [path[-1]]})
    return [
        field.model_copy(update={"fields": _with_hidden(field.fields, ids, (*inside, name))}) for name, field in found.items()
    ]


def paths_in_files(paths: Mapping[str, int]) -> dict[str, int]:
    """Field ids by the paths of columns in our files, from those by their paths in Iceberg."""
    in_files = {shown: name for name, shown in RENAMED.items()}
    split = {path: path.partition(".") for path in paths}
    return {in_files.get(first, first) + dot + rest: paths[path] for path, (first, dot, rest) in split.items()}


def _paths(path: Path, type_: pa.DataType) -> Iterator[Path]:
    yield path
    for name, inner in _inside(type_).items():
        yield from _paths((*path, name), inner)


def _inside(type_: pa.DataType) -> dict[str, pa.DataType]:
    """What a type is made of, by the names that Iceberg's mappings have."""
    types = pa.types
    if types.is_struct(type_):
        return {field.name: field.type for field in type_}
    if types.is_map(type_):
        return {"key": type_.key_type, "value": type_.item_type}
    return {"element": type_.value_type} if types.is_list(type_) or types.is_large_list(type_) else {}


def _shown(type_: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_struct(type_):
        fields = [(field.name, inner) for field in type_ if (inner := _shown(field.type)) is not None]
        return pa.struct([pa.field(name, inner, nullable=True) for name, inner in fields]) if fields else None
    if types.is_map(type_):
        key, item = _shown(type_.key_type), _shown(type_.item_type)
        return None if key is None or item is None else pa.map_(key, pa.field("value", item, nullable=True))
    if types.is_list(type_) or types.is_large_list(type_):
        inner = _shown(type_.value_type)
        return None if inner is None else pa.list_(pa.field("element", inner, nullable=True))
    if types.is_dictionary(type_):
        return _shown(type_.value_type)
    return type_ if _has_counterpart(type_) else None


def _has_counterpart(type_: pa.DataType) -> bool:
    types = pa.types
    if types.is_timestamp(type_):
        return bool(type_.tz in (None, "UTC") and type_.unit != "ns")
    if types.is_fixed_size_binary(type_):
        return bool(type_.byte_width > 0)
    if types.is_time64(type_):
        return bool(type_.unit == "us")
    return any(is_one(type_) for is_one in _SAME)
