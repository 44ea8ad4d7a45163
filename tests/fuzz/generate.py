"""Requests made from kio's own schemas: any API in any version, with values that mean something here, then damaged.

Everything follows from a `random.Random`, so that a seed, or what Hypothesis shrinks, is a whole conversation.
"""

import dataclasses
import gzip
import struct
import time
import uuid
from functools import cache
from random import Random
from typing import Any

from crc32c import crc32c
from kio.index import load_request_schema

from headrace.broker.handlers.table import APIS
from headrace.broker.log.batch import CRC_START, HEADER, parse_header
from headrace.broker.log.record import Record, build_batch
from headrace.broker.wire.encode import FIXED, entity_writer, inner_type, is_array, is_optional

TOPICS = ("plain", "compacted", "wide")
_NAMES = (
    *TOPICS,
    "__consumer_offsets",
    "new-a",
    "new-b",
    "",
    ".",
    "..",
    "a/b",
    "x" * 249,
    "x" * 250,
    "\u20ac\U0001f980",
    "*",
    "g1",
    "g2",
)
_WORDS = (
    "range", "consumer", "cleanup.policy", "retention.ms", "segment.bytes", "compact", "delete", "-1", "1000", "PLAIN",
    "User:ANONYMOUS", "User:*", "kafka-cluster", "user", "client-id", "producer_byte_rate", "request_percentage", "1",
)  # fmt: skip
_NUMBERS = (0, 1, 2, -1, -2, -3, -4, -5, -6, 7, 100, 1000, 0x7FFF, -0x8000, 0x7FFFFFFF, -0x80000000, (1 << 63) - 1, -(1 << 63))
_MANY = (0, 1, 1, 1, 2, 3, 40)
_NEVER_LONG = {"max_wait", "timeout", "session_timeout", "rebalance_timeout"}  # or a conversation would wait for its own words
_BITS = {"b": 8, "h": 16, "i": 32, "q": 64, "B": 8, "H": 16, "I": 32, "Q": 64}


def conversation(rng: Random) -> list[bytes]:
    """What one connection sends, in pieces: mostly requests, some of them damaged, some bytes that never were one."""
    pieces = []
    for _ in range(rng.choice((1, 1, 2, 5))):
        if rng.random() < 0.05:
            pieces.append(rng.randbytes(rng.choice((1, 3, 4, 9, 100, 5000))))
            continue
        sent = request(rng)
        if rng.random() < 0.5:
            sent = damaged(rng, sent)
        pieces.append(_framed(rng, sent))
    return pieces


def request(rng: Random) -> bytes:
    """A request of an API that is served, without its size."""
    api = rng.choice(list(APIS.values()))
    version = rng.randint(api.min_version, api.max_version)
    if rng.random() < 0.03:
        return struct.pack(">hhih", rng.choice((api.key, 999)), rng.choice((0, -1, 99)), 5, -1) + rng.randbytes(20)
    schema = load_request_schema(api.key, version)
    out = bytearray(struct.pack(">hhi", api.key, version, rng.randrange(1 << 31)))
    client = rng.choice((None, b"", b"fuzz", b"c" * 300))
    out += struct.pack(">h", -1) if client is None else struct.pack(">h", len(client)) + client
    if schema.__flexible__:
        out.append(0)
    _writer(schema)(out, _entity(rng, schema))
    return bytes(out)


def damaged(rng: Random, data: bytes) -> bytes:
    """Some bytes changed, doubled, cut out or replaced by numbers that lie."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(6):
            case 0:
                out[at : at + 1] = rng.randbytes(1)
            case 1:
                out[at:at] = rng.randbytes(rng.choice((1, 2, 50)))
            case 2:
                del out[at : at + rng.choice((1, 4, 30))]
            case 3:
                out[at : at + 4] = struct.pack(">i", rng.choice((-1, -2, 0, 1, 0x7FFFFFFF, -0x80000000, 1 << 20)))
            case 4:
                out[at : at + 5] = rng.choice((b"\xff\xff\xff\xff\x0f", b"\x80\x80\x80\x80\x80", b"\xff\x7f", b"\x00"))
            case _:
                out[at:at] = out[at : at + rng.choice((2, 16, 200))]
    return bytes(out)


def _framed(rng: Random, body: bytes) -> bytes:
    lie = rng.choice((0,) * 30 + (1, -1, 100, 1 << 20, 1 << 30, -(1 << 30)))
    size = max(-(1 << 31), min((1 << 31) - 1, len(body) + lie))
    return struct.pack(">i", size) + body


@cache
def _writer(schema: Any) -> Any:
    return entity_writer(schema)


def _entity(rng: Random, schema: Any) -> dict[str, Any]:
    fields = dataclasses.fields(schema)
    return {field.name: _field(rng, field) for field in fields if "tag" not in field.metadata or rng.random() < 0.3}


def _field(rng: Random, field: Any) -> Any:
    if is_optional(field.type) and rng.random() < 0.2:
        return None
    if is_array(field):
        return [_value(rng, field) for _ in range(rng.choice(_MANY))]
    return _value(rng, field)


def _value(rng: Random, field: Any) -> Any:
    kind, name = field.metadata.get("kafka_type"), field.name
    if kind is None:
        return _entity(rng, inner_type(field.type))
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "float64":
        return rng.choice((0.0, 1.0, -1.0, 1e300, float("nan"), float("inf"), 1024.0))
    if kind in FIXED:
        return _number(rng, name, _BITS[FIXED[kind]], signed=FIXED[kind].islower())
    if kind == "uuid":
        return rng.choice((None, uuid.UUID(int=rng.getrandbits(128))))
    if kind == "string":
        return rng.choice(_WORDS if rng.random() < 0.3 else _NAMES)
    return records(rng) if name == "records" else rng.choice((b"", b"\0", rng.randbytes(30), bytes(3000)))


def _number(rng: Random, name: str, bits: int, *, signed: bool) -> int:
    if name in _NEVER_LONG:
        return rng.choice((0, 1, 20, -1))
    if "partition" in name and rng.random() < 0.7:
        return rng.choice((0, 0, 1, 2))
    value = rng.choice(_NUMBERS) if rng.random() < 0.9 else rng.getrandbits(bits)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def records(rng: Random) -> bytes:
    """Record batches: good ones, ones whose header lies under a right CRC, bombs, and noise."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.choice((0, 1, 61, 300)))
    now_ms = time.time_ns() // 1_000_000
    content = [
        Record(rng.choice((None, b"k", b"")), rng.choice((None, b"v" * 50, b"")), now_ms) for _ in range(rng.choice(_MANY) or 1)
    ]
    codec = rng.choice((0, 0, 1, 2, 3, 4))
    batch = bytearray(build_batch(content, codec=codec))
    if kind == 1:
        batch[HEADER.size :] = (
            gzip.compress(bytes(rng.choice((1 << 20, 1 << 26))), 9) if rng.random() < 0.5 else rng.randbytes(200)
        )
        batch[8:12] = struct.pack(">i", len(batch) - 12)
        batch[22] = rng.randrange(8)
    if kind in (1, 2, 3):
        header = parse_header(batch)._asdict()
        if kind != 1:
            for name in rng.sample(sorted(header), 2):
                header[name] = rng.choice(_NUMBERS)
        for name, width in (("leader_epoch", 32), ("magic", 8), ("attributes", 16), ("last_offset_delta", 32), ("length", 32),
                            ("producer_epoch", 16), ("base_sequence", 32), ("record_count", 32)):  # fmt: skip
            header[name] = (header[name] + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))
        header["crc"] &= 0xFFFFFFFF
        HEADER.pack_into(batch, 0, *header.values())
        struct.pack_into(">I", batch, 17, crc32c(bytes(batch[CRC_START:])))
    if kind == 4:
        return damaged(rng, bytes(batch))
    if kind == 5:
        return bytes(batch) * 2
    return bytes(batch)
