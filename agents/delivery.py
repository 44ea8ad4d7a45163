"""Records to the broker and word of them back: one librdkafka producer, idempotent, acks=all, with no time limit (design D6).

A chunk is done when each of its records is acknowledged, or was refused for good and is durable in `rejected/`. Refused for
good means refused for what the record is; whatever else goes wrong (a broker away, a right revoked, a topic deleted) is tried
again for ever, the failed records of a stream first and in order, and nothing new of that stream is sent meanwhile. A fatal
error of the producer (its sequence numbers are of no use any more) means a new producer; what it had on its way is sent again.

librdkafka's queue is bounded: where it is full, the rest of a chunk waits here, and the agent reads nothing more.
"""

import json
import logging
import os
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.agents.events.encoder import Encoded
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state import ChunkResult
from headrace.audit import HASH_MODULUS, event_hash, window_start_ms
from headrace.errors import PeerError, StorageError
from headrace.librdkafka import checked_keys, reason, unrepeated
from headrace.schemas.envelope import ENVELOPE
from headrace.schemas.framing import HEADER_LENGTH

logger = logging.getLogger(__name__)

# Refused for what the record itself is; the record would be refused for ever.
_PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_TIMESTAMP,
    }
)
RETRY_AFTER_MS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

DEFAULTS: Mapping[str, Any] = {
    "client.id": "headrace-agent",
    "compression.type": "lz4",
    "linger.ms": 20,
    "batch.size": 900_000,
    "message.max.bytes": 1_000_000,
    "queue.buffering.max.kbytes": 16 * 1024,
    "queue.buffering.max.messages": 100_000,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 60_000,
    "log_level": 4,
}
OURS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 0,
    "allow.auto.create.topics": True,
}


@dataclass(slots=True)
class _OnItsWay:
    """A chunk: values that wait to be handed over, how many handed over were not heard of, and those that failed."""

    stream: StreamRow
    chunk: ChunkRow
    encoded: Encoded
    waiting: list[bytes]
    unheard: int = 0
    next_offset: int = 0
    failed: list[tuple[KafkaError, bytes]] = field(default_factory=list)
    rejected: dict[int, int] = field(default_factory=dict)
    retry: bool = False

    def heard(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's report of one record."""
        self.unheard -= 1
        if error is None:
            self.next_offset = (message.offset() or 0) + 1
        else:
            self.failed.append((error, message.value() or b""))


class Rejected:
    """`rejected/<topic>.jsonl` in the state directory: records that were refused for good, one JSON object a line.

    `{"version", "error", "topic", "partition", "timestamp_ms", "value"}`, the value in base64. A record may be there twice
    after a crash; its identity in the value is the same.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, topic: str, partition: int, timestamp_ms: int, value: bytes, error: str) -> None:
        """Make one record durable.

        Raises:
            StorageError: the disk refuses; the record must not be passed over.
        """
        row = {
            "version": 1, "error": error, "topic": topic, "partition": partition, "timestamp_ms": timestamp_ms,
            "value": b64encode(value).decode(),
        }  # fmt: skip
        try:
            self._directory.mkdir(exist_ok=True)
            with (self._directory / f"{topic}.jsonl").open("ab") as file:
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            folder = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error_:
            raise StorageError(f"{self._directory}: {error_.strerror}; make room, the agent waits") from error_


class Delivery:
    """Chunks in, word of chunks out.

    Args:
        settings: librdkafka's, as the user gave them.
        agent_id: whose events these are.
        rejected: where what is refused for good is kept.
    """

    def __init__(self, settings: Mapping[str, Any], agent_id: str, rejected: Rejected) -> None:
        self._settings = {**DEFAULTS, **settings, **OURS}
        self._agent_id = agent_id
        self._rejected = rejected
        self._entries: dict[tuple[str, int], _OnItsWay] = {}  # in the order in which they were given
        self._backlog: deque[_OnItsWay] = deque()
        self._fatal = False
        self.full = False
        self.producer = self._new_producer()

    def _new_producer(self) -> Producer:
        self._fatal = False
        settings = {**self._settings, "error_cb": self._on_error}
        with checked_keys():
            return Producer(settings, logger=unrepeated("headrace.agents.librdkafka"))

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = True
        logger.warning("broker connection", extra={"error": error.str()})

    @property
    def on_their_way(self) -> int:
        """Chunks of which the last word is still awaited."""
        return len(self._entries)

    def send(self, stream: StreamRow, chunk: ChunkRow, encoded: Encoded) -> None:
        """Take a chunk to be delivered; word of it comes from `take_done`."""
        entry = _OnItsWay(stream, chunk, encoded, encoded.values)
        encoded.values = []  # librdkafka copies them; one copy is enough
        self._entries[stream.stream_id, chunk.start] = entry
        self._backlog.append(entry)
        self.pump()

    def pump(self) -> None:
        """Hand over as much as librdkafka takes; a stream with failed records waits, so that its order stays."""
        self.full = False
        if self._fatal:
            return
        blocked = {entry.stream.stream_id for entry in self._entries.values() if entry.retry}
        kept: deque[_OnItsWay] = deque()
        for entry in self._backlog:
            if self.full or entry.stream.stream_id in blocked or not self._hand_over(entry):
                kept.append(entry)
                blocked.add(entry.stream.stream_id)
        self._backlog = kept

    def _hand_over(self, entry: _OnItsWay) -> bool:
        """Give librdkafka a chunk's records; False where some are left."""
        produce, heard = self.producer.produce, entry.heard
        topic, partition, timestamp = entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms
        taken = 0
        try:
            for value in entry.waiting:
                try:
                    produce(topic, value, partition=partition, on_delivery=heard, timestamp=timestamp)
                    entry.unheard += 1
                except KafkaException as error:
                    entry.failed.append((error.args[0], value))
                taken += 1
        except BufferError:
            self.full = True
        entry.waiting = entry.waiting[taken:]
        return not entry.waiting

    def _settle(self, entry: _OnItsWay, error: KafkaError, value: bytes) -> None:
        """A record that failed: refused for good it is kept, otherwise it waits to be sent again."""
        if error.code() not in _PERMANENT:
            entry.waiting.append(value)
            return
        self._rejected.keep(entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms, value, error.name())
        logger.error(
            "record refused for good; it is in rejected/", extra={"error": error.name(), "source": entry.stream.source}
        )
        self._uncount(entry, value)

    def _uncount(self, entry: _OnItsWay, value: bytes) -> None:
        """Take a rejected record out of what its window gained."""
        event = _event(value)
        line = event["message"].encode(event["encoding"])
        start_ms = window_start_ms((event["event_time"] - _EPOCH) // timedelta(milliseconds=1))
        tally = entry.encoded.windows[start_ms]
        tally.count -= 1
        tally.bytes_total -= len(line)
        hash_ = event_hash(self._agent_id, event["stream_id"], event["position"], event["part"], line)
        tally.content_hash = (tally.content_hash - hash_) % HASH_MODULUS
        entry.rejected[start_ms] = entry.rejected.get(start_ms, 0) + 1

    def poll(self, timeout_s: float) -> None:
        """Serve librdkafka's reports, waiting for the first at most so long.

        Raises:
            PeerError: the broker lets this agent write nothing at all.
        """
        try:
            self.producer.poll(timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.CLUSTER_AUTHORIZATION_FAILED:
                raise
            raise PeerError(f"kafka: {reason(error)}; give the agent's user WRITE on its topics") from error
        if self._fatal:
            self._start_over()

    def _start_over(self) -> None:
        """A new producer in place of one that had a fatal error."""
        logger.warning("the producer had a fatal error; what it had on its way is sent again by a new one")
        self.producer.purge()
        self.producer.poll(0)
        self.producer = self._new_producer()

    def take_done(self) -> list[tuple[str, int, ChunkResult]]:
        """Chunks that are delivered as a whole: (stream id, start, what became of it)."""
        done = []
        for key, entry in list(self._entries.items()):
            if entry.unheard or entry.retry:
                continue
            if entry.failed:
                self._fail(entry)
            if not entry.waiting and not entry.failed:
                del self._entries[key]
                stream, encoded = entry.stream, entry.encoded
                result = ChunkResult(
                    stream.topic, stream.partition, entry.next_offset, encoded.windows, entry.rejected, encoded.lines
                )
                done.append((*key, result))
        return done

    def _fail(self, entry: _OnItsWay) -> None:
        """Nothing of the chunk is on its way and some failed: keep what is refused for good, the rest waits for a retry."""
        failed = sorted(entry.failed, key=lambda failure: _identity(failure[1]))
        logger.warning(
            "not delivered", extra={"error": failed[0][0].str(), "records": len(failed), "topic": entry.stream.topic}
        )
        later, entry.waiting, entry.failed = entry.waiting, [], []
        for error, value in failed:
            self._settle(entry, error, value)
        entry.waiting += later
        if entry.waiting:
            entry.retry = True
            if entry not in self._backlog:
                self._backlog.append(entry)

    def retry_failed(self) -> None:
        """Send again what failed, each stream's in order; to be called every RETRY_AFTER_MS."""
        for entry in self._entries.values():
            if entry.retry:
                entry.retry = False
        self._backlog = deque(sorted(self._backlog, key=lambda entry: (entry.stream.stream_id, entry.chunk.start)))
        self.pump()

    def let_go(self) -> None:
        """Give up what is on its way, at once: it is sent again by the next run (closing would wait for it without end)."""
        self.producer.purge()
        self.producer.poll(0)


def _identity(value: bytes) -> tuple[int, int]:
    event = _event(value)
    return event["position"], event["part"]


def _event(value: bytes) -> dict[str, Any]:
    import fastavro  # 3 MB that only an agent with failed records needs

    event: Any = fastavro.schemaless_reader(BytesIO(value[HEADER_LENGTH:]), dict(ENVELOPE), None)
    return dict(event)
