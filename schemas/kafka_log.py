"""The topic `_schemas` on a Kafka broker, for a registry on an event loop.

librdkafka's calls block, so two threads carry them: one follows the log from its beginning, for ever, and hands what it reads
to the event loop; one serves the producer's acknowledgements. The broker may be away at any time: following goes on when it is
back.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # they are there, and documented

from headrace.errors import HeadraceError, PeerError
from headrace.librdkafka import CHECKED, REFUTED_REST_MS, Refuted, checked_keys, is_refuted, reason
from headrace.schemas.schema_log import LogReader, LogRecord

logger = logging.getLogger(__name__)
_ACK_MS: Final = 10_000
_ASK_S: Final = 2.0
_RETRY_S: Final = 0.5
_QUIET_S: Final = 60.0
_READ_AT_ONCE: Final = 500


class UnusableTopicError(HeadraceError):
    """The topic is there, but schemas kept in it would get lost or out of order."""


class KafkaSchemaLog:
    """`SchemaLog` on a topic with one partition.

    Args:
        kafka: librdkafka's keys.
        on_failure: called on the event loop when following the log has ended for good.
    Raises:
        ConfigError: librdkafka refuses a key.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, *, on_failure: Callable[[HeadraceError], None]) -> None:
        self._topic = topic
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._refuted = Refuted()
        self._cluster_id: str | None = None
        self._topic_is_there = asyncio.Event()  # until then the producer would make it, with the broker's defaults
        common: dict[str, Any] = {
            "logger": logger,
            "log_level": 2,  # what goes wrong with connections comes to error_cb, once for every try
            "error_cb": _Complaints(),
            "reconnect.backoff.max.ms": 1000,
            **kafka,
        }
        with checked_keys():
            self._admin = AdminClient(common)
            self._producer = Producer(
                {**common, "acks": "all", "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": _ACK_MS}
            )
            self._consumer = Consumer(
                {
                    **common,
                    **CHECKED,
                    "group.id": "headrace-registry",  # librdkafka wants one; nothing is ever committed
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "isolation.level": "read_committed",
                    "fetch.wait.max.ms": 100,
                }
            )

    def follow(self, reader: LogReader) -> None:
        """Begin to give the log to `reader`; call it once, on the event loop."""
        loop = asyncio.get_running_loop()
        for name, target, args in (("follow", self._follow, (loop, reader)), ("acks", self._serve_acks, ())):
            thread = threading.Thread(target=target, args=args, name=f"schemas-{name}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End both threads; blocks for up to a second."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    async def append(self, key: bytes, value: bytes | None) -> int:
        await self._topic_is_there.wait()
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[int] = loop.create_future()

        def deliver(error: KafkaError | None, offset: int | None) -> None:
            if acknowledged.done():
                return
            if error is None and offset is not None:
                acknowledged.set_result(offset)
            else:
                acknowledged.set_exception(
                    PeerError(f"{self._topic}: {error.str() if error else 'no offset'}; is the broker running?")
                )

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(deliver, error, message.offset())

        try:
            self._producer.produce(self._topic, key=key, value=value, partition=0, on_delivery=on_delivery)
        except (KafkaException, BufferError) as error:
            raise PeerError(f"{self._topic}: {reason(error)}; try again later") from error
        return await acknowledged

    async def end_offset(self) -> int:
        await self._topic_is_there.wait()
        return await asyncio.to_thread(self._ask_end_offset)

    async def cluster_id(self) -> str:
        if self._cluster_id is None:
            self._cluster_id = await asyncio.to_thread(self._ask_cluster_id)
        return self._cluster_id

    def _ask_cluster_id(self) -> str:
        try:
            return str(self._admin.list_topics(timeout=_ASK_S).cluster_id)
        except KafkaException as error:
            raise PeerError(f"{self._topic}: {reason(error)}; is the broker running?") from error

    def _ask_end_offset(self) -> int:
        try:
            return self._offset_at(OffsetSpec.latest())  # type: ignore[no-untyped-call]  # its client has no types here
        except (KafkaException, TimeoutError) as error:
            raise PeerError(f"{self._topic}: {reason(error)}; is the broker running?") from error

    def _offset_at(self, which: OffsetSpec) -> int:
        # By the administrator's client: the consumer's own question waits for ever while another thread consumes.
        partition = TopicPartition(self._topic, 0)
        answer = self._admin.list_offsets({partition: which}, request_timeout=_ASK_S)[partition]
        return int(answer.result(2 * _ASK_S).offset)

    def _serve_acks(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(0.2)
            self._admin.poll(0)  # its log

    def _follow(self, loop: asyncio.AbstractEventLoop, reader: LogReader) -> None:
        try:
            self._until_stopped(loop, reader)
        except HeadraceError as error:
            if not self._stopping.is_set():
                loop.call_soon_threadsafe(self._on_failure, error)
        finally:
            self._consumer.close()

    def _until_stopped(self, loop: asyncio.AbstractEventLoop, reader: LogReader) -> None:
        if not self._ensure_topic():
            return
        loop.call_soon_threadsafe(self._topic_is_there.set)
        start = self._start_offset()
        if start is None:
            return
        self._consumer.assign([TopicPartition(self._topic, 0, start)])
        while not self._stopping.is_set():
            records: list[LogRecord] = []
            for message in self._next_messages():
                error, offset = message.error(), message.offset()
                if error is None and offset is not None:
                    records.append(LogRecord(offset, message.key(), message.value()))
                    start = offset + 1
                elif is_refuted(message):  # what the client reads behind it may be anything
                    self._read_again(max(start, offset or 0))
                    break
                elif error is None or error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    continue  # there is no group that we could be in
                elif error.code() == KafkaError._PARTITION_EOF and offset is not None:
                    loop.call_soon_threadsafe(reader.on_records, records)
                    loop.call_soon_threadsafe(reader.on_end, offset)
                    records = []
                elif error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
                    raise UnusableTopicError(
                        f"{self._topic}: {error.str()}; it was made again, or cut: start the registry again"
                    )
                else:
                    logger.warning("reading schemas failed, trying on", extra={"topic": self._topic, "reason": error.str()})
            self._refuted.passed(self._topic, 0, start)
            if records:
                loop.call_soon_threadsafe(reader.on_records, records)

    def _read_again(self, offset: int) -> None:
        """From a batch on whose CRC was wrong: a schema that is left out, or another, would be known under its id for ever."""
        self._refuted.note(self._topic, 0, offset, time.monotonic_ns() // 1_000_000)
        self._consumer.unassign()
        self._stopping.wait(REFUTED_REST_MS / 1000)
        self._consumer.assign([TopicPartition(self._topic, 0, offset)])

    def _next_messages(self) -> list[Message]:
        """What there is; waits a little for one, but not for more."""
        first = self._consumer.poll(0.2)
        return [] if first is None else [first, *self._consumer.consume(_READ_AT_ONCE, timeout=0)]

    def _wait_for_broker(self, error: Exception) -> None:
        logger.info("waiting for the broker", extra={"topic": self._topic, "reason": reason(error)})
        self._stopping.wait(_RETRY_S)

    def _start_offset(self) -> int | None:
        """Where the log begins: 0, or later where somebody deleted records. None when stopped before the broker answered."""
        while not self._stopping.is_set():
            try:
                # Otherwise the consumer looks for a topic that it does not know only after a second.
                self._consumer.list_topics(self._topic, timeout=_ASK_S)
                return self._offset_at(OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # its client has no types here
            except (KafkaException, TimeoutError) as error:
                self._wait_for_broker(error)
        return None

    def _ensure_topic(self) -> bool:
        """Make the topic if it is missing, and check it if it is there; False when stopped before the broker answered.

        Raises:
            UnusableTopicError: it is there, with other partitions or another cleanup policy.
        """
        while not self._stopping.is_set():
            try:
                topics = self._admin.list_topics(timeout=_ASK_S).topics  # not of this topic: asking might make it
                if self._topic in topics:
                    self._check_topic(len(topics[self._topic].partitions))
                    return True
                new = NewTopic(self._topic, 1, -1, config={"cleanup.policy": "compact"})
                self._admin.create_topics([new], operation_timeout=_ASK_S, request_timeout=_ASK_S)[self._topic].result()
                logger.info("topic created", extra={"topic": self._topic})
            except (KafkaException, TimeoutError) as error:
                self._wait_for_broker(error)
        return False

    def _check_topic(self, partitions: int) -> None:
        if partitions != 1:
            raise UnusableTopicError(
                f"{self._topic} has {partitions} partitions; a registry needs a topic with one, in one order"
            )
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
        try:
            policy = self._admin.describe_configs([resource], request_timeout=_ASK_S)[resource].result()["cleanup.policy"].value
        except (KafkaException, KeyError, TimeoutError) as error:  # a broker may not serve it, or not to us
            logger.info("cleanup.policy cannot be read", extra={"topic": self._topic, "reason": reason(error)})
            return
        if policy != "compact":
            raise UnusableTopicError(f"{self._topic} has cleanup.policy={policy}, which deletes schemas; set it to compact")


class _Complaints:
    """librdkafka's errors in the log, the same one once a minute."""

    def __init__(self) -> None:
        self._said_at: dict[int, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._said_at.get(error.code(), -_QUIET_S) >= _QUIET_S:
            self._said_at[error.code()] = now
            logger.warning("kafka", extra={"reason": error.str()})
