"""The envelope: the Avro schema of every event that our agents ship (interfaces.md, The envelope).

`message` is the whole line without its final newline, changed by no parser; `message.encode(encoding)` gives back its bytes.
`(agent_id, stream_id, position, part)` names an event for ever (audit.md).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

EventTimeSource = Literal["line", "read"]
Encoding = Literal["utf-8", "iso-8859-1"]

_MICROS: Final = {"type": "long", "logicalType": "timestamp-micros"}

ENVELOPE: Final[dict[str, object]] = {
    "type": "record",
    "name": "Event",
    "namespace": "headrace",
    "doc": "One line of a log, or one part of a line longer than max_line_bytes.",
    "fields": [
        {
            "name": "event_time",
            "type": _MICROS,
            "doc": "When it happened, by the line itself, or else the read time.",
        },
        {
            "name": "event_time_source",
            "type": "string",
            "doc": "line, or read where the line has no plausible time.",
        },
        {"name": "read_time", "type": _MICROS, "doc": "When the agent read it; also the Kafka timestamp."},
        {"name": "agent_id", "type": "string"},
        {"name": "stream_id", "type": "string", "doc": "One incarnation of a file or input."},
        {
            "name": "position",
            "type": "long",
            "doc": "Byte offset of the first byte of the line, or of this part of it.",
        },
        {"name": "since", "type": "long", "doc": "Where the stream's previous shipped record ended."},
        {"name": "part", "type": "int", "doc": "0, or the number of the later part of a split line."},
        {"name": "host", "type": "string"},
        {"name": "service", "type": "string"},
        {"name": "source", "type": "string", "doc": "The path or the input it came from."},
        {"name": "message", "type": "string"},
        {"name": "encoding", "type": "string", "doc": "utf-8 or iso-8859-1."},
        {
            "name": "fields",
            "type": {"type": "map", "values": "string"},
            "doc": "What the parser found in the line.",
        },
    ],
}

ENVELOPE_JSON: Final = json.dumps(ENVELOPE)

IDENTITY_FIELDS: Final = ("agent_id", "stream_id", "position", "since", "part")


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same in every event of one stream."""

    agent_id: str
    stream_id: str
    host: str
    service: str
    source: str


class EventEncoder:
    """Encodes the events of one stream, byte for byte as fastavro does; keep one per stream.

    The parts that do not change are encoded once, so that an event costs a few varints and one join.
    """

    __slots__ = ("_ids", "_names")

    def __init__(self, origin: Origin) -> None:
        self._ids = _text(origin.agent_id) + _text(origin.stream_id)
        self._names = _text(origin.host) + _text(origin.service) + _text(origin.source)

    def encode(
        self,
        *,
        event_time_us: int,
        event_time_source: EventTimeSource,
        read_time_us: int,
        position: int,
        since: int,
        part: int,
        message: bytes,
        encoding: Encoding,
        fields: Mapping[str, str],
    ) -> bytes:
        """One event.

        Args:
            event_time_us, read_time_us: microseconds since the Unix epoch; they, `position` and `since` fit 64 bits signed.
            message: the line as UTF-8 (a line that is ISO-8859-1 must have been decoded and encoded again).
            fields: what the parser found; no lone surrogates.
        """
        pieces = [
            varint(event_time_us),
            _SOURCES[event_time_source],
            varint(read_time_us),
            self._ids,
            varint(position),
            varint(since),
            varint(part),
            self._names,
            varint(len(message)),
            message,
            _ENCODINGS[encoding],
        ]
        if fields:
            pieces.append(varint(len(fields)))
            for name, value in fields.items():
                encoded = value.encode()
                pieces += (_field_name(name), varint(len(encoded)), encoded)
        pieces.append(b"\0")
        return b"".join(pieces)


def varint(value: int) -> bytes:
    """An integer of up to 64 bits signed as Avro writes int and long: zig-zag, seven bits a byte, low ones first."""
    rest = value << 1 if value >= 0 else ~(value << 1)
    if rest < _TABLED:
        return _VARINTS[rest]
    if rest >= 1 << 64:
        raise ValueError(f"{value} does not fit 64 bits")
    low = rest & 0x3FFF
    pieces = bytes((low & 0x7F | 0x80, low >> 7 | 0x80))
    rest >>= 14
    while rest >= _TABLED:
        low = rest & 0x3FFF
        pieces += bytes((low & 0x7F | 0x80, low >> 7 | 0x80))
        rest >>= 14
    return pieces + _VARINTS[rest]


def _small_varint(rest: int) -> bytes:
    return bytes((rest,)) if rest < 0x80 else bytes((rest & 0x7F | 0x80, rest >> 7))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return varint(len(encoded)) + encoded


# Every varint of one or two bytes: part, nearly all lengths, and the end of every longer one.
_TABLED: Final = 1 << 14
_VARINTS: Final = tuple(_small_varint(rest) for rest in range(_TABLED))
_SOURCES: Final = {source: _text(source) for source in ("line", "read")}
_ENCODINGS: Final = {encoding: _text(encoding) for encoding in ("utf-8", "iso-8859-1")}
_field_name = lru_cache(maxsize=4096)(_text)
