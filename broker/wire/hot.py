"""The bodies of Produce and Fetch answers, packed by hand: at one message a request, encoding them generally costs the most.

Produce v3-11. v5 adds the log start offset, v8 errors by record and a message, v9 is flexible, v10 allows tagged fields that
only NOT_LEADER_OR_FOLLOWER uses (KIP-951).
Fetch v4-16. v5 adds the log start offset, v7 sessions, v11 the preferred replica, v12 is flexible, v13 has topic ids for names.
Tests compare both with the general encoder.
"""

import struct
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from headrace.broker.wire.encode import write_unsigned_varint

_I16 = struct.Struct(">h")
_I32 = struct.Struct(">i")
_PRODUCED = struct.Struct(">ihqq")
_PRODUCED_V5 = struct.Struct(">ihqqq")
_FETCHED = struct.Struct(">ihqq")
_FETCHED_V5 = struct.Struct(">ihqqq")
_SESSION = struct.Struct(">ihi")
_ABORTED = struct.Struct(">qq")
_NO_REPLICA = _I32.pack(-1)
_PACKED_AT_A_TIME = 100


class Produced(NamedTuple):
    """The outcome for one partition; `base_offset` and `log_start_offset` are -1 on an error."""

    partition: int
    error: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    message: str | None = None


class Fetched(NamedTuple):
    """What is read of one partition; `records` has a length in bytes and is sent as it is."""

    partition: int
    error: int
    high_watermark: int
    log_start_offset: int
    records: Any = b""
    aborted: Sequence[tuple[int, int]] = ()  # producer id, first offset


def produce_body(version: int, topics: Sequence[tuple[str, Sequence[Produced]]]) -> bytes:
    """The body of a Produce answer."""
    flexible = version >= 9
    out = bytearray()
    _write_count(out, len(topics), flexible)
    for name, partitions in topics:
        _write_name(out, name, flexible)
        _write_count(out, len(partitions), flexible)
        for done in partitions:
            _write_produced(out, done, version)
        if flexible:
            out.append(0)
    out += b"\0\0\0\0"  # throttle time
    if flexible:
        out.append(0)
    return bytes(out)


def throttle_time_position(version: int) -> int:
    """Where the throttle time of a Produce answer stands, from its end."""
    return -5 if version >= 9 else -4


def _write_produced(out: bytearray, done: Produced, version: int) -> None:
    if version >= 5:
        out += _PRODUCED_V5.pack(done.partition, done.error, done.base_offset, done.log_append_time_ms, done.log_start_offset)
    else:
        out += _PRODUCED.pack(done.partition, done.error, done.base_offset, done.log_append_time_ms)
    if version < 8:
        return
    flexible = version >= 9
    _write_count(out, 0, flexible)  # errors by record: the log names the first fault in its message
    if done.message is None:
        out += b"\0" if flexible else b"\xff\xff"
    else:
        _write_name(out, done.message, flexible)
    if flexible:
        out.append(0)


def fetch_parts(
    version: int,
    topics: Sequence[tuple[str, UUID, Sequence[Fetched]]],
    *,
    read_committed: bool,
    error: int = 0,
    throttle_ms: int = 0,
) -> Generator[None, None, list[Any]]:
    """The body of a Fetch answer in parts: bytes of ours, and each partition's records as they are.

    In steps: others may have a turn after every hundred partitions.
    """
    flexible = version >= 12
    out = bytearray(_SESSION.pack(throttle_ms, error, 0) if version >= 7 else _I32.pack(throttle_ms))
    parts: list[Any] = []
    _write_count(out, len(topics), flexible)
    for at, (name, topic_id, partitions) in enumerate(topics, 1):
        if at % _PACKED_AT_A_TIME == 0:
            yield
        if version >= 13:
            out += topic_id.bytes
        else:
            _write_name(out, name, flexible)
        _write_count(out, len(partitions), flexible)
        for count, fetched in enumerate(partitions, 1):
            if count % _PACKED_AT_A_TIME == 0:
                yield
            _write_fetched(out, fetched, version, read_committed)
            if len(fetched.records):
                parts += (bytes(out), fetched.records)
                out = bytearray()
            if flexible:
                out.append(0)
        if flexible:
            out.append(0)
    if flexible:
        out.append(0)
    parts.append(bytes(out))
    return parts


def _write_fetched(out: bytearray, fetched: Fetched, version: int, read_committed: bool) -> None:
    """Everything before the records' bytes. The last stable offset is the high watermark: no transaction is open."""
    error, high_watermark = fetched.error, fetched.high_watermark
    if version >= 5:
        out += _FETCHED_V5.pack(fetched.partition, error, high_watermark, high_watermark, fetched.log_start_offset)
    else:
        out += _FETCHED.pack(fetched.partition, error, high_watermark, high_watermark)
    flexible = version >= 12
    _write_count(out, len(fetched.aborted) if read_committed else -1, flexible)
    for producer_id, first_offset in fetched.aborted:
        out += _ABORTED.pack(producer_id, first_offset)
        if flexible:
            out.append(0)
    if version >= 11:
        out += _NO_REPLICA
    if flexible:
        write_unsigned_varint(out, len(fetched.records) + 1)
    else:
        out += _I32.pack(len(fetched.records))


def _write_count(out: bytearray, count: int, flexible: bool) -> None:
    if flexible:
        write_unsigned_varint(out, count + 1)
    else:
        out += _I32.pack(count)


def _write_name(out: bytearray, name: str, flexible: bool) -> None:
    data = name.encode()
    if flexible:
        write_unsigned_varint(out, len(data) + 1)
    else:
        out += _I16.pack(len(data))
    out += data
