"""Records to the broker and word of them back, with no time limit and nothing dropped (design D6).

A chunk is done when each of its records is acknowledged, or was refused for good and is durable in `rejected/` and, where one
is named, acknowledged by the dead-letter topic. Refused for good means refused for what the record is; whatever else goes wrong
(a broker or the dead-letter topic away, a right revoked, a topic deleted, a full disk) is tried again for ever, the failed
records of a stream first and in order, and nothing new of that stream is sent meanwhile.

librdkafka's queue is bounded: where it is full, the rest of a chunk waits here, and the agent reads nothing more.
"""

import logging
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any

from confluent_kafka import KafkaException, Producer

from headrace.agents.clients import Clients
from headrace.agents.events.encoded import Encoded
from headrace.agents.outgoing import Outgoing
from headrace.agents.producer import TOO_LARGE, LastingProducer
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
        self._agent_id, self._count_error = agent_id, count_error
        self._rejected, self._dead_letter_topic = rejected, dead_letter_topic
        self._entries: dict[tuple[str, int], Outgoing] = {}  # in the order in which they were given
        self._clients = Clients(settings)
        self._narrow: dict[str, LastingProducer] = {}  # what streams were last handed to, where it is not the usual client
        self.full = False

    @property
    def producer(self) -> Producer:
        """The client as it is now; after a fatal error it is another one."""
        return self._clients.batched.client

    @property
    def on_their_way(self) -> int:
        """Chunks of which the last word is still awaited."""
        return len(self._entries)

    def send(self, stream: StreamRow, chunk: ChunkRow, encoded: Encoded) -> None:
        """Take a chunk to be delivered; word of it comes from `take_done`."""
        entry = Outgoing(self._agent_id, stream, chunk, encoded, encoded.values, encoded.headers)
        encoded.values, encoded.headers = [], []  # librdkafka copies them; one copy is enough
        self._entries[stream.stream_id, chunk.start] = entry
        self.pump()

    def pump(self) -> None:
        """Hand over as much as librdkafka takes, of each stream in order: nothing behind what failed or waits."""
        self.full = False
        if self._clients.batched.fatal:
            return
        blocked: set[str] = set()
        on_their_way: set[str] = set()
        for entry in self._entries.values():
            stream_id = entry.stream.stream_id
            if stream_id in blocked:
                continue
            if entry.waiting and not (self.full or entry.holds_up):
                self._hand_over(entry, is_alone=not (entry.unheard or stream_id in on_their_way))
            if entry.waiting or entry.holds_up:
                blocked.add(stream_id)
                if not (entry.retry or entry.failed) and stream_id not in on_their_way:  # the other client may be faster
                    self._hand_over_alone(entry)
                    self._hand_over_letters(entry)
            if entry.unheard:
                on_their_way.add(stream_id)

    def _hand_over(self, entry: Outgoing, *, is_alone: bool) -> None:
        """Give librdkafka a chunk's records, until it takes no more, or one fails.

        By position: confluent_kafka needs 0.8 µs to take arguments by name, and 0.4 so. `is_alone`: nothing of the stream is on
        its way, so that it may go by another client.
        """
        client = self._client_of(entry.stream, is_alone=is_alone)
        if client is None:
            return
        produce, heard = client.client.produce, entry.heard
        topic, partition, timestamp = entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms
        taken = failed = 0
        try:
            for value, headers in zip(entry.waiting, entry.headers or repeat(None), strict=False):
                report = heard if headers is None else entry.heard_with(headers)
                try:
                    produce(topic, value, None, partition, report, None, timestamp, headers)
                except KafkaException as error:
                    failed += 1
                    if not entry.not_taken(error.args[0], (value, headers)):
                        taken += 1
                        break
                taken += 1
        except BufferError:
            self.full = True
        entry.unheard += taken - failed
        entry.waiting, entry.headers = entry.waiting[taken:], entry.headers[taken:]

    def _client_of(self, stream: StreamRow, *, is_alone: bool) -> LastingProducer | None:
        """The client for a stream's next records; None while another has some on their way, or it has ended."""
        usual, client = self._clients.batched, self._clients.of(stream.topic)
        if client is not self._narrow.get(stream.stream_id, usual):
            if not is_alone:
                return None
            self._narrow[stream.stream_id] = client
        return None if client.fatal else client

    def _hand_over_alone(self, entry: Outgoing) -> None:
        """Send records whose batch was refused, each in a batch of its own."""
        topic, partition, timestamp = entry.stream.topic, entry.stream.partition, entry.chunk.read_time_ms
        records, entry.alone = entry.alone, []
        for taken, record in enumerate(records):
            try:
                self._clients.one_by_one().produce(
                    topic, record[0], partition=partition, on_delivery=entry.heard_alone(record), timestamp=timestamp,
                    headers=record[1],
                )  # fmt: skip
                entry.apart += 1
            except KafkaException as error:
                if not entry.not_taken(error.args[0], record):
                    entry.alone = records[taken + 1 :]
                    return
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
                self._clients.one_by_one().produce(
                    self._dead_letter_topic, letter.value, letter.stream_id.encode(), headers=letter.headers(),
                    timestamp=letter.timestamp_ms, on_delivery=entry.heard_letter(letter),
                )  # fmt: skip
                entry.apart += 1
            except KafkaException as error:
                if not entry.letter_not_taken(error.args[0], letter):
                    entry.letters += letters[taken + 1 :]
                    return
            except BufferError:
                entry.letters = letters[taken:]
                return

    def poll(self, timeout_s: float) -> None:
        """Serve librdkafka's reports, waiting for the first at most so long."""
        self._clients.poll(timeout_s)

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
        if len(entry.failed) > 1 and any(error.code() in TOO_LARGE for error, _ in entry.failed):
            self._clients.refused(entry.stream.topic)
        entry.sort_failed()

    def _keep(self, entry: Outgoing) -> None:
        """Make what is refused for good durable; where the disk does not take it, it waits for the next retry."""
        entry.refused.sort(key=lambda record: (record.position, record.part))
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
        self._clients.renew()
        for entry in self._entries.values():
            entry.retry = False
        self.pump()

    def let_go(self) -> None:
        """Give up what is on its way, at once: it is sent again by the next run."""
        self._clients.let_go()
