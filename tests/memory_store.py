"""The store in memory: for tests and simulations; nothing survives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from headrace.broker.coordination.store import TopicExistsError, TopicRecord


class MemoryStore:
    """A CoordinationStore whose durability is that of the object."""

    def __init__(self) -> None:
        self._cluster_id: str | None = None
        self._topics: dict[str, TopicRecord] = {}
        self._deletions: dict[UUID, TopicRecord] = {}
        self._entries: dict[str, dict[str, str]] = {}
        self._next_producer_id = 0

    def cluster_id(self, proposed: str) -> str:
        if self._cluster_id is None:
            self._cluster_id = proposed
        return self._cluster_id

    def topics(self) -> Sequence[TopicRecord]:
        return [self._topics[name] for name in sorted(self._topics)]

    def create_topic(self, topic: TopicRecord) -> None:
        if topic.name in self._topics:
            raise TopicExistsError(f"topic {topic.name} exists")
        self._topics[topic.name] = topic

    def configure_topic(self, topic_id: UUID, configs: Mapping[str, str]) -> None:
        for name, topic in self._topics.items():
            if topic.topic_id == topic_id:
                self._topics[name] = replace(topic, configs=dict(configs))

    def begin_deletion(self, topic_id: UUID) -> None:
        for name, topic in self._topics.items():
            if topic.topic_id == topic_id:
                self._deletions[topic_id] = self._topics.pop(name)
                return

    def deletions(self) -> Sequence[TopicRecord]:
        return sorted(self._deletions.values(), key=lambda topic: topic.name)

    def finish_deletion(self, topic_id: UUID) -> None:
        self._deletions.pop(topic_id, None)

    def allocate_producer_ids(self, count: int) -> int:
        first = self._next_producer_id
        self._next_producer_id += count
        return first

    def entries(self, kind: str) -> Mapping[str, str]:
        return dict(sorted(self._entries.get(kind, {}).items()))

    def change_entries(self, kind: str, changes: Mapping[str, str | None]) -> None:
        kept = self._entries.setdefault(kind, {})
        for key, text in changes.items():
            if text is None:
                kept.pop(key, None)
            else:
                kept[key] = text

    def close(self) -> None:
        """Nothing is held."""
