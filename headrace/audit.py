"""What the agent, the loader and the audit must agree on, to the byte: windows, hashes, and the messages on `_audit`.

Source: audit.md ("Is it all there, is it the same"), ADR 0055. Values are absolute, never deltas. A reader refuses a newer
version. `finished` is written with `drained_to_ms` null: a finite input's frontier is infinite.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import xxhash

from headrace.errors import CorruptError, VersionError

AUDIT_TOPIC = "_audit"
FIRST_VERSION = 1
CHAPTERS_VERSION = VERSION = 2
"""A message is written under the oldest version whose readers understand it: they refuse newer ones."""
WINDOW_MS = 600_000
HEARTBEAT_INTERVAL_MS = 30_000
HASH_MODULUS = 1 << 64

State = Literal["active", "stopped", "finished"]
K = TypeVar("K", int, str)


def audit_partition(agent_id: str, partitions: int) -> int:
    """Which partition of `_audit` all messages of an agent go to."""
    return zlib.crc32(agent_id.encode()) % partitions


def window_start_ms(event_time_ms: int) -> int:
    """The start of the ten-minute window that an event time (ms since the epoch, may be negative) falls into."""
    return event_time_ms // WINDOW_MS * WINDOW_MS


def event_hash(agent_id: str, stream_id: str, position: int, part: int, message: bytes) -> int:
    """An event's contribution to its window's hash: xxh64 of its identity and its bytes; windows sum these mod 2⁶⁴.

    Args:
        message: the line's original bytes, `message.encode(encoding)` of the envelope.
    """
    return xxhash.xxh64_intdigest(f"{agent_id}/{stream_id}/{position}/{part}\n".encode("ascii") + message)


@dataclass(frozen=True, slots=True)
class Total:
    """What all windows of a topic come to: events, and the sum of their `event_hash` mod 2⁶⁴."""

    count: int
    content_hash: int


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """`agent/<agent_id>/<run>`: a heartbeat, and the claim that everything readable at `drained_to_ms` is acknowledged.

    `acked` maps topic → partition → the end of what the agent knows to be acknowledged: its last acknowledged offset + 1.
    `drained_to_ms` is wall time in ms; None while nothing is claimed yet, and for `finished`, whose frontier is infinite.
    `totals` maps topic → what all `sent/` messages before this one come to; None of an agent that does not say.
    `clock_ms` is the host's clock when this was written; None of an agent that does not say.
    """

    agent_id: str
    run: str
    host: str
    agent_version: str
    state: State
    drained_to_ms: int | None
    acked: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    totals: Mapping[str, Total] | None = None
    clock_ms: int | None = None

    @property
    def key(self) -> str:
        return f"agent/{self.agent_id}/{self.run}"

    def encode(self) -> bytes:
        beside: dict[str, object] = {}
        if self.totals is not None:
            beside["totals"] = {
                topic: {"count": total.count, "hash": f"{total.content_hash:016x}"} for topic, total in self.totals.items()
            }
        if self.clock_ms is not None:
            beside["clock_ms"] = self.clock_ms
        return _encode(
            FIRST_VERSION,
            host=self.host,
            agent_version=self.agent_version,
            state=self.state,
            drained_to_ms=self.drained_to_ms,
            acked=self.acked,
            **beside,
        )


@dataclass(frozen=True, slots=True)
class SentMessage:
    """`sent/<topic>/<agent_id>/<run>/<window_start_ms>[/<chapter>]`: what an agent has had acknowledged in one window.

    `count` events of together `bytes_total` message bytes; `content_hash` is the sum of their `event_hash` mod 2⁶⁴;
    `acked` maps partition → last acknowledged offset of this window + 1; `dropped` maps reason → events.
    `rejected` may be below zero in a chapter: of records that were rejected in an earlier one, and were sent after all.
    `chapter` is 0 but where the agent had let go of the window's counts, and counts from zero again: the chapters add up.
    """

    topic: str
    agent_id: str
    run: str
    window_start_ms: int
    count: int
    bytes_total: int
    content_hash: int
    acked: Mapping[int, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    rejected: int = 0
    chapter: int = 0

    @property
    def key(self) -> str:
        chapter = f"/{self.chapter}" if self.chapter else ""
        return f"sent/{self.topic}/{self.agent_id}/{self.run}/{self.window_start_ms}{chapter}"

    def encode(self) -> bytes:
        return _encode(
            CHAPTERS_VERSION if self.chapter else FIRST_VERSION,
            count=self.count,
            bytes=self.bytes_total,
            hash=f"{self.content_hash:016x}",
            acked=self.acked,
            dropped=self.dropped,
            rejected=self.rejected,
        )


@dataclass(frozen=True, slots=True)
class RetiredMessage:
    """`retired/<agent_id>`: an operator's word that an agent sends nothing more, until it speaks again.

    Windows that end after `at_ms` need not wait for it; None: no window need.
    """

    agent_id: str
    at_ms: int | None

    @property
    def key(self) -> str:
        return f"retired/{self.agent_id}"

    def encode(self) -> bytes:
        return _encode(FIRST_VERSION, at_ms=self.at_ms)


def _encode(version: int, **fields: object) -> bytes:
    return json.dumps({"version": version, **fields}, separators=(",", ":")).encode()


def parse_message(key: bytes, value: bytes) -> AgentMessage | SentMessage | RetiredMessage | None:
    """Read one record of `_audit`; None for a key of a kind that this version does not know.

    Raises:
        VersionError: the value is of a newer version.
        CorruptError: the key or the value is not what we write.
    """
    kind, _, rest = key.decode("utf-8", "replace").partition("/")
    if kind not in ("agent", "sent", "retired"):
        return None
    try:
        body: dict[str, Any] = json.loads(value)
        if body["version"] > VERSION:
            raise VersionError(
                f"_audit message {kind}/{rest} has version {body['version']}; this headrace reads up to {VERSION}: upgrade it"
            )
        match kind:
            case "agent":
                return _agent_message(rest, body)
            case "sent":
                return _sent_message(rest, body)
        return RetiredMessage(rest, None if body["at_ms"] is None else _number(body["at_ms"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"_audit message {kind}/{rest} cannot be read: {error!r}") from error


def _agent_message(rest: str, body: Mapping[str, Any]) -> AgentMessage:
    agent_id, run = rest.split("/")
    drained_to_ms, totals, clock_ms = body["drained_to_ms"], body.get("totals"), body.get("clock_ms")
    if body["state"] not in get_args(State):
        raise ValueError(body["state"])
    return AgentMessage(
        agent_id,
        run,
        str(body["host"]),
        str(body["agent_version"]),
        body["state"],
        None if drained_to_ms is None else _number(drained_to_ms),
        {topic: _numbers(ends, int) for topic, ends in body["acked"].items()},
        None if totals is None else {topic: Total(_number(one["count"]), _hash(one["hash"])) for topic, one in totals.items()},
        None if clock_ms is None else _number(clock_ms),
    )


def _sent_message(rest: str, body: Mapping[str, Any]) -> SentMessage:
    topic, agent_id, run, start, *chapter = rest.split("/")
    if len(chapter) > 1:
        raise ValueError(rest)
    return SentMessage(
        topic,
        agent_id,
        run,
        _window_start(start),
        _number(body["count"]),
        _number(body["bytes"]),
        _hash(body["hash"]),
        _numbers(body["acked"], int),
        _numbers(body["dropped"], str),
        -_number(-body["rejected"]) if body["rejected"] < 0 else _number(body["rejected"]),
        int(chapter[0]) if chapter else 0,
    )


def _number(value: Any) -> int:
    """What may stand in a message as a count, an offset or a time."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(value)
    return value


def _window_start(text: str) -> int:
    if not -(1 << 63) <= (start_ms := int(text)) < 1 << 63:
        raise ValueError(text)
    return start_ms


def _hash(text: str) -> int:
    return int(text, 16) % HASH_MODULUS


def _numbers(named: Mapping[str, Any], key: Callable[[str], K]) -> dict[K, int]:
    return {key(name): _number(number) for name, number in named.items()}
