"""What Apache Kafka kept in a log directory's `__cluster_metadata-0`: the topics, their settings, the producer ids given out.

The newest whole snapshot `<end offset>-<epoch>.checkpoint`, then the batches of the log from its end offset on. Both hold
records whose value is a frame version, an API key and a version (unsigned varints), then a message in the flexible encoding.
Kinds that say nothing of topics are passed over, and counted where an operator must set them up anew. Records between a
BeginTransaction and its EndTransaction count together, or with an AbortTransaction not at all. Reads only.
Source: KIP-500, KIP-630, KIP-868; Kafka's metadata/src/main/resources/common/metadata/*.json, MetadataRecordSerde.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from headrace.broker.log.batch import CONTROL, HEADER_SIZE, BatchHeader, is_whole_batch, parse_header
from headrace.broker.log.disk import Disk, read_whole
from headrace.broker.log.record import Record, records
from headrace.broker.wire.primitives import Reader
from headrace.errors import CorruptError, VersionError

DIRECTORY: Final = "__cluster_metadata-0"
_SNAPSHOT = re.compile(r"(?P<end>\d{20})-\d{10}\.checkpoint")
_SEGMENT = re.compile(r"\d{20}\.log")
_FRAME_VERSION = 1
_TOPIC, _PARTITION, _CONFIG, _REMOVE_TOPIC, _PRODUCER_IDS = 2, 3, 4, 9, 15
_BEGIN_TRANSACTION, _END_TRANSACTION, _ABORT_TRANSACTION = 23, 24, 25
_VERSIONS: Final = {_TOPIC: 0, _PARTITION: 2, _CONFIG: 0, _REMOVE_TOPIC: 0, _PRODUCER_IDS: 0}  # the newest that we read
_LEFT_BEHIND: Final = {11: "users", 14: "client quotas", 18: "access rules"}
_TOPIC_RESOURCE, _BROKER_RESOURCE = 2, 4


@dataclass(slots=True)
class KafkaTopic:
    """A topic as Kafka's controller knew it; `configs` are its own settings, of which some may be unknown here."""

    name: str
    topic_id: UUID
    partitions: int = 0
    configs: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ClusterMetadata:
    """What the controller knew at the end of its log.

    Attributes:
        removed: ids of topics that were deleted, as far as the log still tells.
        next_producer_id: lower ones may have been given out.
        left_behind: kind → how many of it were changed: what is not taken over.
        end_offset: the log's end, which tells one state from a later one.
    """

    topics: dict[UUID, KafkaTopic] = field(default_factory=dict)
    removed: set[UUID] = field(default_factory=set)
    next_producer_id: int = 0
    left_behind: Counter[str] = field(default_factory=Counter)
    end_offset: int = 0
    _configs: dict[str, dict[str, str]] = field(default_factory=dict)  # topic's name → settings; they may come first


def read_cluster_metadata(disk: Disk, path: str) -> ClusterMetadata | None:
    """The metadata in the log directory `path`; None if Kafka kept none there.

    Raises:
        VersionError: a record that matters is of a newer version. CorruptError: it cannot be read. OSError: the disk fails.
    """
    directory = f"{path}/{DIRECTORY}"
    try:
        names = disk.list(directory)
    except FileNotFoundError:
        return None
    state = ClusterMetadata()
    for match in filter(None, map(_SNAPSHOT.fullmatch, reversed(names))):
        whole = _whole_batches(disk, f"{directory}/{match[0]}")
        if whole and whole[-1][0].attributes & CONTROL:  # its footer: it is complete
            _replay(state, whole)
            state.end_offset = int(match["end"])
            break
    for name in names:
        if _SEGMENT.fullmatch(name):
            batches = _whole_batches(disk, f"{directory}/{name}")
            _replay(state, [(header, data) for header, data in batches if header.base_offset >= state.end_offset])
            if batches:
                state.end_offset = max(state.end_offset, batches[-1][0].last_offset + 1)
    for topic in state.topics.values():
        topic.configs = state._configs.get(topic.name, {})
    return state


_Batches = list[tuple[BatchHeader, memoryview]]


def _whole_batches(disk: Disk, path: str) -> _Batches:
    """The batches of a file up to the first that is damaged or torn, as a crash of Kafka leaves it."""
    data = memoryview(read_whole(disk, path) or b"")
    found: _Batches = []
    position = 0
    while position + HEADER_SIZE <= len(data):
        header = parse_header(data, position)
        if not is_whole_batch(data, header, position):
            break
        found.append((header, data[position : position + header.size]))
        position += header.size
    return found


def _replay(state: ClusterMetadata, batches: _Batches) -> None:
    held: list[tuple[int, Reader]] | None = None  # of a transaction that is not ended
    for kind, reader in _messages(batches):
        if kind == _BEGIN_TRANSACTION:
            held = []
        elif kind in (_END_TRANSACTION, _ABORT_TRANSACTION):
            for message in (held or ()) if kind == _END_TRANSACTION else ():
                _apply(state, *message)
            held = None
        elif held is not None:
            held.append((kind, reader))
        else:
            _apply(state, kind, reader)


def _messages(batches: _Batches) -> Iterator[tuple[int, Reader]]:
    """(API key, reader of the message's fields) of every record."""
    for _, data in batches:
        for record in records(data):
            yield _message(record)


def _message(record: Record) -> tuple[int, Reader]:
    reader = Reader(record.value or b"", flexible=True)
    try:
        frame, kind, version = (reader.unsigned_varint() for _ in range(3))
    except ValueError as error:
        raise CorruptError(f"{DIRECTORY}: record {record.offset} is no metadata: {error}") from error
    if frame != _FRAME_VERSION:
        raise VersionError(f"{DIRECTORY}: record {record.offset} has frame version {frame}; this headrace reads 1: upgrade it")
    if version > _VERSIONS.get(kind, version):
        raise VersionError(f"{DIRECTORY}: record {record.offset} is of kind {kind}, version {version}; upgrade headrace")
    return kind, reader


def _apply(state: ClusterMetadata, kind: int, reader: Reader) -> None:
    try:
        if kind == _TOPIC:
            name, topic_id = reader.text(), reader.uuid()
            state.topics[topic_id] = KafkaTopic(name, topic_id)
        elif kind == _PARTITION:
            partition, topic_id = reader.int32(), reader.uuid()
            if topic_id in state.topics:
                state.topics[topic_id].partitions = max(state.topics[topic_id].partitions, partition + 1)
        elif kind == _CONFIG:
            _apply_config(state, reader)
        elif kind == _REMOVE_TOPIC:
            topic_id = reader.uuid()
            state.removed.add(topic_id)
            if topic_id in state.topics:
                state._configs.pop(state.topics.pop(topic_id).name, None)
        elif kind == _PRODUCER_IDS:
            reader.int32(), reader.int64()
            state.next_producer_id = max(state.next_producer_id, reader.int64())
        elif kind in _LEFT_BEHIND:
            state.left_behind[_LEFT_BEHIND[kind]] += 1
    except (ValueError, struct.error) as error:
        raise CorruptError(f"{DIRECTORY}: a record of kind {kind} cannot be read: {error}") from error


def _apply_config(state: ClusterMetadata, reader: Reader) -> None:
    resource, name, key, value = reader.int8(), reader.text(), reader.text(), reader.nullable_text()
    if resource == _BROKER_RESOURCE:
        state.left_behind[f"broker setting {key}"] += 1
    if resource != _TOPIC_RESOURCE:
        return
    configs = state._configs.setdefault(name, {})
    if value is None:
        configs.pop(key, None)
    else:
        configs[key] = value
