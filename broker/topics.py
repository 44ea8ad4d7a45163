"""The broker's topics: what they are called and how they are set, and how they come and go with their logs.

The store knows which topics there are, and is told first; the logs follow. What a crash cuts short in between, the next `load`
finishes. Owned by the event loop.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.changes import Change, Changes
from headrace.broker.coordination.store import CoordinationStore, TopicRecord
from headrace.broker.handlers.steps import with_pauses
from headrace.broker.housekeeping import Housekeeping
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.takeover import internal_settings, never_give_again
from headrace.broker.topic_names import OFFSETS_TOPIC
from headrace.errors import StorageError

logger = logging.getLogger(__name__)
_OURSELVES = "broker"


class Topics:
    """Every topic, by name and by id."""

    def __init__(
        self,
        config: BrokerConfig,
        store: CoordinationStore,
        logs: LogDirectories,
        store_changes: Changes,
        housekeeping: Housekeeping,
        on_deleted: Callable[[str, Iterable[PartitionLog]], None],
    ) -> None:
        """`on_deleted` is told a topic's name and its logs as soon as it is gone, before their files are."""
        self._config, self._store, self._logs = config, store, logs
        self._write = store_changes.write
        self._housekeeping, self._on_deleted = housekeeping, on_deleted
        self.changes = asyncio.Lock()  # held while topics are made or deleted: what was checked then still holds
        self.encoded: dict[object, bytes] = {}  # answers that hold while no topic changes, by what was asked
        self.by_name: dict[str, TopicRecord] = {}  # changed here only
        self._names_by_id: dict[uuid.UUID, str] = {}

    def get(self, name: str) -> TopicRecord | None:
        return self.by_name.get(name)

    def by_id(self, topic_id: uuid.UUID) -> TopicRecord | None:
        name = self._names_by_id.get(topic_id)
        return None if name is None else self.by_name[name]

    def all(self) -> Sequence[TopicRecord]:
        """All topics, by name."""
        return [self.by_name[name] for name in sorted(self.by_name)]

    def load(self) -> None:
        """Learn topics, finish deletions and creations that a crash cut short; before anything is served.

        The logs of topics that the store is deleting have been removed by `LogDirectories.survey`.
        """
        if self._logs.is_whole:  # else files may be left where we cannot look
            for topic in self._store.deletions():
                self._forget(topic)
        for topic in self._store.topics():
            self._learn(topic)
            self._logs.restore(topic.name, topic.partitions, topic.topic_id, topic.configs)
        self._adopt_strays()

    async def create(self, name: str, partitions: int, configs: Mapping[str, str], *, by: str = _OURSELVES) -> TopicRecord:
        """Make a topic whose name and configs have been checked, durably; the caller holds `changes`.

        `by`, here and below, is whose wish it is, for the log.

        Raises:
            TopicExistsError: there is one of that name.
            StorageError: the disk fails; there is no such topic.
        """
        topic = TopicRecord(name, uuid.uuid4(), partitions, dict(configs))
        await self._write(partial(self._store.create_topic, topic))
        try:
            await self._housekeeping.forget(name)
            creation = self._logs.begin_creation(name, range(partitions), topic.topic_id, configs)
            await self._housekeeping.in_thread(creation.run)
            await with_pauses(creation.complete_in_steps())
        except StorageError:
            await self._write(partial(self._store.begin_deletion, topic.topic_id))  # files may be left: the next start looks
            raise
        self._learn(topic)
        logger.info("topic created", extra={"topic": name, "partitions": partitions, "configs": dict(configs), "by": by})
        return topic

    def configure(self, topic: TopicRecord, configs: Mapping[str, str], *, by: str = _OURSELVES) -> Change[None]:
        """Give a topic these settings of its own, and no others, durably and at once; they have been checked.

        Raises:
            StorageError: the store fails; nothing has changed.
        """
        yield partial(self._store.configure_topic, topic.topic_id, configs)
        self._learn(replace(topic, configs=dict(configs)))
        self._logs.configure(topic.name, configs)
        logger.info("topic configured", extra={"topic": topic.name, "configs": dict(configs), "by": by})

    async def delete(self, topic: TopicRecord, *, by: str = _OURSELVES) -> None:
        """Delete a topic and its files; the caller holds `changes`. A crash in between is finished by the next `load`.

        Raises:
            StorageError: the disk fails; the topic is gone, its files will be after the next start.
        """
        await self._write(partial(self._store.begin_deletion, topic.topic_id))
        del self.by_name[topic.name]
        del self._names_by_id[topic.topic_id]
        self.encoded.clear()
        deletion = self._logs.begin_deletion(topic.name, topic.topic_id)
        await with_pauses(deletion.begin_in_steps())
        self._on_deleted(topic.name, deletion.logs)
        await self._housekeeping.alone(deletion.run)  # else a step would write into a directory that has another name
        await with_pauses(deletion.complete_in_steps())
        if self._logs.is_whole:
            await self._write(partial(self._forget, topic))
        logger.info("topic deleted", extra={"topic": topic.name, "by": by})

    async def ensure_offsets(self) -> TopicRecord:
        """`__consumer_offsets`, made if there is none, also where the caller is cancelled meanwhile; compacted, so retention
        deletes nothing of it.

        Raises:
            StorageError: the disk fails.
        """
        topic = self.by_name.get(OFFSETS_TOPIC)
        return await asyncio.shield(asyncio.ensure_future(self._offsets())) if topic is None else topic

    async def _offsets(self) -> TopicRecord:
        configs = internal_settings(OFFSETS_TOPIC, self._config.offsets_topic_segment_bytes)
        async with self.changes:
            topic = self.by_name.get(OFFSETS_TOPIC)
            return topic or await self.create(OFFSETS_TOPIC, self._config.offsets_topic_num_partitions, configs)

    def _learn(self, topic: TopicRecord) -> None:
        self.by_name[topic.name] = topic
        self._names_by_id[topic.topic_id] = topic.name
        self.encoded.clear()

    def _forget(self, topic: TopicRecord) -> None:
        try:
            self._store.finish_deletion(topic.topic_id)
        except StorageError as error:  # as on a full disk: the next start asks again
            logger.warning("a deletion is not noted as done", extra={"topic": topic.name, "error": str(error)})

    def _adopt_strays(self) -> None:
        """Take over logs that the store does not know (it was lost, or is older than they are): data is not dropped for it."""
        strays: dict[str, list[PartitionLog]] = {}
        for log in self._logs.all():
            if log.topic not in self.by_name:
                strays.setdefault(log.topic, []).append(log)
        for name, logs in strays.items():
            configs = internal_settings(name, self._config.offsets_topic_segment_bytes)
            topic = TopicRecord(name, logs[0].topic_id, 1 + max(log.partition for log in logs), configs)
            try:
                self._store.create_topic(topic)
                never_give_again(self._store, max(log.greatest_producer_id for log in logs))
            except StorageError as error:
                logger.warning("a topic is not noted in the store", extra={"topic": name, "error": str(error)})
            self._logs.restore(name, topic.partitions, topic.topic_id, configs)
            self._logs.configure(name, configs)
            self._learn(topic)
            logger.warning(
                "topic unknown to the store: taken over from its files, with default settings",
                extra={"topic": name},
            )
