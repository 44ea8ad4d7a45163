"""Records to the broker and word of them back, with no time limit and nothing dropped (design D6).

A chunk is done when each of its records is acknowledged, or was refused for good and is durable in `rejected/` and, where one
is named, acknowledged by the dead-letter topic. Refused for good means refused for what the record is; whatever else goes wrong
(a broker or the dead-letter topic away, a right revoked, a topic deleted, a full disk) is tried again for ever, the failed
records of a stream first and in order, and nothing new of that stream is sent meanwhile.

librdkafka's queue is bounded: where it is full, the rest of a chunk waits here, and the agent reads nothing more.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer

from headrace.agents.events.encoder import Encoded
from headrace.agents.outgoing import Heard, Outgoing
from headrace.agents.producer import LastingProducer
from headrace.agents.rejected import Rejected
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.windows import ChunkResult
from headrace.errors import StorageError

logger = logging.getLogger(__name__)

RETRY_AFTER_MS = 1000


class Delivery:
    """Chunks in, word of chunks out.

    Args:
        settings: librdkafka's, as the user gave them.
        agent_id: whose events these are.
        rejected: where what is refused for good is kept.
        dead_letter_topic: where it goes as well; None for nowhere.
        count_error: counts what went wrong, by type and stage.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        agent_id: str,
        rejected: Rejected,
        dead_letter_topic: str | None,
        count_error: Callable[[str, str], None],
    ) -> None:
        self._settings, self._agent_id, self._count_error = settings, agent_id, count_error
        self._rejected, self._dead_letter_topic = rejected, dead_letter_topic
        self._entries: dict[tuple[str, int], Outgoing] = {}  # in the order in which they were given
        self._backlog: deque[Outgoing] = deque()
        self._batched = LastingProducer(settings)
        self._single: LastingProducer | None = None
        self.full = False

    @property
    def producer(self) -> Producer:
        """The client as it is now; after a fatal error it is another one."""
        return self._batched.client

    @property
    def on_their_way(self) -> int:
        """Chunks of which the last word is still awaited."""
        return len(self._entries)

    def send(self, stream: StreamRow, chunk: ChunkRow, encoded: Encoded) -> None:
        """Take a chunk to be delivered; word of it comes from `take_done`."""
        entry = Outgoing(self._agent_id, stream, chunk, encoded, encoded.values, encoded.headers)
        encoded.values, encoded.headers = [], []  # librdkafka copies them; one copy is enough
        self._entries[stream.stream_id, chunk.start] = entry
        self._backlog.append(entry)
        self.pump()

    def pump(self) -> None:
        """Hand over as much as librdkafka takes; a stream with failed records waits, so that its order stays."""
        self.full = False
        if self._batched.fatal:
            return
        blocked = set()
        for entry in self._entries.values():
            if entry.holds_up:
                if not entry.retry and entry.stream.stream_id not in blocked:
                    self._hand_over_alone(entry)
                    self._hand_over_letters(entry)
                blocked.add(entry.stream.stream_id)
        kept: deque[Outgoing] = deque()
        for entry in self._backlog:
            if self.full or entry.stream.stream_id in blocked or not self._hand_over(entry):
                kept.append(entry)
                blocked.add(entry.stream.stream_id)
        self._backlog = kept

    def _hand_over(self, entry: Outgoing) -> bool:
        """Give librdkafka a chunk's records; False where some are left."""
        produce = self._batched.client.produce
        heard: Heard = entry.heard
        topic, partition, timestamp = entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms
        with_headers = iter(entry.headers) if entry.headers else None
        taken = 0
        try:
            for value in entry.waiting:
                headers = None
                if with_headers is not None:
                    headers = next(with_headers)
                    heard = entry.heard_with(headers)
                try:
                    produce(topic, value, partition=partition, on_delivery=heard, timestamp=timestamp, headers=headers)
                    entry.unheard += 1
                except KafkaException as error:
                    entry.not_taken(error.args[0], (value, headers))
                taken += 1
        except BufferError:
            self.full = True
        entry.waiting, entry.headers = entry.waiting[taken:], entry.headers[taken:]
        return not entry.waiting

    def _hand_over_alone(self, entry: Outgoing) -> None:
        """Send records whose batch was refused, each in a batch of its own."""
        if not entry.alone:
            return
        if self._single is None:
            self._single = LastingProducer(self._settings, batch_records=1)
        topic, partition, timestamp = entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms
        records, entry.alone = entry.alone, []
        for taken, record in enumerate(records):
            try:
                self._single.client.produce(
                    topic, record[0], partition=partition, on_delivery=entry.heard_alone(record), timestamp=timestamp,
                    headers=record[1],
                )  # fmt: skip
                entry.apart += 1
            except KafkaException as error:
                entry.not_taken(error.args[0], record)
            except BufferError:
                entry.alone = records[taken:]
                return

    def _hand_over_letters(self, entry: Outgoing) -> None:
        """Send what is durable in `rejected/` to the dead-letter topic; the stream is the key, so its order stays."""
        if self._dead_letter_topic is None:
            return
        letters, entry.letters = entry.letters, []
        for taken, letter in enumerate(letters):
            try:
                self._batched.client.produce(
                    self._dead_letter_topic, letter.value, letter.stream_id.encode(), headers=letter.headers(),
                    timestamp=letter.timestamp_ms, on_delivery=entry.heard_letter(letter),
                )  # fmt: skip
                entry.apart += 1
            except KafkaException as error:
                entry.letter_not_taken(error.args[0], letter)
            except BufferError:
                self.full = True
                entry.letters = letters[taken:]
                return

    def poll(self, timeout_s: float) -> None:
        """Serve librdkafka's reports, waiting for the first at most so long."""
        if self._single is not None:
            self._single.poll(0)
        self._batched.poll(timeout_s)

    def take_done(self) -> list[tuple[str, int, ChunkResult]]:
        """Chunks that are delivered as a whole: (stream id, start, what became of it)."""
        done = []
        for key, entry in list(self._entries.items()):
            if entry.unheard or entry.apart or entry.retry:
                continue
            if entry.failed:
                self._sort_failed(entry)
            elif entry.refused and not (entry.waiting or entry.alone):
                self._keep(entry)
            if entry.done:
                del self._entries[key]
                done.append((*key, entry.result))
        return done

    def _sort_failed(self, entry: Outgoing) -> None:
        """Nothing of a chunk is on its way, and some of it failed."""
        self._count_error("not_delivered", "sending")
        logger.warning(
            "not delivered",
            extra={"error": entry.failed[0][0].str(), "records": len(entry.failed), "topic": entry.stream.topic},
        )
        entry.sort_failed()
        if entry.waiting and entry not in self._backlog:
            self._backlog.append(entry)

    def _keep(self, entry: Outgoing) -> None:
        """Make what is refused for good durable; where the disk does not take it, it waits for the next retry."""
        try:
            self._rejected.keep(entry.refused)
        except StorageError as error:
            self._count_error("disk", "storing")
            logger.error("a rejected record waits for the disk", extra={"error": str(error), "source": entry.stream.source})
            entry.retry = True
            return
        self._count_error("rejected", "sending")
        logger.error(
            "records refused for good; they are in rejected/",
            extra={"error": entry.refused[0].error, "records": len(entry.refused), "source": entry.stream.source},
        )
        if self._dead_letter_topic is not None:
            entry.letters = entry.refused
        entry.refused = []

    def retry_failed(self) -> None:
        """Send again what failed, each stream's in order; to be called every RETRY_AFTER_MS."""
        self._batched.renew()
        if self._single is not None:
            self._single.renew()
        for entry in self._entries.values():
            entry.retry = False
        self._backlog = deque(sorted(self._backlog, key=lambda entry: (entry.stream.stream_id, entry.chunk.start)))
        self.pump()

    def let_go(self) -> None:
        """Give up what is on its way, at once: it is sent again by the next run."""
        self._batched.let_go()
        if self._single is not None:
            self._single.let_go()
