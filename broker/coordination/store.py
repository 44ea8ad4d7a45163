"""What a broker keeps outside its logs, behind one small interface (design D4).

One node keeps it in SQLite (`sqlite.py`), tests and simulations in memory (`tests/memory_store.py`), a cluster will keep it in
ZooKeeper. All pass the same contract tests. Every method that returns has made its effect durable.

Deletion of a topic is two steps, so that a crash between them is finished at the next start: `begin_deletion` takes the topic
out of `topics()` and puts it into `deletions()`; when its files are gone, `finish_deletion` forgets it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from headrace.errors import HeadraceError


class TopicExistsError(HeadraceError):
    """A topic of that name exists."""


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A topic as it was created; `configs` holds only what differs from the broker's defaults, as text."""

    name: str
    topic_id: UUID
    partitions: int
    configs: Mapping[str, str]


class CoordinationStore(Protocol):
    """The interface; errors of the store itself are StorageError."""

    def cluster_id(self, proposed: str) -> str:
        """The cluster's id; the first caller's proposal becomes it."""
        ...

    def topics(self) -> Sequence[TopicRecord]:
        """All topics, by name."""
        ...

    def create_topic(self, topic: TopicRecord) -> None:
        """Add a topic.

        Raises:
            TopicExistsError: one of that name exists. (One of that name that is being deleted does not count.)
        """
        ...

    def configure_topic(self, topic_id: UUID, configs: Mapping[str, str]) -> None:
        """Replace a topic's own settings; does nothing for one that is unknown."""
        ...

    def begin_deletion(self, topic_id: UUID) -> None:
        """Mark a topic as being deleted; does nothing for one that is unknown or marked."""
        ...

    def deletions(self) -> Sequence[TopicRecord]:
        """Topics that are marked and not finished, by name."""
        ...

    def finish_deletion(self, topic_id: UUID) -> None:
        """Forget a marked topic, whose files are gone."""
        ...

    def allocate_producer_ids(self, count: int) -> int:
        """The first of `count` consecutive producer ids that nobody ever had; ids begin at 0 or above."""
        ...

    def entries(self, kind: str) -> Mapping[str, str]:
        """What is kept of one kind (users, access rules, quotas …): key → text, by key; the owner of a kind knows its form."""
        ...

    def change_entries(self, kind: str, changes: Mapping[str, str | None]) -> None:
        """Put, or with None remove, entries of one kind: all of the changes or, on an error, none."""
        ...

    def close(self) -> None:
        """Release what is held; the store is not used afterwards."""
        ...
