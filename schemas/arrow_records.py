"""Whole record batches of framed Avro values to Arrow, in one call of the bulk decoder.

Kafka's records are written as Avro would write them: zig-zag varints, lengths before bytes. So the records of a batch, between
their count and a zero, are the Avro of an array of records, as long as none has headers (a count of 0, which is a long) and
either all have keys (bytes) or none has (a length of -1, a long as well). In such a record stand the fields of the value.

The proof that nothing was read as what it is not is that of arrow.py, and more: each record and each value is as long as it
says. The decoder reads the first record where it begins, and no value takes fewer bytes than its canonical encoding. If the
canonical sizes add up to the bytes that were given, each value took just these; if each record's size is the length that
it gives itself, the next one began where it should. Source: KIP-98, Kafka's DefaultRecord.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from headrace.schemas.arrow import adopted, bulk_decoded, check_framing, plan_of
from headrace.schemas.columns import UnsupportedSchemaError
from headrace.schemas.encoded_sizes import Sizes, record_sizes, text_sizes, varint_sizes
from headrace.schemas.framing import HEADER_LENGTH
from headrace.schemas.rows import DECODE_ERRORS
from headrace.varints import zigzag

_MAX_BYTES: Final = 1 << 28
"""Arrow's string offsets are 32 bits wide; a batch stays far below."""
_BEFORE: Final = 5
"""Fields of a record before its value, in Kafka's order: length, attributes, two deltas, key."""


class RecordBytes(NamedTuple):
    """The records of one batch, and how many they are."""

    records: int
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Split:
    """Records of several batches, one after another, without what their values are."""

    keys: pa.Array | None
    """binary; None where no record has one."""
    offset_deltas: np.ndarray
    timestamp_deltas: np.ndarray
    sizes: np.ndarray
    """Bytes of each record."""


@dataclass(frozen=True, slots=True)
class SplitValues(Split):
    """And their values as they are, binary."""

    values: pa.Array


@dataclass(frozen=True, slots=True)
class DecodedRecords(Split):
    """And a table of what is in their values."""

    table: pa.Table


@lru_cache(maxsize=1000)
def _framed_json(schema_json: str, references: tuple[tuple[str, str], ...], keyed: bool) -> str:
    plan = plan_of(schema_json, references)
    longest = max((len(name) for name, _ in plan.root.children), default=0)
    return _batch_json(["long", "boolean", "float"], plan.root.plain["fields"], longest, keyed=keyed)


def _batch_json(before: list[str], fields: list[Any], longest: int, *, keyed: bool) -> str:
    """The schema of a batch, in whose records `before` and `fields` stand between the key and the count of headers.

    Args:
        longest: the length of the longest name of a field; those that we add are longer.
    """
    key = "string" if keyed else "long"  # bytes are no type for the bulk decoder; text that is none is not looked at
    names = ("_" * more for more in itertools.count(longest + 1))
    first = [{"name": next(names), "type": kind} for kind in ("long", "boolean", "long", "long", key, *before)]
    record = {"type": "record", "name": "Record", "fields": [*first, *fields, {"name": next(names), "type": "long"}]}
    records = {"name": "records", "type": {"type": "array", "items": record}}
    return json.dumps({"type": "record", "name": "Batch", "fields": [records]})


_RAW_JSON: Final = {keyed: _batch_json(["string"], [], 0, keyed=keyed) for keyed in (False, True)}


def decode_records(
    schema_json: str,
    batches: Sequence[RecordBytes],
    header: bytes,
    references: tuple[tuple[str, str], ...] = (),
    *,
    keyed: bool,
) -> DecodedRecords | None:
    """Decode records whose values all begin with `header`, which is framing.header of some id.

    Args:
        keyed: whether they all have keys; otherwise none has.
    Returns:
        None where a record may be another or wrong, or the schema is not one for the bulk decoder.
    """
    try:
        plan = plan_of(schema_json, references)
    except UnsupportedSchemaError:
        return None
    columns = _columns(batches, _framed_json(schema_json, references, keyed)) if plan.root.bulk else None
    if columns is None:
        return None
    value_lengths, magic, schema_id, *fields = columns[_BEFORE:-1]
    lengths = value_lengths.to_numpy()
    split = _proved(columns, varint_sizes(lengths) + lengths, batches, keyed=keyed)
    if split is None or not np.all(lengths == HEADER_LENGTH + record_sizes(fields, plan.root)):
        return None
    try:
        check_framing(magic, schema_id, header)
        table = pa.Table.from_batches([adopted(fields, plan)])
    except DECODE_ERRORS:
        return None
    return DecodedRecords(split.keys, split.offset_deltas, split.timestamp_deltas, split.sizes, table)


def split_records(batches: Sequence[RecordBytes], *, keyed: bool) -> SplitValues | None:
    """Records whose values are any bytes; None where a record may have headers or no value, or be wrong."""
    columns = _columns(batches, _RAW_JSON[keyed])
    split = None if columns is None else _proved(columns, text_sizes(columns[_BEFORE]), batches, keyed=keyed)
    if columns is None or split is None:
        return None
    return SplitValues(split.keys, split.offset_deltas, split.timestamp_deltas, split.sizes, columns[_BEFORE].view(pa.binary()))


def _columns(batches: Sequence[RecordBytes], schema_json: str) -> list[pa.Array] | None:
    """What the bulk decoder reads in the records, unproved."""
    if sum(len(batch.data) for batch in batches) > _MAX_BYTES:
        return None
    raw = bulk_decoded([b"".join((zigzag(batch.records), batch.data, b"\0")) for batch in batches], schema_json)
    if raw is None or np.diff(raw.column(0).offsets.to_numpy()).tolist() != [batch.records for batch in batches]:
        return None
    records = raw.column(0).values
    return [records.field(index) for index in range(records.type.num_fields)]


def _proved(columns: list[pa.Array], value_sizes: Sizes, batches: Sequence[RecordBytes], *, keyed: bool) -> Split | None:
    """The records, if each is as long as it says; `value_sizes`: of their values, each with its length before it."""
    keys = columns[4]
    length, timestamp, offset, headers = (columns[at].to_numpy() for at in (0, 2, 3, -1))
    key_sizes = text_sizes(keys) if keyed else 1
    sizes = varint_sizes(length) + length
    is_right = (
        bool(np.all(length == 1 + varint_sizes(timestamp) + varint_sizes(offset) + key_sizes + value_sizes + 1))
        and int(sizes.sum()) == sum(len(batch.data) for batch in batches)
        and not headers.any()
        and (keyed or bool(np.all(keys.to_numpy() == -1)))
    )
    return Split(keys.view(pa.binary()) if keyed else None, offset, timestamp, sizes) if is_right else None
