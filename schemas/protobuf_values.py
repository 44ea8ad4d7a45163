"""Protobuf payloads to Arrow: message indexes, then a message, read by Google's own library (upb), which bounds their depth.

Source: Confluent Schema Registry, wire format: before the message the indexes that lead to its type, a zig-zag varint that
counts them and one for each; a single zero byte means the first type of the file.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from headrace.schemas.columns import UnsupportedSchemaError
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.protobuf_columns import Column, columns_of, record_of
from headrace.schemas.protobuf_compiler import compiled
from headrace.schemas.rows import DECODE_ERRORS, Bad, Part, to_batch

_MAX_INDEXES: Final = 64
_CHUNK_BYTES: Final = 1 << 20
"""Payloads made Python values at once: two bytes of a repeated field may become hundreds there."""


class _Reader:
    """What reads one type of message."""

    def __init__(self, pool: DescriptorPool, full_name: str) -> None:
        descriptor = pool.FindMessageTypeByName(full_name)
        self._class: Any = GetMessageClass(descriptor)
        self._columns: list[Column] = columns_of(descriptor)
        self._record = record_of(self._columns)
        self.type = pa.struct([column.field for column in self._columns])

    def read(self, payloads: Sequence[bytes], where: list[int], bad: Bad) -> Part:
        batches, kept = [], []
        for start, end in _chunks(payloads):
            batch, indexes = self._read_chunk(payloads[start:end], where[start:end], bad)
            batches.append(batch)
            kept += indexes
        return pa.Table.from_batches(batches, pa.schema(list(self.type))), kept

    def _read_chunk(self, payloads: Sequence[bytes], where: list[int], bad: Bad) -> tuple[pa.RecordBatch, list[int]]:
        messages, kept = [], []
        for payload, index in zip(payloads, where, strict=True):
            try:
                messages.append(self._class.FromString(payload))
            except DecodeError as error:
                bad.append((index, f"not of its schema: {error}"))
            else:
                kept.append(index)
        try:
            arrays = [pa.array(list(map(column.value_of, messages)), column.field.type) for column in self._columns]
            return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(list(self.type))), kept
        except DECODE_ERRORS:
            return self._one_by_one(messages, kept, bad)

    def _one_by_one(self, messages: list[Any], where: list[int], bad: Bad) -> tuple[pa.RecordBatch, list[int]]:
        rows, kept = [], []
        for message, index in zip(messages, where, strict=True):
            try:
                rows.append(self._record(message))
            except DECODE_ERRORS as error:
                bad.append((index, f"a value does not fit its type: {error}"))
            else:
                kept.append(index)
        return to_batch(self.type, rows, kept, bad)


def _chunks(payloads: Sequence[bytes]) -> list[tuple[int, int]]:
    chunks, start, size = [], 0, 0
    for index, payload in enumerate(payloads):
        size += len(payload)
        if size > _CHUNK_BYTES:
            chunks.append((start, index + 1))
            start, size = index + 1, 0
    return [*chunks, (start, len(payloads))]


class _Plan:
    """A compiled schema, and the readers of those of its types that have come."""

    def __init__(self, files: Sequence[Any]) -> None:
        self._pool = DescriptorPool()
        for file in files:
            self._pool.Add(file)
        self._main = files[-1]
        self._readers: dict[tuple[int, ...], _Reader | str] = {}

    def reader(self, indexes: tuple[int, ...]) -> _Reader | str:
        """What reads the type that indexes lead to; else why there is none."""
        if indexes not in self._readers:
            try:
                self._readers[indexes] = _Reader(self._pool, self._name(indexes))
            except UnsupportedSchemaError as error:
                self._readers[indexes] = str(error)
            except IndexError:  # not remembered: whoever sends makes them up
                return f"its schema has no message type {list(indexes)}"
        return self._readers[indexes]

    def _name(self, indexes: tuple[int, ...]) -> str:
        names = [self._main.package] if self._main.package else []
        types: Sequence[DescriptorProto] = self._main.message_type
        for index in indexes:
            if not 0 <= index < len(types):
                raise IndexError(index)
            names.append(types[index].name)
            types = types[index].nested_type
        return ".".join(names)


@lru_cache(maxsize=1000)
def _plan(text: str, imports: tuple[tuple[str, str], ...]) -> _Plan | str:
    try:
        return _Plan(compiled(text, imports))
    except (InvalidSchemaError, TypeError, ValueError) as error:  # a pool refuses with TypeError
        return f"not a Protobuf schema: {error}"


def decode(text: str, payloads: Sequence[bytes], imports: tuple[tuple[str, str], ...] = ()) -> tuple[list[Part], Bad]:
    """Decode payloads (message indexes and message) that were written with one schema.

    Returns:
        a part for each message type, and (index, reason) of what cannot be decoded, ascending.
    """
    plan = _plan(text, imports)
    if isinstance(plan, str):
        return [], [(index, plan) for index in range(len(payloads))]
    bad: Bad = []
    by_type: dict[tuple[int, ...], tuple[list[bytes], list[int]]] = {}
    for index, payload in enumerate(payloads):
        if (found := _indexes(payload)) is None:
            bad.append((index, "no message indexes before the message"))
            continue
        group = by_type.setdefault(found[0], ([], []))
        group[0].append(payload[found[1] :])
        group[1].append(index)
    parts = []
    for indexes, (messages, where) in by_type.items():
        reader = plan.reader(indexes)
        if isinstance(reader, str):
            bad += [(index, reader) for index in where]
        else:
            parts.append(reader.read(messages, where, bad))
    return parts, sorted(bad)


def _indexes(payload: bytes) -> tuple[tuple[int, ...], int] | None:
    """The message indexes and where the message starts; None where they are none."""
    if payload[:1] == b"\0":
        return (0,), 1
    numbers: list[int] = []
    at, count = 0, 0
    while len(numbers) <= count:
        number, shift = 0, 0
        while True:
            if at >= len(payload) or shift > 28:
                return None
            byte = payload[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append((number >> 1) ^ -(number & 1))
        count = numbers[0]
        if not 0 < count <= _MAX_INDEXES:
            return None
    return tuple(numbers[1:]), at
