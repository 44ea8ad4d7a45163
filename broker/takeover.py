"""Topics that Apache Kafka has left in our log directories: taken over with their ids, partitions and settings, once.

Before any log is opened, so that retention never runs with other settings than the topic's own (KAFKA-9254). What Kafka kept
elsewhere (its server.properties) or what this broker keeps in another form (users, access rules, quotas) is named in the log.
If Kafka has run on the directory again since, what it changed is taken over anew.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from headrace.broker.coordination.store import CoordinationStore, TopicExistsError, TopicRecord
from headrace.broker.log.cluster_metadata import ClusterMetadata, KafkaTopic, read_cluster_metadata
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.disk import Disk
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.topic_names import INTERNAL_TOPICS, OFFSETS_TOPIC
from headrace.errors import ConfigError

logger = logging.getLogger(__name__)
_KIND = "kafka.metadata"  # of store entries: log directory → the end of Kafka's metadata log when it was taken over
_SETTINGS_SAID_BY_US = frozenset({"unclean.leader.election.enable"})  # one broker keeps one copy: they change nothing
_MAX_PRODUCER_ID = 1 << 62  # clients choose what they send: a greater one is no reason to run out of ids


def internal_settings(name: str, segment_bytes: int) -> dict[str, str]:
    """The settings of an internal topic of which nothing else is known: compacted, so that retention deletes nothing of it."""
    if name not in INTERNAL_TOPICS:
        return {}
    return {"cleanup.policy": "compact", **({"segment.bytes": str(segment_bytes)} if name == OFFSETS_TOPIC else {})}


@dataclass(frozen=True, slots=True)
class Taken:
    """Topics that are being taken over, and where Kafka's metadata ended: by log directory, to be noted when all is done."""

    topics: frozenset[UUID]
    ends: Mapping[str, str]


def take_over(store: CoordinationStore, disk: Disk, directories: Sequence[str]) -> Taken:
    """Make known to the store what Kafka's metadata in these log directories says, unless that was done.

    Returns:
        What is to be settled when the logs are open; until then a crash lets the next start begin again.
    Raises:
        VersionError: Kafka is newer than what we read. CorruptError: its metadata cannot be read. OSError: the disk fails.
    """
    done = store.entries(_KIND)
    taken: set[UUID] = set()
    ends: dict[str, str] = {}
    for directory in directories:
        metadata = read_cluster_metadata(disk, directory)
        if metadata is None or done.get(directory) == str(metadata.end_offset):
            continue
        known = {topic.topic_id: topic for topic in store.topics()}
        for topic in metadata.topics.values():
            _take_over_topic(store, topic, known.get(topic.topic_id))
        for topic_id in metadata.removed & known.keys():
            store.begin_deletion(topic_id)
        never_give_again(store, metadata.next_producer_id - 1)
        ends[directory] = str(metadata.end_offset)
        _say_what_is_left_behind(metadata, directory)
        taken |= metadata.topics.keys()
    return Taken(frozenset(taken), ends)


def settle(store: CoordinationStore, logs: Sequence[PartitionLog], taken: Taken) -> None:
    """Begin the epoch of this leader, later than any of Kafka's: clients that knew Kafka pass over what says an earlier one.

    Kafka's own last is at most one after the last that it has noted in the log: when it stops it leaves all without a leader.

    Raises:
        StorageError: the disk fails.
    """
    for log in logs:
        if log.topic_id in taken.topics and not log.fenced:
            log.begin_epoch(log.leader_epoch + 2)
    if taken.ends:
        store.change_entries(_KIND, taken.ends)


def _take_over_topic(store: CoordinationStore, topic: KafkaTopic, known: TopicRecord | None) -> None:
    configs = _understood(topic)
    if known is not None:
        store.configure_topic(topic.topic_id, configs)
        return
    try:
        store.create_topic(TopicRecord(topic.name, topic.topic_id, max(topic.partitions, 1), configs))
    except TopicExistsError:
        logger.error("a topic of Apache Kafka's is not taken over: another one has its name", extra={"topic": topic.name})
        return
    logger.info("topic taken over from Apache Kafka", extra={"topic": topic.name, "configs": configs})


def _understood(topic: KafkaTopic) -> Mapping[str, str]:
    """Those of a topic's settings that mean the same here; the others are named."""
    configs = {}
    for key, value in topic.configs.items():
        try:
            with_overrides(LogConfig(), {key: value})
        except ConfigError as error:
            if key not in _SETTINGS_SAID_BY_US:
                logger.warning("a setting is not taken over", extra={"topic": topic.name, "error": str(error)})
        else:
            configs[key] = value
    return configs


def never_give_again(store: CoordinationStore, producer_id: int) -> None:
    """Let producer ids begin after one that somebody has: a new producer must not be taken for it."""
    if 0 <= producer_id < _MAX_PRODUCER_ID:
        first = store.allocate_producer_ids(1)
        if first <= producer_id:
            store.allocate_producer_ids(producer_id - first)


def _say_what_is_left_behind(metadata: ClusterMetadata, directory: str) -> None:
    logger.info("taken over from Apache Kafka", extra={"path": directory, "topics": len(metadata.topics)})
    if metadata.left_behind:
        logger.warning(
            "not taken over from Apache Kafka: set these up anew",
            extra={"path": directory, "what": sorted(metadata.left_behind)},
        )
