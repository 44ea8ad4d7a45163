"""The records of `__consumer_offsets`, in Kafka's format byte for byte: keys and values, both ways.

A key begins with its version, which says what it is a key of: 0 and 1 a committed offset, 2 a group. A value begins with a
version of its own. No value (a tombstone) takes back what the key names. We write what Kafka 4.0 writes: key 1 with value 3,
or value 1 where the commit names its own expiry; key 2 with value 3. We read every version there is: 0-4 of both values, of
which 4 is the first flexible one (compact lengths, tagged fields, which are skipped). Keys of other kinds (KIP-848, shares)
are not ours.

Source: OffsetCommitKey/Value.json and GroupMetadataKey/Value.json in Kafka's group-coordinator module. kio has no such schemas.
"""

import struct
from dataclasses import dataclass

from headrace.broker.groups.messages import GroupSnapshot, MemberSnapshot
from headrace.broker.wire.primitives import Reader
from headrace.errors import CorruptError, VersionError

OFFSET_KEY_VERSION = 1
OFFSET_VALUE_VERSION = 3
EXPIRING_OFFSET_VALUE_VERSION = 1
GROUP_KEY_VERSION = 2
GROUP_VALUE_VERSION = 3
_LAST_VALUE_VERSION = 4
_FLEXIBLE_FROM = 4


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """Times are wall ms; `leader_epoch` is -1 if unknown; `expire_at_ms` is None where the broker's retention decides."""

    offset: int
    leader_epoch: int
    metadata: str
    committed_at_ms: int
    expire_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OffsetRecord:
    """One partition's committed offset of a group; None: removed."""

    group_id: str
    topic: str
    partition: int
    committed: CommittedOffset | None


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """A group; None: removed. `stored_at_ms` is wall time, -1 if unknown."""

    group_id: str
    snapshot: GroupSnapshot | None
    stored_at_ms: int = -1


Record = OffsetRecord | GroupRecord


def encode(record: Record) -> tuple[bytes, bytes | None]:
    """Key and value of a record; the value is None for a removal."""
    if isinstance(record, OffsetRecord):
        key = struct.pack(">h", OFFSET_KEY_VERSION) + _string(record.group_id) + _string(record.topic)
        key += struct.pack(">i", record.partition)
        return key, None if record.committed is None else _encode_offset(record.committed)
    key = struct.pack(">h", GROUP_KEY_VERSION) + _string(record.group_id)
    return key, None if record.snapshot is None else _encode_group(record.snapshot, record.stored_at_ms)


def _encode_offset(committed: CommittedOffset) -> bytes:
    if committed.expire_at_ms is not None:
        return (
            struct.pack(">hq", EXPIRING_OFFSET_VALUE_VERSION, committed.offset)
            + _string(committed.metadata)
            + struct.pack(">qq", committed.committed_at_ms, committed.expire_at_ms)
        )
    return (
        struct.pack(">hqi", OFFSET_VALUE_VERSION, committed.offset, committed.leader_epoch)
        + _string(committed.metadata)
        + struct.pack(">q", committed.committed_at_ms)
    )


def _encode_group(snapshot: GroupSnapshot, stored_at_ms: int) -> bytes:
    out = [
        struct.pack(">h", GROUP_VALUE_VERSION),
        _string(snapshot.protocol_type),
        struct.pack(">i", snapshot.generation),
        _string(snapshot.protocol_name),
        _string(snapshot.leader),
        struct.pack(">qi", stored_at_ms, len(snapshot.members)),
    ]
    for member in snapshot.members:
        out += [
            _string(member.member_id),
            _string(member.group_instance_id),
            _string(member.client_id),
            _string(member.client_host),
            struct.pack(">ii", member.rebalance_timeout_ms, member.session_timeout_ms),
            _bytes(member.subscription),
            _bytes(member.assignment),
        ]
    return b"".join(out)


def _string(text: str | None) -> bytes:
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _bytes(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def decode(key: bytes, value: bytes | None) -> Record | None:
    """Read a record; None for a key of a kind that is not ours.

    Raises:
        CorruptError: the bytes are not such a record.
        VersionError: the value is of a version that nobody knew when this was written.
    """
    try:
        reader = Reader(key)
        version = reader.int16()
        if version in (0, OFFSET_KEY_VERSION):
            group_id, topic, partition = reader.text(), reader.text(), reader.int32()
            return OffsetRecord(group_id, topic, partition, None if value is None else _decode_offset(value))
        if version == GROUP_KEY_VERSION:
            group_id = reader.text()
            if value is None:
                return GroupRecord(group_id, None)
            snapshot, stored_at_ms = _decode_group(value)
            return GroupRecord(group_id, snapshot, stored_at_ms)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise CorruptError(f"a record of __consumer_offsets with key {key.hex()} cannot be read: {error}") from error
    return None


def _value_reader(value: bytes, what: str) -> tuple[Reader, int]:
    reader = Reader(value)
    version = reader.int16()
    if not 0 <= version <= _LAST_VALUE_VERSION:
        raise VersionError(
            f"__consumer_offsets holds {what} of version {version}; read are 0 to {_LAST_VALUE_VERSION}: upgrade"
        )
    reader.flexible = version >= _FLEXIBLE_FROM
    return reader, version


def _decode_offset(value: bytes) -> CommittedOffset:
    reader, version = _value_reader(value, "a committed offset")
    offset = reader.int64()
    leader_epoch = reader.int32() if version >= 3 else -1
    metadata = reader.text()
    committed_at_ms = reader.int64()
    expire_at_ms = reader.int64() if version == 1 else -1
    return CommittedOffset(offset, leader_epoch, metadata, committed_at_ms, None if expire_at_ms == -1 else expire_at_ms)


def _decode_group(value: bytes) -> tuple[GroupSnapshot, int]:
    reader, version = _value_reader(value, "a group")
    protocol_type = reader.text()
    generation = reader.int32()
    protocol_name, leader = reader.nullable_text(), reader.nullable_text()
    stored_at_ms = reader.int64() if version >= 2 else -1
    members = tuple(_decode_member(reader, version) for _ in range(reader.array_length()))
    return GroupSnapshot(protocol_type, generation, protocol_name, leader, members), stored_at_ms


def _decode_member(reader: Reader, version: int) -> MemberSnapshot:
    member_id = reader.text()
    group_instance_id = reader.nullable_text() if version >= 3 else None
    client_id, client_host = reader.text(), reader.text()
    rebalance_timeout_ms = reader.int32() if version >= 1 else -1
    session_timeout_ms = reader.int32()
    subscription, assignment = reader.data(), reader.data()
    reader.skip_tagged_fields()
    if rebalance_timeout_ms < 0:  # version 0: "the session timeout is used"
        rebalance_timeout_ms = session_timeout_ms
    return MemberSnapshot(
        member_id,
        group_instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    )
