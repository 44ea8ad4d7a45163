"""The small text files beside the logs, in Kafka's formats; pure: text in, values out.

    <log dir>/recovery-point-offset-checkpoint, log-start-offset-checkpoint, replication-offset-checkpoint,
    cleaner-offset-checkpoint (up to where compaction has come):
        version 0, count, then `topic partition offset` lines
    <log dir>/meta.properties:                version=1, cluster.id, node.id, directory.id
    <log dir>/.kafka_cleanshutdown:           JSON, version 0
    <partition>/leader-epoch-checkpoint:      version 0, count, then `epoch start-offset` lines
    <partition>/partition.metadata:           version: 0, topic_id: (a UUID in url-safe base64 without padding)

A newer version is refused, never guessed at (design D10).
"""

import base64
import binascii
import uuid
from collections.abc import Collection, Mapping, Sequence

from headrace.errors import CorruptError, VersionError

RECOVERY_POINT = "recovery-point-offset-checkpoint"
LOG_START = "log-start-offset-checkpoint"
HIGH_WATERMARK = "replication-offset-checkpoint"
CLEANER = "cleaner-offset-checkpoint"
META_PROPERTIES = "meta.properties"
CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
CLEAN_SHUTDOWN_CONTENT = b'{"version":0,"brokerEpoch":-1}'
LEADER_EPOCHS = "leader-epoch-checkpoint"
PARTITION_METADATA = "partition.metadata"
UNKNOWN = -1  # as a recovery point: its checkpoint was lost before the partition could be recovered

TopicPartition = tuple[str, int]


def offset_line(at: TopicPartition, offset: int) -> bytes:
    """A line of an offset checkpoint."""
    return b"%s %d %d\n" % (at[0].encode(), at[1], offset)


def encode_offsets(lines: Collection[bytes]) -> bytes:
    """An offset checkpoint of these lines."""
    return b"".join([b"0\n%d\n" % len(lines), *lines])


def decode_offsets(content: bytes, name: str) -> dict[TopicPartition, int]:
    """Read an offset checkpoint.

    Raises:
        CorruptError: not one. VersionError: newer than we know.
    """
    offsets: dict[TopicPartition, int] = {}
    for line in _counted_lines(content, name):
        try:
            topic, partition, offset = line.split(" ")
            offsets[topic, int(partition)] = int(offset)
        except ValueError as error:
            raise CorruptError(f"{name}: cannot read line {line!r}") from error
    return offsets


def encode_epochs(epochs: Sequence[tuple[int, int]]) -> bytes:
    """A leader epoch checkpoint: (epoch, start offset), rising."""
    return "".join(["0\n", f"{len(epochs)}\n", *(f"{epoch} {start}\n" for epoch, start in epochs)]).encode()


def decode_epochs(content: bytes, name: str) -> list[tuple[int, int]]:
    """Read a leader epoch checkpoint.

    Raises:
        CorruptError: not one. VersionError: newer than we know.
    """
    epochs: list[tuple[int, int]] = []
    for line in _counted_lines(content, name):
        try:
            epoch, start = line.split(" ")
            epochs.append((int(epoch), int(start)))
        except ValueError as error:
            raise CorruptError(f"{name}: cannot read line {line!r}") from error
    if epochs != sorted(set(epochs)):
        raise CorruptError(f"{name}: the epochs do not rise")
    return epochs


def _counted_lines(content: bytes, name: str) -> list[str]:
    lines = content.decode("utf-8", "replace").splitlines()
    if len(lines) < 2 or not lines[0].isdigit() or not lines[1].isdigit():
        raise CorruptError(f"{name}: no version and count at its head")
    if int(lines[0]) > 0:
        raise VersionError(f"{name} has version {lines[0]}; this headrace reads version 0: upgrade it")
    if int(lines[1]) != len(lines) - 2:
        raise CorruptError(f"{name}: {lines[1]} entries are announced, {len(lines) - 2} are there")
    return lines[2:]


def encode_uuid(value: uuid.UUID) -> str:
    """A UUID as Kafka writes it: url-safe base64, 22 characters."""
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def decode_uuid(text: str) -> uuid.UUID:
    """The inverse of `encode_uuid`. Raises ValueError."""
    try:
        return uuid.UUID(bytes=base64.urlsafe_b64decode(text + "=="))
    except binascii.Error as error:
        raise ValueError(f"{text!r} is not a UUID") from error


def encode_partition_metadata(topic_id: uuid.UUID) -> bytes:
    """A partition's metadata file."""
    return f"version: 0\ntopic_id: {encode_uuid(topic_id)}\n".encode()


def decode_partition_metadata(content: bytes, name: str) -> uuid.UUID:
    """Read a partition's metadata file.

    Raises:
        CorruptError: not one. VersionError: newer than we know.
    """
    pairs = dict(line.split(": ", 1) for line in content.decode("utf-8", "replace").splitlines() if ": " in line)
    if pairs.get("version", "") not in ("0", ""):
        raise VersionError(f"{name} has version {pairs['version']}; this headrace reads version 0: upgrade it")
    try:
        return decode_uuid(pairs["topic_id"])
    except (KeyError, ValueError) as error:
        raise CorruptError(f"{name}: no topic_id in it") from error


def encode_properties(properties: Mapping[str, str]) -> bytes:
    """A Java properties file of plain keys and values."""
    return "".join(f"{key}={value}\n" for key, value in properties.items()).encode()


def decode_properties(content: bytes) -> dict[str, str]:
    """Read a Java properties file of plain keys and values."""
    lines = content.decode("utf-8", "replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
