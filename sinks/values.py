"""Records to rows: by the registry's schemas, JSON, or plain bytes (interfaces.md); inputs.py decides which.

A registry that cannot be asked is no reason to quarantine: PeerError, ask again later.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from headrace.clock import MonotonicMs
from headrace.schemas.arrow_records import split_records
from headrace.schemas.framing import HEADER_LENGTH
from headrace.sinks.event_time import FIRST_HOUR, HOUR_MS, LAST_HOUR, event_times
from headrace.sinks.fetching.records import Records
from headrace.sinks.keys import Keyed, by_key
from headrace.sinks.messages import Headers, Message, headers_of, headers_of_all, offsets_of, timestamps_of, values_of
from headrace.sinks.registered import Input, SchemaName, Schemas, name_of
from headrace.sinks.shape import Shape

KEY, KEY_FIELDS, HEADERS, TOMBSTONE = "_key", "_key_fields", "_headers", "_tombstone"
OWN_COLUMNS: Final = (KEY, KEY_FIELDS, HEADERS, TOMBSTONE, "_incarnation", "_partition", "_offset", "_timestamp")
_OURS: Final = frozenset(name.casefold() for name in OWN_COLUMNS)
_KEY_FIELD: Final = pa.field(KEY, pa.binary())
WITH_SCHEMAS: Final = ("avro", "json_schema", "protobuf")
_MILLIS: Final = pa.timestamp("ms", "UTC")
_HEADERS: Final = pa.list_(pa.struct([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.binary())]))


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be decoded."""

    message: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of one partition and schema, in offset order; the other columns are as long, offsets and times int64."""

    rows: pa.Table
    offsets: np.ndarray
    event_time_ms: np.ndarray
    schema_ids: frozenset[int]
    messages: Sequence[Message]


def decode(
    topic: str,
    input_: Input,
    messages: Sequence[Message],
    schemas: Schemas,
    incarnation: int,
    partition: int,
    *,
    shape: Shape,
    now_ms: MonotonicMs,
) -> tuple[list[Decoded], list[Bad]]:
    """Rows of one partition's records, by schema.

    Raises:
        PeerError: a schema cannot be fetched; nothing is decided about any of the records.
    """
    own = _OwnColumns(incarnation, partition, shape)
    if isinstance(messages, Records):
        is_plain = input_ == "bytes" and not (shape.headers or shape.tombstones or shape.key_fields)
        as_one = _plain_records(messages, own) if is_plain else None
        if input_ in WITH_SCHEMAS:
            as_one = _decode_records(messages, schemas, own, now_ms)
        if as_one is not None:
            return [as_one], []
        messages = messages.listed()
    bad: list[Bad] = []
    if shape.headers:
        bad = [Bad(message, "a header's name is not UTF-8") for message in messages if headers_of(message) is None]
        if bad:
            messages = [message for message in messages if headers_of(message) is not None]
    parts = by_key(topic, messages, schemas, now_ms) if shape.key_fields else [Keyed(messages)]
    decoded: list[Decoded] = []
    for part in parts:
        if input_ in WITH_SCHEMAS:
            found, undecodable = _decode_registered(part.messages, schemas, own, now_ms)
        else:
            found, undecodable = _decode_plain(input_, part.messages, own)
        decoded += found if part.fields is None else [_with_key_fields(one, part) for one in found]
        bad += undecodable
    return decoded, bad


def _with_key_fields(decoded: Decoded, keyed: Keyed) -> Decoded:
    fields = keyed.of(decoded.offsets)
    at = decoded.rows.schema.get_field_index(KEY) + 1
    return replace(decoded, rows=decoded.rows.add_column(at, pa.field(KEY_FIELDS, fields.type), fields))


def _decode_plain(input_: Input, messages: Sequence[Message], own: "_OwnColumns") -> tuple[list[Decoded], list[Bad]]:
    good, bad = messages, []
    if input_ == "json":
        reasons = [_why_not_json(message.value()) for message in messages]
        bad = [Bad(message, reason) for message, reason in zip(messages, reasons, strict=True) if reason]
        good = [message for message, reason in zip(messages, reasons, strict=True) if not reason]
    if not good:
        return [], bad
    values = pa.array([message.value() for message in good], pa.binary())
    keys = pa.array([message.key() for message in good], pa.binary())
    table = pa.table({KEY: keys, "value": values.cast(pa.string()) if input_ == "json" else values})
    return [own.beside(table, good, frozenset())], bad


def _plain_records(records: Records, own: "_OwnColumns") -> Decoded | None:
    """All records with their values as they are, where none has headers or a null value, and all have keys or none."""
    split = split_records(records.as_bytes(), keyed=records[0].key() is not None)
    places = None if split is None else records.places(split)
    if split is None or places is None:
        return None
    keys = pa.nulls(len(records), pa.binary()) if split.keys is None else split.keys
    return own.placed([(_KEY_FIELD, keys), (pa.field("value", pa.binary()), split.values)], *places, records, frozenset())


def _why_not_json(value: bytes | None) -> str:
    if value is None:  # a tombstone: a row without value
        return ""
    try:
        parsed = parsed_json(value)
        if b"\\ud" in value.lower():  # half of a surrogate pair is no text: one makes DuckDB refuse every row of a query
            json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return ""


def parsed_json(value: bytes) -> Any:
    """A value that is JSON; ValueError or RecursionError where it is none."""
    return json.loads(value.decode("utf-8"), parse_int=float)  # int() refuses more than 4300 digits


def _decode_registered(
    messages: Sequence[Message], schemas: Schemas, own: "_OwnColumns", now_ms: MonotonicMs
) -> tuple[list[Decoded], list[Bad]]:
    decoded: list[Decoded] = []
    if own.shape.tombstones and (tombstones := [message for message in messages if message.value() is None]):
        decoded.append(own.beside(None, tombstones, frozenset()))
        messages = [message for message in messages if message.value() is not None]
    values, headers = values_of(messages), headers_of_all(messages)
    if (alike := _decode_alike(values, headers, schemas, now_ms)) is not None:
        table, schema_id = alike
        return [*decoded, own.beside(_renamed(table, own.shape), messages, frozenset({schema_id}))], []
    by_schema, bad = _by_schema(messages, values, headers)
    for name, (named_messages, payloads) in by_schema.items():
        schema = schemas.find(name, now_ms)
        if schema is None:
            bad += [Bad(message, f"the registry has no schema {name}") for message in named_messages]
            continue
        parts, undecodable = schema.decode(payloads)
        bad += [Bad(named_messages[index], reason) for index, reason in undecodable]
        for table, where in parts:
            of_part = named_messages if where is None else [named_messages[index] for index in where]
            if not of_part:
                continue
            decoded.append(own.beside(_renamed(table, own.shape), of_part, frozenset({schema.id} if schema.id else ())))
    return decoded, bad


def _renamed(table: pa.Table, shape: Shape) -> pa.Table:
    """A user's column of one of our names, or of a key of the path, would be ambiguous in every query, or hidden from it: it is
    landed under a longer name. SQL does not tell `_Offset` from `_offset`."""
    reserved = _OURS.union(key.casefold() for key in shape.path_keys)
    taken = reserved.union(name.casefold() for name in table.column_names)
    names = []
    for name in table.column_names:
        if name.casefold() in reserved:
            while name.casefold() in taken:
                name += "_"
            taken |= {name.casefold()}
        names.append(name)
    return table if names == table.column_names else table.rename_columns(names)


def _decode_records(records: Records, schemas: Schemas, own: "_OwnColumns", now_ms: MonotonicMs) -> Decoded | None:
    """All records, where all values are of one schema and right, as nearly always, and no more of them lands than a key."""
    value, shape = records[0].value(), own.shape
    named = name_of(value, None) if value else None
    if value is None or named is None or not isinstance(named[0], int):
        return None
    schema = schemas.find(named[0], now_ms)
    if schema is None or not schema.id or shape.headers or shape.tombstones or shape.key_fields:
        return None
    found = schema.decode_records(records.as_bytes(), value[:HEADER_LENGTH], keyed=records[0].key() is not None)
    places = None if found is None else records.places(found)
    if found is None or places is None:
        return None
    table = _renamed(found.table, shape)
    columns = list(zip(table.schema, table.columns, strict=True))
    if shape.key:
        columns.append((_KEY_FIELD, pa.nulls(len(records), pa.binary()) if found.keys is None else found.keys))
    return own.placed(columns, *places, records, frozenset({schema.id}))


def _decode_alike(
    values: list[bytes | None], headers: list[Headers | None], schemas: Schemas, now_ms: MonotonicMs
) -> tuple[pa.Table, int] | None:
    """All values, where all are of one schema and right, as nearly always, and its id; else None."""
    first = name_of(values[0], None) if values and values[0] else None
    if first is None or not isinstance(first[0], int) or any(headers) or None in values:
        return None
    schema = schemas.find(first[0], now_ms)
    if schema is None or not schema.id:
        return None
    whole: list[bytes] = values  # type: ignore[assignment] # None is not in them
    table = schema.decode_framed(whole, whole[0][:HEADER_LENGTH])
    return None if table is None else (table, schema.id)


def _by_schema(
    messages: Sequence[Message], values: list[bytes | None], headers: list[Headers | None]
) -> tuple[dict[SchemaName, tuple[list[Message], list[bytes]]], list[Bad]]:
    """Messages and their payloads by schema, and those that name none."""
    first = name_of(values[0], None) if values and values[0] else None
    if first and not any(headers) and isinstance(first[0], int):  # nearly always: one schema, and no headers
        header = values[0][:HEADER_LENGTH] if values[0] else b""
        payloads = [value[HEADER_LENGTH:] for value in values if value is not None and value[:HEADER_LENGTH] == header]
        if len(payloads) == len(values):
            return {first[0]: (list(messages), payloads)}, []
    by_schema: dict[SchemaName, tuple[list[Message], list[bytes]]] = {}
    bad: list[Bad] = []
    for message, value, own_headers in zip(messages, values, headers, strict=True):
        named = name_of(value, own_headers) if value is not None else None
        if named is None:
            bad.append(Bad(message, "no value (a tombstone)" if value is None else "not in the registry's framing"))
            continue
        group = by_schema.setdefault(named[0], ([], []))
        group[0].append(message)
        group[1].append(named[1])
    return by_schema, bad


@dataclass(frozen=True, slots=True)
class _OwnColumns:
    """The columns that every row of one partition has beside its value's."""

    incarnation: int
    partition: int
    shape: Shape

    def beside(self, table: pa.Table | None, messages: Sequence[Message], schema_ids: frozenset[int]) -> Decoded:
        """Rows of records, with the values in `table`; None for tombstones, which have none."""
        columns = [] if table is None else list(zip(table.schema, table.columns, strict=True))
        columns += self._kept(messages, {field.name for field, _ in columns})
        return self.placed(columns, offsets_of(messages), timestamps_of(messages), messages, schema_ids)

    def placed(
        self,
        columns: list[tuple[pa.Field, Any]],
        offsets: np.ndarray,
        timestamps: np.ndarray,
        messages: Sequence[Message],
        schema_ids: frozenset[int],
    ) -> Decoded:
        """Rows of all else that lands of records, and of where and when these stood."""
        count = len(offsets)
        # Kafka takes any int64; what no calendar knows would break every query of the table, and lands at the calendar's end.
        times = np.clip(timestamps, FIRST_HOUR * HOUR_MS, (LAST_HOUR + 1) * HOUR_MS - 1)
        columns = [
            *columns,
            (pa.field("_incarnation", pa.int32(), nullable=False), pa.array(np.full(count, self.incarnation, np.int32))),
            (pa.field("_partition", pa.int32(), nullable=False), pa.array(np.full(count, self.partition, np.int32))),
            (pa.field("_offset", pa.int64(), nullable=False), pa.array(offsets)),
            (pa.field("_timestamp", _MILLIS, nullable=False), pa.array(times).cast(_MILLIS)),
        ]
        schema = pa.schema([field for field, _ in columns])
        rows = pa.Table.from_arrays([values for _, values in columns], schema=schema)
        return Decoded(rows, offsets, event_times(rows, times), schema_ids, messages)

    def _kept(self, messages: Sequence[Message], have: set[str]) -> list[tuple[pa.Field, Any]]:
        kept: list[tuple[pa.Field, Any]] = []
        if (self.shape.key or self.shape.tombstones) and KEY not in have:
            kept.append((_KEY_FIELD, pa.array([message.key() for message in messages], pa.binary())))
        if self.shape.headers:
            lists = [[{"name": n, "value": v} for n, v in headers_of(message) or ()] for message in messages]
            kept.append((pa.field(HEADERS, _HEADERS), pa.array(lists, _HEADERS)))
        if self.shape.tombstones:
            kept.append((pa.field(TOMBSTONE, pa.bool_()), pa.array([message.value() is None for message in messages])))
        return kept
