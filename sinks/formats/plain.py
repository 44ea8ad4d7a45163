"""Arrow columns as the few types that Avro's wire format knows, and back, without loss. Pure.

The plain form of an array has only bool, int32, int64, float32, float64, string, list and struct in it (and binary, which may
pass as string, because both are written alike). What a plain array was before is said by its Arrow type, which every file
carries.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.schemas.null_records import with_values_below

PIECE_BYTES: Final = 64 << 20
"""Arrow's string offsets are 32 bits wide: rows are encoded in pieces far below."""
_UNSIGNED_64: Final = pa.decimal128(20, 0)


def in_pieces(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows in batches that can be encoded at once."""
    for batch in rows.to_batches():
        pieces = max(1, -(-batch.nbytes // PIECE_BYTES))
        step = max(1, -(-batch.num_rows // pieces))
        for at in range(0, batch.num_rows, step):
            yield batch.slice(at, step)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The plain type of an Arrow type.

    Raises:
        NotImplementedError: a type that no landed column has.
    """
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain_field(kind.value_field))
    if pa.types.is_map(kind):
        return pa.map_(pa.string(), _plain_field(kind.item_field)) if is_text_map(kind) else pa.list_(_entries(kind))
    if pa.types.is_struct(kind):
        return pa.struct([_plain_field(field) for field in kind])
    return _plain_scalar(kind)


def _plain_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, plain_type(field.type), field.nullable)


def _entries(kind: pa.DataType) -> pa.Field:
    key = pa.field("key", plain_type(kind.key_type), nullable=False)
    value = pa.field("value", plain_type(kind.item_type), kind.item_field.nullable)
    return pa.field("entry", pa.struct([key, value]), nullable=False)


def is_text_map(kind: pa.DataType) -> bool:
    """Whether a map's keys are strings, as those of Avro's and JSON's maps must be; others are lists of entries."""
    return bool(pa.types.is_string(kind.key_type))


def _plain_scalar(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return kind
    if pa.types.is_date32(kind) or pa.types.is_time32(kind) or (pa.types.is_integer(kind) and _is_narrow(kind)):
        return pa.int32()
    if (pa.types.is_integer(kind) and kind != pa.uint64()) or pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return pa.int64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pa.string()
    if kind == pa.uint64() or pa.types.is_decimal(kind) or is_bytes(kind):
        return pa.binary()
    raise NotImplementedError(f"columns of type {kind} cannot be written in this format")


def _is_narrow(kind: pa.DataType) -> bool:
    return bool(kind.bit_width < 32 or kind == pa.int32())


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values are bytes that are no text."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def to_plain(array: pa.Array) -> pa.Array:
    """An array in its plain type; one that is a slice of another is copied."""
    kind = array.type
    if array.offset:
        array = pa.concat_arrays([array, array.slice(0, 0)])
    if pa.types.is_map(kind):
        items = to_plain(array.items)
        target = plain_type(kind)
        if is_text_map(kind):
            return pa.MapArray.from_arrays(array.offsets, array.keys, items, type=target, mask=_mask(array))
        entries = pa.StructArray.from_arrays([to_plain(array.keys), items], fields=list(target.value_type))
        return pa.ListArray.from_arrays(array.offsets, entries, type=target, mask=_mask(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        offsets = array.offsets.cast(pa.int32())
        return pa.ListArray.from_arrays(offsets, to_plain(array.values), type=plain_type(kind), mask=_mask(array))
    if pa.types.is_struct(kind):
        children = [to_plain(array.field(index)) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, fields=list(plain_type(kind)), mask=_mask(array))
    return _scalars_to_plain(array)


def _scalars_to_plain(array: pa.Array) -> pa.Array:
    kind, target = array.type, _plain_scalar(array.type)
    if kind == pa.uint64():
        return _big_endian(array.cast(_UNSIGNED_64))
    if pa.types.is_decimal(kind):
        return _big_endian(array)
    if pa.types.is_temporal(kind):
        return array.view(target)
    return array.cast(target)


def _big_endian(decimals: pa.Array) -> pa.Array:
    """Unscaled decimals as big-endian two's complement of their whole width: Arrow keeps them little-endian."""
    width = decimals.type.byte_width
    raw = np.frombuffer(decimals.buffers()[1], np.uint8).reshape(-1, width)[: len(decimals)]
    data = pa.py_buffer(np.ascontiguousarray(raw[:, ::-1]))
    fixed = pa.Array.from_buffers(pa.binary(width), len(decimals), [decimals.buffers()[0], data])
    return fixed.cast(pa.binary())


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def from_plain(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The inverse of `to_plain`, given the type that the array had."""
    if array.type == kind:
        return array
    if pa.types.is_map(kind):
        keys, items = (array.keys, array.items) if is_text_map(kind) else (array.values.field(0), array.values.field(1))
        parts = (from_plain(keys, kind.key_type), from_plain(items, kind.item_type))
        return pa.MapArray.from_arrays(array.offsets, *parts, type=kind, mask=_mask(array))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
        offsets = array.offsets.cast(pa.int64()) if pa.types.is_large_list(kind) else array.offsets
        return make.from_arrays(offsets, from_plain(array.values, kind.value_type), type=kind, mask=_mask(array))
    if pa.types.is_struct(kind):
        children = [from_plain(child, field.type) for child, field in zip(array.flatten(), kind, strict=True)]
        return with_values_below(pa.StructArray.from_arrays(children, fields=list(kind), mask=_mask(array)))
    if pa.types.is_null(kind):
        return pa.nulls(len(array))
    if kind == pa.uint64():
        return _from_big_endian(array, _UNSIGNED_64).cast(kind)
    if pa.types.is_decimal(kind):
        return _from_big_endian(array, kind)
    return array.view(kind) if pa.types.is_temporal(kind) else array.cast(kind)


def _from_big_endian(array: pa.Array, kind: pa.DataType) -> pa.Array:
    width = kind.byte_width
    whole = pc.fill_null(array, b"\0" * width).cast(pa.binary(width))
    raw = np.frombuffer(whole.buffers()[1], np.uint8).reshape(-1, width)[: len(array)]
    data = pa.py_buffer(np.ascontiguousarray(raw[:, ::-1]))
    valid = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(kind, len(array), [valid, data])
