"""What a topic's values are, and records to rows: Avro in Confluent's framing, JSON, or plain bytes (interfaces.md).

Which of the three is decided once per table and then said in its commit records: Avro if the registry has the subject
`<topic>-value`; else JSON if all values of the first batch are JSON objects; else bytes. A table that is not Avro becomes so
when the subject appears. A registry that cannot be asked is no reason to quarantine: PeerError, ask again later.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
import pyarrow as pa

from headrace.audit import AUDIT_TOPIC
from headrace.errors import PeerError, RefusedError
from headrace.schemas import arrow, framing
from headrace.schemas.client import SCHEMA_NOT_FOUND, RegistryClient
from headrace.sinks.event_time import FIRST_HOUR, HOUR_MS, LAST_HOUR, event_times

Input = Literal["avro", "json", "bytes"]
OWN_COLUMNS: Final = ("_incarnation", "_partition", "_offset", "_timestamp")
_MILLIS: Final = pa.timestamp("ms", "UTC")


class Message(Protocol):
    """What we need of a confluent_kafka.Message."""

    def offset(self) -> int: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that cannot be decoded."""

    message: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows of one partition and schema, in offset order; `offsets` and `event_time_ms` are int64 of equal length."""

    rows: pa.Table
    offsets: np.ndarray
    event_time_ms: np.ndarray
    schema_ids: frozenset[int]


class Schemas:
    """Schemas by id, remembered for ever: an id never changes its meaning."""

    def __init__(self, client: RegistryClient | None) -> None:
        self._client = client
        self._by_id: dict[int, str] = {}

    def has_subject(self, topic: str) -> bool:
        """Whether the topic's values are registered; PeerError if nobody can say."""
        return self._client is not None and self._client.latest(f"{topic}-value") is not None

    def by_id(self, schema_id: int) -> str | None:
        """A schema; None if the registry says that there is none.

        Raises:
            PeerError: the registry cannot be asked, or refuses to say.
        """
        if schema_id not in self._by_id:
            if self._client is None:
                raise PeerError("the table holds Avro and no registry is configured; set registry: http://host:port")
            try:
                self._by_id[schema_id] = self._client.schema_by_id(schema_id)
            except RefusedError as error:
                if error.code == SCHEMA_NOT_FOUND:
                    return None
                raise  # not allowed, or not this registry: says nothing about the record
        return self._by_id[schema_id]


def decide_input(topic: str, known: str | None, messages: Sequence[Message], schemas: Schemas) -> Input:
    """How to read the values of a topic whose table says `known` (None: it has none yet).

    Raises:
        PeerError: undecided, and the registry cannot be asked.
    """
    if topic == AUDIT_TOPIC:
        return "json"
    if known == "avro":
        return "avro"
    try:
        if schemas.has_subject(topic):
            return "avro"
    except PeerError:
        if known is None:
            raise
    if known in ("json", "bytes"):
        return known  # type: ignore[return-value] # narrowed by the test
    values = [value for message in messages if (value := message.value()) is not None]
    return "json" if values and all(_is_json_object(value) for value in values) else "bytes"


def _is_json_object(value: bytes) -> bool:
    try:
        return isinstance(json.loads(value.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def decode(
    input_: Input, messages: Sequence[Message], schemas: Schemas, incarnation: int, partition: int
) -> tuple[list[Decoded], list[Bad]]:
    """Rows of one partition's records, by schema.

    Raises:
        PeerError: a schema cannot be fetched; nothing is decided about any of the records.
    """
    if input_ == "avro":
        return _decode_avro(messages, schemas, incarnation, partition)
    good, bad = list(messages), []
    if input_ == "json":
        reasons = [_why_not_json(message.value()) for message in messages]
        bad = [Bad(message, reason) for message, reason in zip(messages, reasons, strict=True) if reason]
        good = [message for message, reason in zip(messages, reasons, strict=True) if not reason]
    if not good:
        return [], bad
    values = pa.array([message.value() for message in good], pa.binary())
    table = pa.table(
        {
            "_key": pa.array([message.key() for message in good], pa.binary()),
            "value": values.cast(pa.string()) if input_ == "json" else values,
        }
    )
    return [_with_own_columns(table, good, incarnation, partition, frozenset())], bad


def _why_not_json(value: bytes | None) -> str:
    if value is None:  # a tombstone: a row without value
        return ""
    try:
        json.loads(value.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return ""


def _decode_avro(
    messages: Sequence[Message], schemas: Schemas, incarnation: int, partition: int
) -> tuple[list[Decoded], list[Bad]]:
    by_schema, bad = _by_schema(messages)
    decoded: list[Decoded] = []
    for schema_id, (group_messages, payloads) in by_schema.items():
        schema = schemas.by_id(schema_id)
        if schema is None:
            bad += [Bad(message, f"the registry has no schema {schema_id}") for message in group_messages]
            continue
        table, undecodable = arrow.decode(schema, payloads)
        if undecodable:
            bad += [Bad(group_messages[index], reason) for index, reason in undecodable]
            dropped = {index for index, _ in undecodable}
            group_messages = [message for index, message in enumerate(group_messages) if index not in dropped]
        if group_messages:
            decoded.append(_with_own_columns(table, group_messages, incarnation, partition, frozenset({schema_id})))
    return decoded, bad


def _by_schema(messages: Sequence[Message]) -> tuple[dict[int, tuple[list[Message], list[bytes]]], list[Bad]]:
    """Messages and their payloads by schema id, and those that are not framed."""
    values = [message.value() for message in messages]
    first = framing.parse(values[0]) if values[0] else None
    header = values[0][: framing.HEADER_LENGTH] if values[0] else None
    if first and all(value is not None and value[:5] == header for value in values):  # nearly always: one schema
        return {first[0]: (list(messages), [value[5:] for value in values if value is not None])}, []
    by_schema: dict[int, tuple[list[Message], list[bytes]]] = {}
    bad: list[Bad] = []
    for message, value in zip(messages, values, strict=True):
        framed = framing.parse(value) if value is not None else None
        if framed is None:
            bad.append(Bad(message, "no value (a tombstone)" if value is None else "not in the registry's framing"))
            continue
        group = by_schema.setdefault(framed[0], ([], []))
        group[0].append(message)
        group[1].append(framed[1])
    return by_schema, bad


def _with_own_columns(
    table: pa.Table, messages: Sequence[Message], incarnation: int, partition: int, schema_ids: frozenset[int]
) -> Decoded:
    count = len(messages)
    offsets = np.fromiter((message.offset() for message in messages), np.int64, count)
    times = np.fromiter((message.timestamp()[1] for message in messages), np.int64, count)
    # Kafka takes any int64; what no calendar knows would break every query of the table, and lands at the calendar's end.
    times = np.clip(times, FIRST_HOUR * HOUR_MS, (LAST_HOUR + 1) * HOUR_MS - 1)
    # A user's column of one of our names would be ambiguous in every query: it is landed under a longer name.
    table = table.rename_columns([f"{name}_" if name in OWN_COLUMNS else name for name in table.column_names])
    table = table.append_column(
        pa.field("_incarnation", pa.int32(), nullable=False), pa.array(np.full(count, incarnation, np.int32))
    )
    table = table.append_column(
        pa.field("_partition", pa.int32(), nullable=False), pa.array(np.full(count, partition, np.int32))
    )
    table = table.append_column(pa.field("_offset", pa.int64(), nullable=False), pa.array(offsets))
    table = table.append_column(pa.field("_timestamp", _MILLIS, nullable=False), pa.array(times).cast(_MILLIS))
    return Decoded(table, offsets, event_times(table, times), schema_ids)
