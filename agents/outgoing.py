"""One chunk on its way: which of its records wait, are with librdkafka, failed, or were refused for good. No I/O.

A record goes through at most four states: it waits; it is with librdkafka; it failed for a while, and waits again, before all
that has not been handed over; or it was refused. Refused is final only of a record that was alone in its batch, because a
broker refuses batches: until then it waits to be sent alone. What is refused for good has to be kept in `rejected/`, then,
where there is a topic for it, to be acknowledged as a dead letter. The chunk is done when no record is in any of these states.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, Final

from confluent_kafka import KafkaError, Message

from headrace.agents.events.encoded import Encoded, Headers, Identity, Told
from headrace.agents.producer import PERMANENT
from headrace.agents.rejected import RejectedRecord
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.windows import ChunkResult
from headrace.audit import window_start_ms
from headrace.schemas.envelope import HEAD
from headrace.schemas.framing import HEADER_LENGTH

logger = logging.getLogger(__name__)

Record = tuple[bytes, Headers | None]  # a value, and the identity where it is not in the value
Heard = Callable[[KafkaError | None, Message], None]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True, eq=False)
class Outgoing:
    """A chunk's records by state; `unheard` and `apart` count those with librdkafka, apart: sent alone, or as dead letters.

    `retry` says that something waits for the next retry, and holds the stream up.
    """

    agent_id: str
    stream: StreamRow
    chunk: ChunkRow
    encoded: Encoded
    waiting: list[bytes]
    headers: list[Headers]
    unheard: int = 0
    apart: int = 0
    next_offset: int = 0
    failed: list[tuple[KafkaError, Record]] = field(default_factory=list)
    alone: list[Record] = field(default_factory=list)
    refused: list[RejectedRecord] = field(default_factory=list)
    letters: list[RejectedRecord] = field(default_factory=list)
    letter_ends: list[tuple[str, int, int]] = field(default_factory=list)
    rejected: dict[int, int] = field(default_factory=dict)
    retry: bool = False

    def __post_init__(self) -> None:
        for misfit in self.encoded.misfits:
            self._refuse(misfit.reason, misfit.identity, misfit.line, misfit.window_start_ms, in_headers=True, told=misfit.told)

    # ---- reports

    def heard(self, error: KafkaError | None, message: Message) -> None:
        """librdkafka's report of a record whose identity is in its value."""
        self.unheard -= 1
        if error is not None:
            self.failed.append((error, (message.value() or b"", None)))
        elif (offset := message.offset()) is not None and offset >= self.next_offset:
            self.next_offset = offset + 1

    def heard_with(self, headers: Headers) -> Heard:
        """What takes the report of a record with these headers; they are not in the report."""

        def heard(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.heard(None, message)
                return
            self.unheard -= 1
            self.failed.append((error, (message.value() or b"", headers)))

        return heard

    def heard_alone(self, record: Record) -> Heard:
        """What takes the report of a record that is alone in its batch."""

        def heard(error: KafkaError | None, message: Message) -> None:
            self.apart -= 1
            if error is None:
                self.next_offset = max(self.next_offset, (message.offset() or 0) + 1)
            else:
                self.not_taken(error, record)

        return heard

    def heard_letter(self, letter: RejectedRecord) -> Heard:
        """What takes the report of a dead letter."""

        def heard(error: KafkaError | None, message: Message) -> None:
            self.apart -= 1
            if error is None:
                self.letter_ends.append((message.topic() or "", message.partition() or 0, (message.offset() or 0) + 1))
            else:
                self.letter_not_taken(error, letter)

        return heard

    def not_taken(self, error: KafkaError, record: Record) -> bool:
        """A record failed by itself, not as one of a batch; True where it is refused for good then, False where it waits."""
        if error.code() in PERMANENT:
            self._refuse_record(error, record)
            return True
        self.failed.append((error, record))
        return False

    def letter_not_taken(self, error: KafkaError, letter: RejectedRecord) -> bool:
        """A dead letter failed; True where even its topic refuses it for good, so that it is in `rejected/` alone."""
        if error.code() in PERMANENT:
            logger.error("the dead-letter topic refuses a record; it is in rejected/ alone", extra={"error": error.str()})
            return True
        logger.warning("a dead letter was not delivered", extra={"error": error.str()})
        self.letters.append(letter)
        self.letters.sort(key=lambda each: (each.position, each.part))
        self.retry = True
        return False

    # ---- what comes of them

    def sort_failed(self) -> None:
        """Nothing is with librdkafka, and some failed: they wait again, in order and first; with a refused one, each alone."""
        failed = sorted(self.failed, key=lambda failure: _identity(failure[1])[1:])
        refused = [error for error, _ in failed if error.code() in PERMANENT]
        records = [record for _, record in failed]
        self.failed, self.retry = [], len(refused) < len(failed)
        if refused or self.alone:
            self.alone = records + self.alone
            return
        self.waiting = [value for value, _ in records] + self.waiting
        self.headers = [headers for _, headers in records if headers is not None] + self.headers

    def _refuse_record(self, error: KafkaError, record: Record) -> None:
        """A record is refused for good: it is taken out of what its window gained."""
        value, headers = record
        identity = _identity(record)
        stream_id, position, _, part, _ = identity
        start_ms, message = window_start_ms(self.chunk.read_time_ms), value
        if headers is None:
            event = _event(value)
            start_ms = window_start_ms((event["event_time"] - _EPOCH) // timedelta(milliseconds=1))
            message = event["message"].encode(event["encoding"])
        self.encoded.windows[start_ms].add(self.agent_id, stream_id, position, part, message, times=-1)
        self._refuse(error.name(), identity, value, start_ms, in_headers=headers is not None)

    def _refuse(
        self, error: str, identity: Identity, value: bytes, start_ms: int, *, in_headers: bool, told: Told | None = None
    ) -> None:
        stream_id, position, since, part, end = identity
        self.refused.append(
            RejectedRecord(
                error, self.stream.topic, self.stream.partition, self.chunk.read_time_ms, self.agent_id, stream_id,
                position, since, part, end, "record" if told is None else "line", value, start_ms, in_headers, told,
            )
        )  # fmt: skip
        self.rejected[start_ms] = self.rejected.get(start_ms, 0) + 1

    @property
    def done(self) -> bool:
        """Whether each record is acknowledged, or durable among the rejected and, where there is a topic for it, there too."""
        left = self.waiting or self.failed or self.alone or self.refused or self.letters
        return not (left or self.unheard or self.apart or self.retry)

    @property
    def holds_up(self) -> bool:
        """Whether what follows in the stream has to wait, so that its order stays."""
        not_kept = self.refused and not (self.waiting or self.unheard)
        return bool(self.retry or self.failed or self.apart or self.alone or self.letters or not_kept)

    @property
    def result(self) -> ChunkResult:
        """What became of it, once it is done."""
        encoded = self.encoded
        return ChunkResult(
            self.stream.topic, self.stream.partition, self.next_offset, encoded.windows, self.rejected, encoded.lines,
            tuple(self.letter_ends),
        )  # fmt: skip


def _identity(record: Record) -> Identity:
    value, headers = record
    if headers is None:
        event = _event(value)
        end = event["position"] + max(1, len(event["message"].encode(event["encoding"])))
        return event["stream_id"], event["position"], event["since"], event["part"], end
    named = dict(headers)
    position, since, part, end = (int(named[name] or 0) for name in ("position", "since", "part", "end"))
    return str(named["stream_id"]), position, since, part, end


def _event(value: bytes) -> dict[str, Any]:
    """The fields that every event of ours begins with."""
    import fastavro  # 3 MB that only an agent with failed records needs

    event: Any = fastavro.schemaless_reader(BytesIO(value[HEADER_LENGTH:]), dict(HEAD), None)
    return dict(event)
