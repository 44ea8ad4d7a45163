"""Avro payloads to Arrow tables, in bulk, exactly as fastavro reads them (research/sinks.md §5, design D5).

Two decoders. The bulk one (pyruhvro) is six times as fast, but panics on some types, accepts trailing bytes and invalid UTF-8,
and lets an overlong int wrap. So it is used only
- where every type of the schema is known to be safe with it (`Node.bulk`, decided from the schema, never by trying);
- under the schema's `plain` form: no logical types, int read as long and narrowed with a check;
- followed by a proof that it read every payload to its end. Each value is decoded from its own payload, so it read at most
  the payload's length; and no encoding of a value is shorter than the canonical one (one block an array, minimal varints).
  So if the canonical sizes of all decoded values, which are computed by column (encoded_sizes.py), add up to the payloads'
  sizes, no payload has a byte left;
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
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from headrace.schemas.columns import Node, UnsupportedSchemaError, compile_schema
from headrace.schemas.encoded_sizes import record_sizes
from headrace.schemas.null_records import with_values_below
from headrace.schemas.rows import DECODE_ERRORS, Bad, check_times, to_batch

# Arrow's string offsets are 32 bits wide; a batch stays far below.
_MAX_BATCH_BYTES: Final = 256 * 1024 * 1024
_FEW: Final = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled schema."""

    root: Node
    schema: pa.Schema
    plain_json: str
    framed_json: str
    """With fields for the framing before its own."""
    careful: Any


@lru_cache(maxsize=1000)
def plan_of(schema_json: str, references: tuple[tuple[str, str], ...]) -> Plan:
    root = compile_schema(schema_json, references)
    longest = max((len(name) for name, _ in root.children), default=0)
    before = [{"name": "_" * (longest + more), "type": kind} for more, kind in enumerate(("boolean", "float"), 1)]
    framed = {**root.plain, "fields": before + root.plain["fields"]}
    careful = fastavro.parse_schema(root.plain)
    return Plan(root, pa.schema(list(root.type)), json.dumps(root.plain), json.dumps(framed), careful)


def arrow_schema(schema_json: str) -> pa.Schema:
    """The schema of the table that `decode` makes, by the mapping in columns.py.

    Raises:
        UnsupportedSchemaError: no payload of this schema can land; the message is the reason.
    """
    return plan_of(schema_json, ()).schema


def decode(schema_json: str, payloads: Sequence[bytes], references: tuple[tuple[str, str], ...] = ()) -> tuple[pa.Table, Bad]:
    """Decode payloads (without their framing) that were written with one schema, which may refer to others.

    Returns:
        A table of those that can be decoded, in order, under `arrow_schema` (one without columns where that raises);
        and (index, reason) of every other, ascending. Never raises because of a payload or a schema.
    """
    try:
        plan = plan_of(schema_json, references)
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
        plan = plan_of(schema_json, references)
    except UnsupportedSchemaError:
        return None
    size_bytes = sum(map(len, values))
    if not plan.root.bulk or size_bytes > _MAX_BATCH_BYTES:
        return None
    batch = _decode_bulk(plan, values if isinstance(values, list) else list(values), size_bytes, header)
    return None if batch is None else pa.Table.from_batches([batch])


def _decode_span(plan: Plan, payloads: list[bytes], base: int, batches: list[pa.RecordBatch], bad: Bad) -> None:
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


def _decode_bulk(plan: Plan, payloads: list[bytes], size_bytes: int, header: bytes = b"") -> pa.RecordBatch | None:
    """All payloads, after the `header` of each, proved right; None where any of them may be wrong."""
    raw = bulk_decoded(payloads, plan.framed_json if header else plan.plain_json)
    if raw is None:
        return None
    try:
        columns = raw.columns
        if header:
            check_framing(columns[0], columns[1], header)
            columns = columns[2:]
        batch = adopted(columns, plan)
    except DECODE_ERRORS:
        return None
    sizes = record_sizes(columns, plan.root)
    return batch if int(np.broadcast_to(sizes, len(payloads)).sum()) + len(header) * len(payloads) == size_bytes else None


def bulk_decoded(payloads: list[bytes], schema_json: str) -> pa.RecordBatch | None:
    """What the bulk decoder makes of payloads, unproved; None where it gives up."""
    try:
        return pyruhvro.deserialize_array(payloads, schema_json)
    except DECODE_ERRORS:
        return None
    except BaseException as error:  # a Rust panic is none of Exception
        if type(error).__name__ != "PanicException":
            raise
        return None


def adopted(columns: Sequence[pa.Array], plan: Plan) -> pa.RecordBatch:
    """The bulk decoder's columns as those that the schema lands as; raises one of DECODE_ERRORS where a value is no such."""
    pa.RecordBatch.from_arrays(columns, [name for name, _ in plan.root.children]).validate(full=True)
    own = [
        _adopt(column, child) for column, (_, child) in zip(columns, plan.root.children, strict=True) if child.kind != "null"
    ]
    batch = pa.RecordBatch.from_arrays(own, schema=plan.schema)
    batch.validate(full=_may_be_out_of_range(plan.root))
    check_times(batch)
    return batch


def check_framing(magic: pa.Array, schema_id: pa.Array, header: bytes) -> None:
    """See that all values begin with `header`, read as a boolean and a float; raises ValueError where one does not."""
    expected = int.from_bytes(header[1:], "little", signed=True)
    if (
        header[0]
        or pc.any(magic).as_py()
        or pc.min_max(schema_id.view(pa.int32())).as_py() != {"min": expected, "max": expected}
    ):
        raise ValueError("a value is of another schema")


def _may_be_out_of_range(node: Node) -> bool:
    return pa.types.is_time(node.type) or any(_may_be_out_of_range(child) for _, child in node.children)


def _adopt(array: pa.Array, node: Node) -> pa.Array:
    """The bulk decoder's array as the type that the node lands as; raises where a value does not fit."""
    if node.kind == "record":
        fields = [(array.field(index), child) for index, (_, child) in enumerate(node.children) if child.kind != "null"]
        children = [_adopt(field, child) for field, child in fields]
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
    return (array if node.sent is None else array.cast(node.sent)).cast(node.type)


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _decode_carefully(plan: Plan, payloads: list[bytes], base: int, bad: Bad) -> pa.RecordBatch:
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
