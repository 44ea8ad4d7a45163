"""The format of `__consumer_offsets`: bytes written out by hand from Kafka's schemas, and hostile bytes."""

import struct

import pytest

from headrace.broker.groups.messages import GroupSnapshot, MemberSnapshot
from headrace.broker.groups.records import CommittedOffset, GroupRecord, OffsetRecord, Record, decode, encode
from headrace.errors import CorruptError, VersionError

MEMBER = MemberSnapshot("m-1", "inst", "client", "/10.0.0.7", 60_000, 10_000, b"\x00\x03sub", b"asg")
SNAPSHOT = GroupSnapshot("consumer", 7, "range", "m-1", (MEMBER,))
OFFSET_KEY = bytes.fromhex("0001 0001 67 0006 6f7264657273 00000005")  # v1, "g", "orders", 5
GROUP_KEY = bytes.fromhex("0002 0001 67")  # v2, "g"


def test_a_committed_offset_is_key_v1_and_value_v3() -> None:
    record = OffsetRecord("g", "orders", 5, CommittedOffset(4_294_967_298, 9, "meta", 1_700_000_000_123))
    key, value = encode(record)
    assert key == OFFSET_KEY
    # version 3, offset i64, leader epoch i32, metadata string, commit timestamp i64
    assert value == bytes.fromhex("0003 0000000100000002 00000009 0004 6d657461 0000018bcfe5687b")
    assert decode(key, value) == record


def test_an_offset_with_its_own_expiry_is_value_v1() -> None:
    record = OffsetRecord("g", "orders", 5, CommittedOffset(3, -1, "", 1_700_000_000_123, 1_700_000_000_999))
    key, value = encode(record)
    # version 1, offset i64, metadata string, commit timestamp i64, expire timestamp i64
    assert value == bytes.fromhex("0001 0000000000000003 0000 0000018bcfe5687b 0000018bcfe56be7")
    assert decode(key, value) == record


def test_a_group_is_key_v2_and_value_v3() -> None:
    record = GroupRecord("g", SNAPSHOT, 1_700_000_000_123)
    key, value = encode(record)
    assert key == GROUP_KEY
    assert value == bytes.fromhex(
        "0003 0008 636f6e73756d6572 00000007 0005 72616e6765 0003 6d2d31 0000018bcfe5687b"  # … state timestamp
        "00000001 0003 6d2d31 0004 696e7374 0006 636c69656e74 0009 2f31302e302e302e37"  # one member: ids, client, host
        "0000ea60 00002710 00000005 0003737562 00000003 617367"  # rebalance and session timeout, subscription, assignment
    )
    assert decode(key, value) == record


def test_an_empty_group_has_null_protocol_and_leader() -> None:
    record = GroupRecord("g", GroupSnapshot("consumer", 8, None, None, ()), 5)
    _, value = encode(record)
    assert value == bytes.fromhex("0003 0008 636f6e73756d6572 00000008 ffff ffff 0000000000000005 00000000")
    assert decode(GROUP_KEY, value) == record


@pytest.mark.parametrize("record", [OffsetRecord("g", "orders", 5, None), GroupRecord("g", None)])
def test_a_removal_has_no_value(record: Record) -> None:
    key, value = encode(record)
    assert value is None
    assert decode(key, value) == record


@pytest.mark.parametrize(
    ("value", "committed"),
    [
        ("0000 0000000000000003 0001 6d 0000018bcfe5687b", CommittedOffset(3, -1, "m", 1_700_000_000_123)),
        ("0002 0000000000000003 0001 6d 0000018bcfe5687b", CommittedOffset(3, -1, "m", 1_700_000_000_123)),
        # v4 is flexible: compact string, then tagged fields (here one, tag 0, 16 bytes: a topic id)
        (
            "0004 0000000000000003 00000009 02 6d 0000018bcfe5687b 01 00 10" + "ab" * 16,
            CommittedOffset(3, 9, "m", 1_700_000_000_123),
        ),
    ],
)
def test_offsets_of_every_other_version_are_read(value: str, committed: CommittedOffset) -> None:
    for key in (OFFSET_KEY, b"\x00\x00" + OFFSET_KEY[2:]):
        assert decode(key, bytes.fromhex(value)) == OffsetRecord("g", "orders", 5, committed)


def test_groups_of_version_0_have_the_session_timeout_for_both() -> None:
    value = bytes.fromhex("0000 0001 63 00000007 0001 72 0001 6d 00000001 0001 6d 0001 63 0001 68 00002710 00000000 00000000")
    record = decode(GROUP_KEY, value)
    assert isinstance(record, GroupRecord)
    assert record.snapshot is not None
    assert record.stored_at_ms == -1
    (member,) = record.snapshot.members
    assert (member.rebalance_timeout_ms, member.session_timeout_ms, member.group_instance_id) == (10_000, 10_000, None)


def test_flexible_groups_are_read() -> None:
    value = bytes.fromhex(
        "0004 02 63 00000007 02 72 02 6d 0000018bcfe5687b 02"
        "02 6d 00 02 63 02 68 0000ea60 00002710 03 0102 01 00"  # the member, its tagged fields last
        "00"
    )
    record = decode(GROUP_KEY, value)
    assert record == GroupRecord(
        "g",
        GroupSnapshot("c", 7, "r", "m", (MemberSnapshot("m", None, "c", "h", 60_000, 10_000, b"\x01\x02", b""),)),
        1_700_000_000_123,
    )


def test_keys_of_other_kinds_are_not_ours() -> None:
    assert decode(bytes.fromhex("0003 0001 67"), b"whatever") is None


@pytest.mark.parametrize("key", [OFFSET_KEY, GROUP_KEY])
def test_a_newer_value_is_refused_never_guessed_at(key: bytes) -> None:
    with pytest.raises(VersionError, match="version 5"):
        decode(key, struct.pack(">h", 5) + bytes(40))


def test_cut_off_records_are_corrupt_at_every_byte() -> None:
    key, value = encode(GroupRecord("g", SNAPSHOT, 1))
    assert value is not None
    for end in range(len(value)):
        with pytest.raises(CorruptError):
            decode(key, value[:end])
    for end in range(len(OFFSET_KEY)):
        with pytest.raises(CorruptError):
            decode(OFFSET_KEY[:end], None)
