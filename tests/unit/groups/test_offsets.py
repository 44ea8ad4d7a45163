"""When committed offsets expire (KIP-211), and what their records amount to."""

from headrace.broker.groups.offsets import CommittedOffsets, expired
from headrace.broker.groups.records import CommittedOffset, OffsetRecord

DAY_MS = 86_400_000


def committed(at_ms: int, expire_at_ms: int | None = None) -> CommittedOffset:
    return CommittedOffset(11, 3, "", at_ms, expire_at_ms)


def expired_at(now_ms: int, *, inactive_since_ms: int | None, subscribed: frozenset[str] | None) -> list[tuple[str, int]]:
    offsets = {("read", 1): committed(1 * DAY_MS), ("left", 2): committed(2 * DAY_MS)}
    return expired(offsets, inactive_since_ms=inactive_since_ms, subscribed=subscribed, retention_ms=7 * DAY_MS, now_ms=now_ms)


def test_offsets_of_a_simple_group_expire_after_their_own_commit() -> None:
    nobody: frozenset[str] = frozenset()
    assert expired_at(8 * DAY_MS - 1, inactive_since_ms=None, subscribed=nobody) == []
    assert expired_at(8 * DAY_MS, inactive_since_ms=None, subscribed=nobody) == [("read", 1)]


def test_offsets_of_a_group_that_lost_its_members_expire_after_that() -> None:
    nobody: frozenset[str] = frozenset()
    assert expired_at(12 * DAY_MS, inactive_since_ms=6 * DAY_MS, subscribed=nobody) == []
    assert expired_at(13 * DAY_MS, inactive_since_ms=6 * DAY_MS, subscribed=nobody) == [("read", 1), ("left", 2)]


def test_offsets_of_topics_that_members_read_never_expire() -> None:
    assert expired_at(99 * DAY_MS, inactive_since_ms=None, subscribed=frozenset({"read"})) == [("left", 2)]


def test_no_offset_expires_while_it_is_unknown_what_the_members_read() -> None:
    assert expired_at(99 * DAY_MS, inactive_since_ms=None, subscribed=None) == []


def test_an_expiry_of_its_own_goes_before_the_retention() -> None:
    offsets = {("a", 1): committed(1 * DAY_MS, 2 * DAY_MS), ("b", 2): committed(1 * DAY_MS, 50 * DAY_MS)}
    gone = expired(offsets, inactive_since_ms=None, subscribed=frozenset(), retention_ms=7 * DAY_MS, now_ms=20 * DAY_MS)
    assert gone == [("a", 1)]


def test_the_last_record_of_a_partition_counts_and_removals_remove() -> None:
    offsets = CommittedOffsets()
    for record in (
        OffsetRecord("g", "t", 1, committed(5)),
        OffsetRecord("g", "t", 1, committed(6)),
        OffsetRecord("g", "t", 2, committed(7)),
        OffsetRecord("h", "t", 2, committed(8)),
        OffsetRecord("h", "t", 2, None),
        OffsetRecord("unknown", "t", 2, None),
    ):
        offsets.apply(record)
    assert offsets.of("g") == {("t", 1): committed(6), ("t", 2): committed(7)}
    assert list(offsets.groups()) == ["g"]
    assert offsets.holders_of("t") == [("g", ("t", 1)), ("g", ("t", 2))]
