"""Bulk decoding equals fastavro, value by value, whatever the schema; and nothing of a wrong payload slips through."""

import copy
import io
import json
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.schemas.arrow import arrow_schema, decode, decode_framed
from headrace.schemas.framing import header
from tests.property.schemas.strategies import typed_values

TYPED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def encode(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(_without_logical(schema)), value)
    return out.getvalue()


def _without_logical(schema: Any) -> Any:
    """The same wire format, so that values are written and read as plain numbers and bytes."""
    if isinstance(schema, list):
        return [_without_logical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key != "logicalType"}
    for key in ("type", "items", "values"):
        if key in plain:
            plain[key] = _without_logical(plain[key])
    if "fields" in plain:
        plain["fields"] = [{**field, "type": _without_logical(field["type"])} for field in plain["fields"]]
    return plain


def landed(schema: Any, value: Any) -> Any:
    """What the table must hold for a value, in plain numbers: an oracle that knows the mapping, not how it is made."""
    if isinstance(schema, list):
        if len(schema) == 2 and "null" in schema:
            other = next(branch for branch in schema if branch != "null")
            return None if value is None else landed(other, value)
        return None if value is None else json.dumps(value, ensure_ascii=False)
    if not isinstance(schema, dict):
        return value
    match schema["type"]:
        case "record":
            has_columns = any(field["type"] != "null" for field in schema["fields"])
            return columns(schema, value) if has_columns else json.dumps(value)
        case "map" if schema["values"] == "null":
            return json.dumps(value, ensure_ascii=False)
        case "int" if schema.get("logicalType") == "time-millis":
            return value * 1000
        case "array":
            return [landed(schema["items"], item) for item in value]
        case "map":
            return [(key, landed(schema["values"], item)) for key, item in value.items()]
        case "bytes" if schema.get("logicalType") == "decimal":
            return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-schema["scale"])
    return value


def columns(schema: Any, value: Any) -> dict[str, Any]:
    """Of a record: all but what is always null."""
    return {field["name"]: landed(field["type"], value[field["name"]]) for field in schema["fields"] if field["type"] != "null"}


def numbers(array: pa.Array) -> pa.Array:
    """Times and dates as the plain numbers that they are stored as."""
    kind = array.type
    if pa.types.is_struct(kind):
        fields = [numbers(array.field(index)) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(fields, names=[field.name for field in kind], mask=array.is_null())
    if pa.types.is_map(kind):
        return pa.MapArray.from_arrays(array.offsets, array.keys, numbers(array.items), mask=array.is_null())
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(array.offsets, numbers(array.values), mask=array.is_null())
    if pa.types.is_date32(kind):
        return array.view(pa.int32())
    return array.view(pa.int64()) if pa.types.is_temporal(kind) else array


def rows(table: pa.Table) -> list[dict[str, Any]]:
    table = table.combine_chunks()
    columns = {name: numbers(pa.concat_arrays(table[name].chunks)).to_pylist() for name in table.column_names}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check(schema: Any, values: list[Any]) -> None:
    text = json.dumps(schema)
    payloads = [encode(schema, copy.deepcopy(value)) for value in values]
    table, bad = decode(text, payloads)
    assert bad == []
    assert table.schema == arrow_schema(text)
    table.validate(full=True)
    pq.write_table(table, io.BytesIO())
    assert rows(table) == ([columns(schema, value) for value in values] if table.column_names else [])
    framed = decode_framed(text, [header(77) + payload for payload in payloads], header(77))
    assert framed is None or framed == table


@TYPED
@given(typed_values())
def test_any_schema_lands_as_fastavro_reads_it(drawn: tuple[Any, list[Any]]) -> None:
    check(*drawn)


@TYPED
@given(typed_values(bulk_only=True, rows=200))
def test_schemas_for_the_bulk_decoder_land_as_fastavro_reads_them(drawn: tuple[Any, list[Any]]) -> None:
    check(*drawn)


@TYPED
@given(typed_values(bulk_only=True), st.data())
def test_a_payload_with_bytes_left_over_or_missing_is_named_and_the_others_land(
    drawn: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    schema, values = drawn
    payloads = [encode(schema, value) for value in values] * 40
    where = data.draw(st.integers(0, len(payloads) - 1))
    longer = data.draw(st.booleans()) or not payloads[where]
    payloads[where] = payloads[where] + b"\0" if longer else payloads[where][:-1]
    table, bad = decode(json.dumps(schema), payloads)
    assert [index for index, _ in bad] == [where]
    assert table.num_rows == (len(payloads) - 1 if table.column_names else 0)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=80), typed_values(rows=1))
def test_garbage_is_read_as_fastavro_reads_it_or_named(payloads: list[bytes], drawn: tuple[Any, list[Any]]) -> None:
    schema, _ = drawn
    table, bad = decode(json.dumps(schema), payloads)
    assert table.num_rows + len(bad) == len(payloads) or not table.column_names
    assert [index for index, _ in bad] == sorted({index for index, _ in bad})
    table.validate(full=True)
    parsed = fastavro.parse_schema(_without_logical(schema))
    wrong = {index for index, _ in bad}
    for index, payload in enumerate(payloads):
        stream = io.BytesIO(payload)
        try:
            fastavro.schemaless_reader(stream, parsed, None)
        except (EOFError, IndexError, UnicodeDecodeError, ValueError, OverflowError, MemoryError):
            assert index in wrong
        else:
            assert stream.tell() == len(payload) or index in wrong
