"""Avro payloads to Arrow tables, in bulk, exactly as fastavro reads them (research/sinks.md §5, design D5).

Two decoders. The bulk one (pyruhvro) is six times as fast, but panics on some types, accepts trailing bytes and invalid UTF-8,
and lets an overlong int wrap. So it is used only
- where every type of the schema is known to be safe with it (`Node.bulk`, decided from the schema, never by trying);
- under the schema's `plain` form: no logical types, int read as long and narrowed with a check;
- followed by a proof that it read every payload to its end. Each value is decoded from its own payload, so it read at most
  the payload's length; and no encoding of a value is shorter than the canonical one (one block an array, minimal varints).
  So if the canonical sizes of all decoded values, which Arrow computes by column, add up to the payloads' sizes, no payload
  has a byte left;
- followed by Arrow's full validation, which finds invalid UTF-8.
Whatever fails is halved until few payloads are left, and those are read one by one by the careful decoder (fastavro), which
says what is wrong with each. An encoding that is valid but not canonical takes the same way, and is right, but slow.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from headrace.schemas.columns import Node, UnsupportedSchemaError, compile_schema
from headrace.schemas.null_records import with_values_below
from headrace.schemas.rows import DECODE_ERRORS, Bad, check_times, to_batch

# Arrow's string offsets are 32 bits wide; a batch stays far below.
_MAX_BATCH_BYTES: Final = 256 * 1024 * 1024
_FEW: Final = 32


@dataclass(frozen=True, slots=True)
class _Plan:
    """A compiled schema."""

    root: Node
    schema: pa.Schema
    plain_json: str
    framed_json: str
    """With fields for the framing before its own."""
    careful: Any


@lru_cache(maxsize=1000)
def _plan(schema_json: str, references: tuple[tuple[str, str], ...]) -> _Plan:
    root = compile_schema(schema_json, references)
    longest = max((len(name) for name, _ in root.children), default=0)
    before = [{"name": "_" * (longest + more), "type": kind} for more, kind in enumerate(("boolean", "float"), 1)]
    framed = {**root.plain, "fields": before + root.plain["fields"]}
    careful = fastavro.parse_schema(root.plain)
    return _Plan(root, pa.schema(list(root.type)), json.dumps(root.plain), json.dumps(framed), careful)


def arrow_schema(schema_json: str) -> pa.Schema:
    """The schema of the table that `decode` makes, by the mapping in columns.py.

    Raises:
        UnsupportedSchemaError: no payload of this schema can land; the message is the reason.
    """
    return _plan(schema_json, ()).schema


def decode(schema_json: str, payloads: Sequence[bytes], references: tuple[tuple[str, str], ...] = ()) -> tuple[pa.Table, Bad]:
    """Decode payloads (without their framing) that were written with one schema, which may refer to others.

    Returns:
        A table of those that can be decoded, in order, under `arrow_schema` (one without columns where that raises);
        and (index, reason) of every other, ascending. Never raises because of a payload or a schema.
    """
    try:
        plan = _plan(schema_json, references)
    except UnsupportedSchemaError as error:
        return pa.table({}), [(index, str(error)) for index in range(len(payloads))]
    batches: list[pa.RecordBatch] = []
    bad: Bad = []
    _decode_span(plan, payloads if isinstance(payloads, list) else list(payloads), 0, batches, bad)
    return pa.Table.from_batches(batches, plan.schema), bad


def decode_framed(
    schema_json: str, values: Sequence[bytes], header: bytes, references: tuple[tuple[str, str], ...] = ()
) -> pa.Table | None:
    """Decode values that all begin with `header`, which is framing.header of some id, as `decode` does what follows it.

    The bulk decoder reads the header too, as a boolean and a float: to cut it off would cost as much as all of its work.

    Returns:
        None where one begins otherwise, or may be wrong: then `decode` knows which.
    """
    try:
        plan = _plan(schema_json, references)
    except UnsupportedSchemaError:
        return None
    size_bytes = sum(map(len, values))
    if not plan.root.bulk or size_bytes > _MAX_BATCH_BYTES:
        return None
    batch = _decode_bulk(plan, values if isinstance(values, list) else list(values), size_bytes, header)
    return None if batch is None else pa.Table.from_batches([batch])


def _decode_span(plan: _Plan, payloads: list[bytes], base: int, batches: list[pa.RecordBatch], bad: Bad) -> None:
    size_bytes = sum(map(len, payloads))
    few = len(payloads) <= _FEW
    if size_bytes <= _MAX_BATCH_BYTES or few:
        batch = _decode_bulk(plan, payloads, size_bytes) if plan.root.bulk and not few else None
        if batch is not None or few or not plan.root.bulk:
            batches.append(batch if batch is not None else _decode_carefully(plan, payloads, base, bad))
            return
    middle = len(payloads) // 2
    _decode_span(plan, payloads[:middle], base, batches, bad)
    _decode_span(plan, payloads[middle:], base + middle, batches, bad)


def _decode_bulk(plan: _Plan, payloads: list[bytes], size_bytes: int, header: bytes = b"") -> pa.RecordBatch | None:
    """All payloads, after the `header` of each, proved right; None where any of them may be wrong."""
    try:
        raw = pyruhvro.deserialize_array(payloads, plan.framed_json if header else plan.plain_json)
        if header:
            raw = _without_headers(raw, header)
        raw.validate(full=True)
        columns = [_adopt(raw.column(index), child) for index, (_, child) in enumerate(plan.root.children)]
        batch = pa.RecordBatch.from_arrays(columns, schema=plan.schema)
        batch.validate(full=_may_be_out_of_range(plan.root))
        check_times(batch)
    except DECODE_ERRORS:
        return None
    except BaseException as error:  # a Rust panic is none of Exception
        if type(error).__name__ != "PanicException":
            raise
        return None
    sizes = (_encoded_bytes(raw.column(index), child) for index, (_, child) in enumerate(plan.root.children))
    return batch if sum(sizes) + len(header) * len(payloads) == size_bytes else None


def _without_headers(raw: pa.RecordBatch, header: bytes) -> pa.RecordBatch:
    """What was read after the headers; raises where one is another."""
    magic, schema_id = raw.columns[:2]
    expected = int.from_bytes(header[1:], "little", signed=True)
    if (
        header[0]
        or pc.any(magic).as_py()
        or pc.min_max(schema_id.view(pa.int32())).as_py() != {"min": expected, "max": expected}
    ):
        raise ValueError("a value is of another schema")
    return raw.select(range(2, raw.num_columns))


def _may_be_out_of_range(node: Node) -> bool:
    return pa.types.is_time(node.type) or any(_may_be_out_of_range(child) for _, child in node.children)


def _adopt(array: pa.Array, node: Node) -> pa.Array:
    """The bulk decoder's array as the type that the node lands as; raises where a value does not fit."""
    if node.kind == "record":
        children = [_adopt(array.field(index), child) for index, (_, child) in enumerate(node.children)]
        adopted = pa.StructArray.from_arrays(children, fields=list(node.type), mask=_mask(array))
        return with_values_below(adopted)
    if node.kind == "array":
        items = _adopt(array.values, node.children[0][1])
        return pa.ListArray.from_arrays(array.offsets, items, type=node.type, mask=_mask(array))
    if node.kind == "map":
        items = _adopt(array.items, node.children[0][1])
        return pa.MapArray.from_arrays(array.offsets, array.keys, items, type=node.type, mask=_mask(array))
    if array.type == node.type:
        return array
    if node.kind == "int":
        array = array.cast(pa.int32())
    return array.cast(node.type)


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _encoded_bytes(array: pa.Array, node: Node) -> int:
    """How many bytes the canonical encoding of all values of an array takes, as the bulk decoder made it."""
    if node.kind == "null":
        return 0
    count = len(array)
    union = 0
    if node.nullable:
        union = count  # one byte each says which branch
        if array.null_count:
            array = array.drop_null()
            count = len(array)
    match node.kind:
        case "boolean":
            size = count
        case "float":
            size = 4 * count
        case "double":
            size = 8 * count
        case "int" | "long":
            size = _varint_bytes(array)
        case "string":
            size = _text_bytes(array)
        case "enum":
            size = count if len(node.symbols) <= 64 else _varint_bytes(pc.index_in(array, pa.array(node.symbols)))
        case "record":
            size = sum(_encoded_bytes(array.field(index), child) for index, (_, child) in enumerate(node.children))
        case _:
            size = _blocks_bytes(array, node)
    return union + size


def _blocks_bytes(array: pa.Array, node: Node) -> int:
    """An array or map: the count of items and the items where there are any, then a zero."""
    is_map = node.kind == "map"
    entries = array.cast(pa.list_(pa.struct([("key", pa.string()), ("value", array.type.item_type)]))) if is_map else array
    counts = pc.list_value_length(entries)
    nonempty = counts.filter(pc.greater(counts, 0))
    items = entries.flatten()
    head = len(array) + _varint_bytes(nonempty)
    child = node.children[0][1]
    if is_map:
        return head + _text_bytes(items.field(0)) + _encoded_bytes(items.field(1), child)
    return head + _encoded_bytes(items, child)


def _text_bytes(array: pa.Array) -> int:
    lengths = pc.binary_length(array)
    return _varint_bytes(lengths) + (pc.sum(lengths).as_py() or 0)


def _varint_bytes(array: pa.Array) -> int:
    """Total size of integers as zig-zag varints: one byte, and one more for each k with x ≥ 2^(7k-1) or x < -2^(7k-1)."""
    size = len(array)
    bounds = pc.min_max(array).as_py()
    low, high = bounds["min"], bounds["max"]
    if low is None:
        return size
    for k in range(1, 10):
        limit = 1 << (7 * k - 1)
        if -limit <= low and high < limit:
            break
        if low >= limit or high < -limit:
            size += len(array)
            continue
        longer = 0
        if high >= limit:
            longer += pc.sum(pc.greater_equal(array, limit)).as_py()
        if low < -limit:
            longer += pc.sum(pc.less(array, -limit)).as_py()
        size += longer
    return size


def _decode_carefully(plan: _Plan, payloads: list[bytes], base: int, bad: Bad) -> pa.RecordBatch:
    """One by one; what is wrong with a payload goes to `bad`."""
    rows: list[Any] = []
    where: list[int] = []
    for index, payload in enumerate(payloads, base):
        stream = io.BytesIO(payload)
        try:
            row = fastavro.schemaless_reader(stream, plan.careful, None)
            if plan.root.convert is not None:
                row = plan.root.convert(row)
        except DECODE_ERRORS as error:
            bad.append((index, f"not of its schema: {type(error).__name__}: {error}"))
            continue
        if left := len(payload) - stream.tell():
            bad.append((index, f"{left} bytes are left after the value"))
            continue
        rows.append(row)
        where.append(index)
    return to_batch(plan.root.type, rows, where, bad)[0]
