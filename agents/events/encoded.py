"""What a chunk is encoded to: its records, and what they count. Plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.agents.effects import Shipped
from headrace.agents.events.schemas.binary import string
from headrace.agents.events.transforms.record import Answer
from headrace.audit import HASH_MODULUS, event_hash
from headrace.varints import zigzag

Headers = list[tuple[str, str | bytes | None]]
Identity = tuple[str, int, int, int, int]  # stream id, position, since, part, and where the record's bytes end in its source


@dataclass(slots=True)
class Tally:
    """What one window of event time gained: events, bytes of them, the sum of their hashes mod 2⁶⁴."""

    count: int = 0
    bytes_total: int = 0
    content_hash: int = 0

    def add(self, agent_id: str, stream_id: str, position: int, part: int, message: bytes, *, times: int = 1) -> None:
        """Count one event: its line, or its value where the identity is in headers (ADR 0055); −1 times: no more."""
        self.count += times
        self.bytes_total += times * len(message)
        hash_ = event_hash(agent_id, stream_id, position, part, message)
        self.content_hash = (self.content_hash + times * hash_) % HASH_MODULUS


@dataclass(frozen=True, slots=True)
class Told:
    """What an event says beside its line, as parser and transforms left it: enough to encode the event anew."""

    event_time_us: int | None
    encoding: str
    host: str
    service: str
    source: str
    fields: Mapping[str, str]
    is_part: bool


@dataclass(frozen=True, slots=True)
class Misfit:
    """A line, or a part of one, that its topic's schema has no form for."""

    identity: Identity
    line: bytes
    window_start_ms: int
    reason: str
    told: Told


@dataclass(slots=True)
class Encoded:
    """A chunk's records, in order, and what they count: by window start (ms), and lines (parts are not lines).

    Where the schema has no place for the identity, each value has it in `headers`. `left_out` counts the lines that the
    pipeline does not send, by reason, and `unparsed` those that its parser does not understand.
    `answers` are those of the user's functions: durable before a record is sent, and given to the encoder of a repeat.
    """

    values: list[bytes]
    shipped: Shipped
    windows: dict[int, Tally] = field(default_factory=dict)
    lines: int = 0
    headers: list[Headers] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    unparsed: int = 0


@dataclass(frozen=True, slots=True)
class Whence:
    """Where lines come from, and the bytes that all records of it share.

    `identity` is the read time, the agent and the stream as the envelope writes them, `origin` host, service and source,
    `hash_start` what the hash of each event begins with (audit.md).
    """

    agent_id: str
    stream_id: str
    host: str
    service: str
    source: str
    identity: bytes
    origin: bytes
    hash_start: bytes

    @classmethod
    def of(cls, agent_id: str, stream_id: str, read_time_us: int, host: str, service: str, source: str) -> "Whence":
        identity = zigzag(read_time_us) + string(agent_id) + string(stream_id)
        origin = string(host) + string(service) + string(source)
        return cls(agent_id, stream_id, host, service, source, identity, origin, f"{agent_id}/{stream_id}/".encode("ascii"))


Row = tuple[bytes, bytes, str, int | None, Mapping[str, str], int, int, int, bool, int, Whence]


@dataclass(frozen=True, slots=True)
class Rows:
    """Lines, and parts of lines, that are to be records: by columns, so that the work is done on many at once.

    `lines` are the bytes that the audit counts, `messages` the same in UTF-8, `times_us` what a line says (None: nothing).
    `are_parts` says which are parts of long lines; the first of them is number 0, as a whole line is. `source_bytes` are the
    bytes of its source that each covers.
    """

    lines: Sequence[bytes]
    messages: Sequence[bytes]
    encodings: Sequence[str]
    times_us: Sequence[int | None]
    fields: Sequence[Mapping[str, str]]
    positions: Sequence[int]
    sinces: Sequence[int]
    parts: Sequence[int]
    are_parts: Sequence[bool]
    source_bytes: Sequence[int]
    whences: Sequence[Whence]
