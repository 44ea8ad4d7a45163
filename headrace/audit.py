"""What the agent, the loader and the audit must agree on, to the byte: windows, hashes, and the messages on `_audit`.

Source: audit.md ("Is it all there, is it the same"). Values are absolute, never deltas. A reader refuses a newer version.
`finished` is written with `drained_to_ms` null: a finite input's frontier is infinite.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import xxhash

from headrace.errors import CorruptError, VersionError

AUDIT_TOPIC = "_audit"
VERSION = 1
WINDOW_MS = 600_000
HEARTBEAT_INTERVAL_MS = 30_000
HASH_MODULUS = 1 << 64

State = Literal["active", "stopped", "finished"]


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
class AgentMessage:
    """`agent/<agent_id>/<run>`: a heartbeat, and the claim that everything readable at `drained_to_ms` is acknowledged.

    `acked` maps topic → partition → the end of what the agent knows to be acknowledged: its last acknowledged offset + 1.
    `drained_to_ms` is wall time in ms; None while nothing is claimed yet, and for `finished`, whose frontier is infinite.
    """

    agent_id: str
    run: str
    host: str
    agent_version: str
    state: State
    drained_to_ms: int | None
    acked: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"agent/{self.agent_id}/{self.run}"

    def encode(self) -> bytes:
        return _encode(
            host=self.host,
            agent_version=self.agent_version,
            state=self.state,
            drained_to_ms=self.drained_to_ms,
            acked=self.acked,
        )


@dataclass(frozen=True, slots=True)
class SentMessage:
    """`sent/<topic>/<agent_id>/<run>/<window_start_ms>`: what an agent has had acknowledged in one window of event time.

    `count` events of together `bytes_total` message bytes; `content_hash` is the sum of their `event_hash` mod 2⁶⁴;
    `acked` maps partition → last acknowledged offset of this window + 1; `dropped` maps reason → events.
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

    @property
    def key(self) -> str:
        return f"sent/{self.topic}/{self.agent_id}/{self.run}/{self.window_start_ms}"

    def encode(self) -> bytes:
        return _encode(
            count=self.count,
            bytes=self.bytes_total,
            hash=f"{self.content_hash:016x}",
            acked=self.acked,
            dropped=self.dropped,
            rejected=self.rejected,
        )


def _encode(**fields: object) -> bytes:
    return json.dumps({"version": VERSION, **fields}, separators=(",", ":")).encode()


def parse_message(key: bytes, value: bytes) -> AgentMessage | SentMessage | None:
    """Read one record of `_audit`; None for a key of a kind that this version does not know.

    Raises:
        VersionError: the value is of a newer version.
        CorruptError: the key or the value is not what we write.
    """
    kind, _, rest = key.decode("utf-8", "replace").partition("/")
    if kind not in ("agent", "sent"):
        return None
    try:
        body: dict[str, Any] = json.loads(value)
        if body["version"] > VERSION:
            raise VersionError(
                f"_audit message {kind}/{rest} has version {body['version']}; this headrace reads up to {VERSION}: upgrade it"
            )
        if kind == "agent":
            agent_id, run = rest.split("/")
            acked = {topic: _partitions(ends) for topic, ends in body["acked"].items()}
            return AgentMessage(
                agent_id,
                run,
                body["host"],
                body["agent_version"],
                body["state"],
                body["drained_to_ms"],
                acked,
            )
        topic, agent_id, run, start = rest.split("/")
        return SentMessage(
            topic, agent_id, run, int(start), body["count"], body["bytes"], int(body["hash"], 16),
            _partitions(body["acked"]), body["dropped"], body["rejected"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"_audit message {kind}/{rest} cannot be read: {error!r}") from error


def _partitions(ends: Mapping[str, int]) -> dict[int, int]:
    return {int(partition): end for partition, end in ends.items()}
