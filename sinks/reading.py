"""What the loader reads, and from where on: it knows Kafka's client and the fetcher, and no tables.

Partitions are explicitly assigned. They begin with the fetcher, where it can speak to the cluster (ADR 0003), and those that it
leaves go on with Kafka's client: an idle one until much comes of it again, one that is not ordinary for a minute at least.

Both check each batch's CRC. The fetcher leaves what is wrong to the client; the client tells of it, and would go on behind it:
it is read again instead, from the first such batch on, a second later.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.clock import Clock, MonotonicMs
from headrace.errors import PeerError
from headrace.librdkafka import CHECKED, REFUTED_REST_MS, Refuted, close_consumer, is_refuted, unrepeated
from headrace.sinks.fetching.connection import Address
from headrace.sinks.fetching.fetcher import Fetcher, Left
from headrace.sinks.fetching.holes import Holes, Unread, look
from headrace.sinks.fetching.records import FetchedRecord, Records
from headrace.sinks.fetching.security import UnsecuredError, security_of
from headrace.sinks.metrics import WRONG_CRCS
from headrace.sinks.topics import LISTING_TIMEOUT_S, Where, learn_leaders

logger = logging.getLogger(__name__)

BATCH_RECORDS: Final = 20_000
WAIT_MS: Final = 100
FETCH_AGAIN_RECORDS: Final = 2000
"""So many records of a partition at once from Kafka's client, and it is worth fetching."""
DISTRUST_MS: Final = 60_000
_FETCHED_KEYS: Final = frozenset(
    {"bootstrap.servers", "metadata.broker.list", "client.id", "group.id", "security.protocol", "log_level"}
)
"""Settings under which the fetcher reads as Kafka's client does: with any other, the client reads alone."""
GROUP: Final = "headrace-load"


def can_fetch(kafka: Mapping[str, Any]) -> bool:
    """Whether the fetcher can speak to a cluster by these settings: neither TLS nor SASL, nor anything it does not know."""
    return kafka.keys() <= _FETCHED_KEYS and str(kafka.get("security.protocol", "plaintext")).lower() == "plaintext"


@dataclass(slots=True)
class Read:
    """What has been read: records by partition, in offset order; then ends of partitions, and errors of Kafka's client.

    `passed`: up to where partitions that are fetched have been read, also where there were no records for us.
    """

    records: list[tuple[Where, Sequence[Any]]] = field(default_factory=list)
    ends: list[tuple[Where, int]] = field(default_factory=list)
    passed: list[tuple[Where, int]] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)


class Reading:
    """All partitions that are being read. The group's committed offsets are written, and never read."""

    def __init__(self, kafka: Mapping[str, Any], clock: Clock) -> None:
        self._clock = clock
        self._fetcher = Fetcher(str(kafka.get("client.id", "rdkafka")), clock) if can_fetch(kafka) else None
        self._client_id = str(kafka.get("client.id", "rdkafka"))
        self._security = security_of(kafka)
        self._holes = Holes(self._look)
        self._distrusted_ms: dict[Where, MonotonicMs] = {}
        """When a partition was not ordinary."""
        self._handed_out: Sequence[tuple[Where, Sequence[FetchedRecord]]] = ()
        """What was fetched in the last turn."""
        self._assigned: dict[Where, int] = {}
        """To Kafka's client, and from which offset on."""
        self._wrong: dict[Where, tuple[int, MonotonicMs]] = {}
        """Partitions that nobody reads, and from which offset on they are to be read again, and when."""
        self._refuted = Refuted()
        self._consumer = Consumer(
            {
                "group.id": GROUP,
                "queued.max.messages.kbytes": 10240,  # small messages take three times as much
                "fetch.queue.backoff.ms": 20,  # how long it rests when that is full; of itself a second
                "fetch.wait.max.ms": 100,
                **kafka,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                **CHECKED,
                "isolation.level": "read_committed",
            },
            logger=unrepeated(f"{__name__}.librdkafka"),
        )

    def batch(self) -> Read:
        """What has come since, after a short wait for much of it."""
        is_fetching = self.fetched > 0
        read = self._from_client(0 if is_fetching else WAIT_MS / 1000)
        if self._fetcher is None:
            return read
        if not is_fetching:
            self._fetch_again(read)
            return read
        for where, records in self._handed_out:
            if isinstance(records, Records) and records.is_mixed:
                self._fetcher.leave(where, "records with headers, or of which some have no key or value")
        fetched = self._fetcher.turn(0 if read.records else WAIT_MS)
        self._handed_out = fetched.records
        for where, unread in fetched.unread:
            self._holes.note(where, unread)
        self._go_on_with_client(fetched.left)
        self._fetch_again(read)
        read.records += fetched.records
        read.ends += fetched.ends
        read.passed += fetched.passed
        return read

    def _from_client(self, wait_s: float) -> Read:
        """What Kafka's client has."""
        now_ms = self._clock.monotonic_ms()
        if again := {where: offset for where, (offset, at_ms) in self._wrong.items() if at_ms <= now_ms}:
            self._assign(again)
        read = _sorted(self._consumer.consume(BATCH_RECORDS, wait_s))
        wrong: dict[Where, Any] = {}
        for event in read.errors:
            if is_refuted(event) and (event.topic(), event.partition()) in self._assigned:
                wrong.setdefault((event.topic(), event.partition()), event)
        if wrong:
            self._read_again(read, wrong)
        for where, records in read.records:
            self._refuted.passed(*where, records[-1].offset() + 1)
        return read

    def _read_again(self, read: Read, wrong: Mapping[Where, Any]) -> None:
        """Leave out what the client makes of the bytes behind a wrong CRC: other records, ends, and offsets that are none."""
        for where, event in wrong.items():
            offset = max(event.offset(), self._assigned[where])  # the batch's, in the middle of which it may have begun
            now_ms = self._clock.monotonic_ms()
            self._wrong[where] = offset, MonotonicMs(now_ms + REFUTED_REST_MS)
            self._refuted.note(*where, offset, now_ms)
            WRONG_CRCS.labels(where[0]).inc()
            self.distrust(where)
        self._unassign(wrong)
        right = (
            (where, [one for one in records if one.offset() < self._wrong[where][0]] if where in wrong else records)
            for where, records in read.records
        )
        read.records = [(where, records) for where, records in right if records]
        read.ends = [(where, end) for where, end in read.ends if where not in wrong]
        read.errors = [event for event in read.errors if (event.topic(), event.partition()) not in wrong]

    def begin(self, offsets: Mapping[Where, int]) -> None:
        """Read partitions, each from an offset on.

        Raises:
            PeerError: no answer about where they are; they are read all the same, a second later.
        """
        if not offsets:
            return
        trusted = [where for where in offsets if self._is_trusted(where)]
        try:
            leaders = learn_leaders(self._consumer) if trusted else {}
        except PeerError:
            self._assign(offsets)
            raise
        fetched = self._fetch(leaders, {where: offsets[where] for where in trusted})
        if rest := {where: offset for where, offset in offsets.items() if where not in fetched}:
            self._assign(rest)
            learn_leaders(self._consumer)

    def _assign(self, offsets: Mapping[Where, int], epochs: Mapping[Where, int] | None = None) -> None:
        """Let Kafka's client read; `epochs`: of the records before, where they are known."""
        known = epochs or {}
        places = [TopicPartition(*where, offset, leader_epoch=known.get(where, -1)) for where, offset in offsets.items()]
        self._consumer.incremental_assign(places)
        self._assigned |= offsets
        for where in offsets:
            self._wrong.pop(where, None)

    def _unassign(self, gone: Iterable[Where]) -> None:
        if there := [where for where in gone if self._assigned.pop(where, None) is not None]:
            self._consumer.incremental_unassign([TopicPartition(*where) for where in there])

    @property
    def fetched(self) -> int:
        """How many partitions are being fetched; Kafka's client reads the others."""
        return 0 if self._fetcher is None else len(self._fetcher)

    def _is_trusted(self, where: Where) -> bool:
        """Whether a partition may be fetched."""
        since_ms = self._distrusted_ms.get(where)
        return self._fetcher is not None and (since_ms is None or self._clock.monotonic_ms() - since_ms >= DISTRUST_MS)

    def _fetch(self, leaders: Mapping[Where, Address], offsets: Mapping[Where, int]) -> set[Where]:
        """Fetch those of the partitions whose leaders are known: them."""
        known = leaders.keys() & offsets.keys()
        for where in known:
            assert self._fetcher is not None, "they are trusted"
            self._fetcher.begin(where, offsets[where], leaders[where])
        return known

    def _fetch_again(self, read: Read) -> None:
        """Fetch partitions of which the client has much."""
        much = {
            where: records[-1].offset() + 1
            for where, records in read.records
            if len(records) >= FETCH_AGAIN_RECORDS and self._is_trusted(where)
        }
        if not much:
            return
        try:
            leaders = learn_leaders(self._consumer, timeout_s=LISTING_TIMEOUT_S)
        except PeerError as error:
            logger.info("%s", error)
            return
        self._unassign(self._fetch(leaders, much))

    def _go_on_with_client(self, left: Sequence[Left]) -> None:
        for one in left:
            if one.why:
                self.distrust(one.where)
        for why, count in Counter(one.why for one in left if one.why).items():
            logger.info("partitions are read by kafka's client for now: %s", why, extra={"partitions": count})
        if left:
            self._assign({one.where: one.offset for one in left}, {one.where: one.epoch for one in left})

    def distrust(self, where: Where) -> None:
        """Do not fetch a partition for a while: Kafka's client knows what to do."""
        self._distrusted_ms[where] = self._clock.monotonic_ms()

    def cause(self, where: Where, start: int, end: int) -> tuple[int, str | None]:
        """Why nothing was read of [start, end): the first piece's end, and `control`, `aborted`, or None: nothing explains it.

        Where batches cannot be looked at (Kerberos, tokens) the client's word, that it has left nothing out that it should have
        given, is taken for `control`.

        Raises:
            PeerError: the broker does not answer.
        """
        if self._security is not None:
            try:
                return self._holes.cause(where, start, end)
            except UnsecuredError as error:
                logger.warning("what lies between records is taken for control batches from now on: %s", error)
                self._security = None
        return end, "control"

    def _look(self, where: Where, start: int, end: int) -> Unread:
        leaders = learn_leaders(self._consumer, timeout_s=LISTING_TIMEOUT_S)
        if where not in leaders:
            raise PeerError(f"kafka: topic {where[0]}: partition {where[1]} has no leader now")
        assert self._security is not None, "else nothing is looked at"
        return look(leaders[where], where, start, end, self._client_id, self._security)

    def begin_again(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Read on after `end`, and be told again where the log ends."""
        try:
            self.begin({(topic, partition): offset for partition, offset in offsets.items()})
        except PeerError as error:
            logger.warning("%s", error)

    def end(self, topic: str, partitions: Iterable[int]) -> None:
        """Read partitions no more, or no further for now."""
        gone = [(topic, partition) for partition in partitions]
        for where in gone:
            self._wrong.pop(where, None)
            self._refuted.forget(*where)
            if self._fetcher is not None:
                self._fetcher.end(where)
        self._unassign(gone)

    def tell_landed(self, topic: str, ends: Mapping[int, int]) -> None:
        """Commit the group's offsets, for lag tools and for retention that waits; failing does no harm."""
        try:
            if ends:
                self._consumer.commit(offsets=_at(topic, ends), asynchronous=True)
        except KafkaException as error:
            logger.warning("the group's offsets (for lag tools) were not committed: %s", error)

    def close(self) -> None:
        """End the client, within a bounded time."""
        if self._fetcher is not None:
            self._fetcher.close()
        close_consumer(self._consumer)


def _sorted(messages: list[Message]) -> Read:
    """What the client gives, and events instead of some: errors, and ends of partitions."""
    good, read = messages, Read()
    if events := [message for message, error in zip(messages, map(Message.error, messages), strict=True) if error is not None]:
        good = [message for message in messages if message.error() is None]
    by_partition: dict[Where, list[Any]] = {}
    at = 0
    for where, run in groupby(zip(map(Message.topic, good), map(Message.partition, good), strict=True)):
        end = at + len(list(run))
        by_partition.setdefault(where, []).extend(good[at:end])  # type: ignore[arg-type] # records have both
        at = end
    read.records = list(by_partition.items())
    for event in events:
        if event.error().code() == KafkaError._PARTITION_EOF:  # type: ignore[union-attr] # events have errors
            read.ends.append(((event.topic(), event.partition()), event.offset()))  # type: ignore[arg-type] # and ends a place
        else:
            read.errors.append(event)
    return read


def _at(topic: str, offsets: Mapping[int, int]) -> list[TopicPartition]:
    return [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
