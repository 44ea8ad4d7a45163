"""The committed offsets of all groups: what the records of `__consumer_offsets` amount to. Pure; times are wall ms."""

from collections.abc import Iterator, Mapping

from headrace.broker.groups.records import CommittedOffset, OffsetRecord

Partition = tuple[str, int]  # topic, partition


class CommittedOffsets:
    """Group → (topic, partition) → committed offset; changed by records alone."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[Partition, CommittedOffset]] = {}

    def apply(self, record: OffsetRecord) -> None:
        """Take over a record that is in the log."""
        partition = (record.topic, record.partition)
        if record.committed is not None:
            self._groups.setdefault(record.group_id, {})[partition] = record.committed
        elif offsets := self._groups.get(record.group_id):
            offsets.pop(partition, None)
            if not offsets:
                del self._groups[record.group_id]

    @property
    def count(self) -> int:
        """Offsets of all groups together."""
        return sum(map(len, list(self._groups.values())))

    def of(self, group_id: str) -> Mapping[Partition, CommittedOffset]:
        """The group's offsets; empty if it has none."""
        return self._groups.get(group_id, {})

    def groups(self) -> Iterator[str]:
        """The groups that have committed anything."""
        return iter(list(self._groups))

    def holders_of(self, topic: str) -> list[tuple[str, Partition]]:
        """Group and partition of every offset committed for a topic."""
        return [(group_id, key) for group_id, offsets in self._groups.items() for key in offsets if key[0] == topic]


def expired(
    offsets: Mapping[Partition, CommittedOffset],
    *,
    inactive_since_ms: int | None,
    subscribed: frozenset[str] | None,
    retention_ms: int,
    now_ms: int,
) -> list[Partition]:
    """Which offsets of a group have outlived their retention (KIP-211).

    Args:
        inactive_since_ms: when a group of members became empty; retention counts from then, not from the commit. None for a
            group that never had members, and for one that has some now: there it counts from the commit.
        subscribed: the topics that the group's members read now, whose offsets never expire; None if that is not known, and
            then none expires.
    """
    if subscribed is None:
        return []

    def is_expired(committed: CommittedOffset) -> bool:
        if committed.expire_at_ms is not None:  # OffsetCommit v2-4 said how long
            return now_ms >= committed.expire_at_ms
        since_ms = committed.committed_at_ms if inactive_since_ms is None else max(inactive_since_ms, committed.committed_at_ms)
        return now_ms - since_ms >= retention_ms

    return [key for key, committed in offsets.items() if key[0] not in subscribed and is_expired(committed)]
