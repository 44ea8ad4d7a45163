"""What Kafka says about topics: which there are, their ids, ends and configuration, and single records of theirs.

Everything here asks the cluster and waits a bounded time; whatever goes wrong is a PeerError, to be tried again.
"""

import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType  # type: ignore[attr-defined]  # they are there, and documented

from headrace.audit import AUDIT_TOPIC
from headrace.errors import PeerError
from headrace.librdkafka import CHECKED, close_consumer, is_refuted, reason
from headrace.sinks.lag.backlog import Retention

Where = tuple[str, int]  # (topic, partition)
TIMEOUT_S: Final = 10.0
# Asked every second or two, and what a loader that is told to stop may have to wait for.
LISTING_TIMEOUT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it is now; `topic_id` is None where the broker gives none."""

    topic_id: str | None
    partitions: tuple[int, ...]


def is_wanted(topic: str, patterns: Sequence[re.Pattern[str]]) -> bool:
    """Whether a topic lands: names that begin with `_` are internal, and of these only `_audit` does, always."""
    if topic.startswith("_"):
        return topic == AUDIT_TOPIC
    return any(pattern.fullmatch(topic) for pattern in patterns)


class Topics:
    """The cluster's topics that are to land."""

    def __init__(self, kafka: Mapping[str, Any], patterns: Iterable[str]) -> None:
        self._said: deque[KafkaError] = deque(maxlen=20)
        """What is wrong with connections, as the client says it beside its answers."""
        keys: dict[str, Any] = {"topic.metadata.refresh.interval.ms": -1, "error_cb": self._said.append}
        self._admin = AdminClient({**client_keys(kafka), **keys})
        self._servers = kafka["bootstrap.servers"]
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._compacts: dict[str, bool] = {}

    @property
    def patterns(self) -> list[str]:
        """Of the names of topics that are to land."""
        return [pattern.pattern for pattern in self._patterns]

    def find(self, only: str | None = None) -> dict[str, Topic]:
        """All wanted topics, by name; or only one."""
        try:
            listed = self._admin.list_topics(timeout=LISTING_TIMEOUT_S).topics
        except KafkaException as error:
            self._admin.poll(0)
            known = [said.str() for said in self._said if said.code() != KafkaError._ALL_BROKERS_DOWN]
            where = f"{self._servers} (kafka.bootstrap.servers)"
            why = known[-1] if known else reason(error)
            raise PeerError(f"kafka: topics cannot be listed: no answer from {where}: {why}") from error
        there = [name for name, topic in listed.items() if topic.error is None]
        names = sorted(name for name in there if (is_wanted(name, self._patterns) if only is None else name == only))
        ids = self.ids(names)
        return {name: Topic(ids[name], tuple(sorted(listed[name].partitions))) for name in names if name in ids}

    def ids(self, names: Sequence[str]) -> dict[str, str | None]:
        """The ids of those of `names` that exist."""
        if not names:
            return {}
        futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S)
        found: dict[str, str | None] = {}
        for name, future in futures.items():
            try:
                found[name] = _id(future.result().topic_id)
            except KafkaException as error:
                if error.args[0].code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
                    raise PeerError(f"kafka: topic {name} cannot be described: {reason(error)}") from error
        return found

    def bounds(self, where: Iterable[Where]) -> dict[Where, tuple[int, int]]:
        """(log start, end of what a read_committed consumer may see) of partitions; those that cannot be asked are left out."""
        partitions = [TopicPartition(topic, partition) for topic, partition in where]
        starts = self._listed(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # its client has no types here
        ends = self._listed(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # its client has no types here
        return {at: (starts[at].offset, ends[at].offset) for at in starts if at in ends}

    def ends(self, where: Iterable[Where]) -> dict[Where, int]:
        """The end of what partitions have replicated, also of transactions that are open; those that cannot be asked are left
        out."""
        partitions = [TopicPartition(topic, partition) for topic, partition in where]
        found = self._listed(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)  # type: ignore[no-untyped-call]  # its client has no types here
        return {at: info.offset for at, info in found.items()}

    def newest_ms(self, where: Iterable[Where]) -> int | None:
        """The greatest timestamp of all records in partitions; None where there is none, or none can be asked."""
        partitions = [TopicPartition(topic, partition) for topic, partition in where]
        found = self._listed(partitions, OffsetSpec.max_timestamp()).values()  # type: ignore[no-untyped-call]  # its client has no types here
        return max((info.timestamp for info in found if info.timestamp >= 0), default=None)

    def offsets_at(self, where: Iterable[Where], time_ms: int) -> dict[Where, int | None]:
        """The first offset of each partition with that Kafka time or a later one; None where there is none."""
        partitions = [TopicPartition(topic, partition) for topic, partition in where]
        found = self._listed(partitions, OffsetSpec.for_timestamp(time_ms))
        return {at: info.offset if info.offset >= 0 else None for at, info in found.items()}

    def _listed(
        self,
        partitions: list[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Where, Any]:
        if not partitions:
            return {}
        futures: Mapping[TopicPartition, Future[Any]] = self._admin.list_offsets(
            dict.fromkeys(partitions, spec), isolation_level=isolation, request_timeout=TIMEOUT_S
        )
        found: dict[Where, Any] = {}
        for partition, future in futures.items():
            try:
                found[partition.topic, partition.partition] = future.result()
            except KafkaException:
                continue  # a leader is away; it is asked again at the next look
        return found

    def compacts(self, topic: str) -> bool:
        """Whether holes in a topic's offsets may be compaction's; asked once."""
        if topic not in self._compacts:
            resource = ConfigResource(ResourceType.TOPIC, topic)
            try:
                (future,) = self._admin.describe_configs([resource], request_timeout=TIMEOUT_S).values()
                self._compacts[topic] = "compact" in future.result()["cleanup.policy"].value
            except (KafkaException, KeyError):
                return topic == AUDIT_TOPIC  # compacted by definition, even where a broker cannot say so
        return self._compacts[topic]

    def members(self, group: str) -> list[str] | None:
        """The client ids of a consumer group's members; None if they cannot be known."""
        try:
            (future,) = self._admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
            return [member.client_id for member in future.result().members]
        except KafkaException as error:
            return [] if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND else None

    def retention(self, topics: Sequence[str]) -> dict[str, Retention]:
        """When retention takes records of these topics; those that may not be asked for, or do not answer, are left out."""
        if not topics:
            return {}
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        found: dict[str, Retention] = {}
        for resource, future in self._admin.describe_configs(resources, request_timeout=TIMEOUT_S).items():
            try:
                settings = {name: entry.value for name, entry in future.result().items()}
                found[resource.name] = _retention(settings)
            except (KafkaException, KeyError, ValueError):
                continue
        return found


def _retention(settings: Mapping[str, str]) -> Retention:
    if "delete" not in settings["cleanup.policy"]:
        return Retention()
    ms, size = int(settings["retention.ms"]), int(settings["retention.bytes"])
    return Retention(ms if ms >= 0 else None, size if size >= 0 else None)


class SpotReader:
    """Reads single records at given offsets, on a consumer of its own that never commits."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._consumer = Consumer(
            {
                **client_keys(kafka),
                "group.id": f"headrace-load-spot-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                **CHECKED,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                "queued.max.messages.kbytes": 1024,
                "fetch.message.max.bytes": 65536,
            }
        )

    def records_at(self, offsets: Mapping[Where, int]) -> dict[Where, Any]:
        """The record at exactly that offset of each partition; None where there is none. Who does not answer is left out.

        Raises:
            PeerError: nobody says where the partitions are.
        """
        found = self.records_from(offsets)
        return {
            where: record if record is not None and record.offset() == offsets[where] else None
            for where, record in found.items()
        }

    def records_from(self, offsets: Mapping[Where, int]) -> dict[Where, Any]:
        """The first record at that offset of each partition or after it; None where there is none yet. Who does not answer
        is left out.

        Raises:
            PeerError: nobody says where the partitions are.
        """
        waiting = dict(offsets)
        found: dict[Where, Any] = {}
        if not offsets:
            return found
        self._consumer.assign([TopicPartition(*where, offset) for where, offset in offsets.items()])
        deadline = time.monotonic() + TIMEOUT_S
        try:
            learn_leaders(self._consumer)
            while waiting and time.monotonic() < deadline:
                message = self._consumer.poll(0.5)
                if message is None:
                    continue
                where = (message.topic(), message.partition())
                error = message.error()
                if where not in waiting or (error is not None and error.retriable()):
                    continue
                del waiting[where]
                if not is_refuted(message):  # bytes that a CRC refutes are no answer
                    found[where] = message if error is None else None
        finally:
            self._consumer.unassign()
        return found

    def close(self) -> None:
        close_consumer(self._consumer)


def learn_leaders(consumer: Consumer, *, timeout_s: float = TIMEOUT_S) -> dict[Where, tuple[str, int]]:
    """The (host, port) of each partition's leader; and let a consumer ask at once where the topics are that are assigned to it:
    left alone it asks a second later.

    Raises:
        PeerError: no answer.
    """
    try:
        cluster = consumer.list_topics(timeout=timeout_s)
    except KafkaException as error:
        raise PeerError(f"kafka: topics cannot be listed: {reason(error)}") from error
    return {
        (topic.topic, partition.id): (cluster.brokers[partition.leader].host, cluster.brokers[partition.leader].port)
        for topic in cluster.topics.values()
        for partition in topic.partitions.values()
        if partition.error is None and partition.leader in cluster.brokers
    }


def client_keys(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """For the clients beside the loader's consumer, which logs what is wrong with connections for all of them."""
    return {"log_level": 2} | {key: value for key, value in kafka.items() if key != "group.id"}


def _id(topic_id: Any) -> str | None:
    if topic_id is None:
        return None
    bits = (topic_id.get_most_significant_bits() % (1 << 64)) << 64 | topic_id.get_least_significant_bits() % (1 << 64)
    return str(uuid.UUID(int=bits)) if bits else None
