"""The broker's state, owned by one event loop: topics, their logs, and who waits for them. No locks (design D2).

Handlers get this object. Every append goes through `append`, so that waiting fetches wake; `committed` waits until what was
appended meets the topic's durability (lies below the high watermark).
"""

import asyncio
import base64
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.broker.appends import Appends
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.store import CoordinationStore, TopicRecord
from headrace.broker.flushing import Flusher
from headrace.broker.holding import Holds
from headrace.broker.log.config import broker_defaults
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.results import AppendResult
from headrace.broker.network.throttling import Throttler
from headrace.broker.quotas.clients import ClientQuotas
from headrace.broker.quotas.rate import Windows
from headrace.broker.security.access import Authorizer, EverybodyMay
from headrace.broker.security.denials import Denials
from headrace.broker.security.logins import Logins, TokenVerifier
from headrace.broker.security.rules import AccessRules
from headrace.broker.security.users import Users
from headrace.broker.takeover import internal_settings, never_give_again
from headrace.broker.telemetry.metrics import Metrics, TopicTraffic
from headrace.broker.topics import OFFSETS_TOPIC
from headrace.broker.waiting import Waiters
from headrace.clock import Clock
from headrace.errors import StorageError
from headrace.failed_logins import FailedLogins

if TYPE_CHECKING:
    from headrace.broker.handlers.api import Api

logger = logging.getLogger(__name__)
T = TypeVar("T")
_PRODUCER_ID_BLOCK = 1000
_OURSELVES = "broker"


class Broker:
    """One node that leads every partition it has; leader epochs are all 0."""

    def __init__(
        self,
        config: BrokerConfig,
        clock: Clock,
        store: CoordinationStore,
        logs: LogDirectories,
        apis: Mapping[int, "Api"],
        executor: Executor,
    ) -> None:
        """`executor` runs what blocks: fsyncs, files made and renamed."""
        self.config = config
        self.clock = clock
        self.store = store
        self.logs = logs
        self.apis = apis
        self.log_defaults = broker_defaults(config.log_keys())
        self.metrics = Metrics()
        self.quotas = ClientQuotas(Windows(config.quota_window_num, config.quota_window_size_seconds * 1000))
        self.throttler = Throttler(self.quotas, clock)
        self.waiters = Waiters()
        self._executor = executor
        self.flusher = Flusher(clock, self.waiters, executor, self.metrics.flushes)
        self.holds = Holds(self)
        self._appends = Appends(clock, self._appended)
        self.cluster_id = logs.cluster_id
        self.node_id = config.node_id
        self.encoded: dict[object, bytes] = {}  # answers that hold while no topic is made or deleted, by what was asked
        self.denials = Denials()
        self.access_rules = AccessRules(store, config, self.denials.note) if config.authorizer_class_name else None
        self.authorizer: Authorizer = self.access_rules.authorizer if self.access_rules else EverybodyMay()
        failed = FailedLogins(config.connection_failed_authentication_delay_ms)
        self.logins = Logins(Users(store), clock, failed, _tokens(config, clock))
        self.groups: Any = None  # set by the command, once the groups are loaded
        self.topic_changes = asyncio.Lock()  # held while topics are made or deleted: what was checked then still holds
        self._step_runs = asyncio.Lock()
        self._topics: dict[str, TopicRecord] = {}
        self._names_by_id: dict[uuid.UUID, str] = {}
        self._producer_ids: range = range(0)
        self._checkpoints = asyncio.Lock()  # held by who writes checkpoints, from looking at the logs until it is on disk

    # topics

    def load(self) -> None:
        """Learn quotas and topics, finish deletions and creations that a crash cut short; before anything is served.

        The logs of topics that the store is deleting have been removed by `LogDirectories.survey`.
        """
        self.quotas.book.load(self.store.entries("quota"))
        if self.logs.is_whole:  # else files may be left where we cannot look
            for topic in self.store.deletions():
                self._forget(topic)
        for topic in self.store.topics():
            self._learn(topic)
            self.logs.restore(topic.name, topic.partitions, topic.topic_id, topic.configs)
        self._adopt_strays()

    def topic(self, name: str) -> TopicRecord | None:
        return self._topics.get(name)

    def topic_by_id(self, topic_id: uuid.UUID) -> TopicRecord | None:
        name = self._names_by_id.get(topic_id)
        return None if name is None else self._topics[name]

    def topics(self) -> Sequence[TopicRecord]:
        """All topics, by name."""
        return [self._topics[name] for name in sorted(self._topics)]

    async def create_topic(
        self, name: str, partitions: int, configs: Mapping[str, str], *, by: str = _OURSELVES
    ) -> TopicRecord:
        """Make a topic whose name and configs have been checked, durably; the caller holds `topic_changes`.

        `by`, here and below, is whose wish it is, for the log.

        Raises:
            TopicExistsError: there is one of that name.
            StorageError: the disk fails; there is no such topic.
        """
        topic = TopicRecord(name, uuid.uuid4(), partitions, dict(configs))
        self.store.create_topic(topic)
        try:
            creation = self.logs.begin_creation(name, range(partitions), topic.topic_id, configs)
            await self._in_thread(creation.run)
            creation.complete()
        except StorageError:
            self.store.begin_deletion(topic.topic_id)  # which the next start finishes: files may be left
            raise
        self._learn(topic)
        logger.info("topic created", extra={"topic": name, "partitions": partitions, "configs": dict(configs), "by": by})
        return topic

    def configure_topic(self, topic: TopicRecord, configs: Mapping[str, str], *, by: str = _OURSELVES) -> None:
        """Give a topic these settings of its own, and no others, durably and at once; they have been checked.

        Raises:
            StorageError: the store fails; nothing has changed.
        """
        self.store.configure_topic(topic.topic_id, configs)
        self._learn(replace(topic, configs=dict(configs)))
        self.logs.configure(topic.name, configs)
        logger.info("topic configured", extra={"topic": topic.name, "configs": dict(configs), "by": by})

    async def delete_topic(self, topic: TopicRecord, *, by: str = _OURSELVES) -> None:
        """Delete a topic and its files; the caller holds `topic_changes`. A crash in between is finished by the next `load`.

        Raises:
            StorageError: the disk fails; the topic is gone, its files will be after the next start.
        """
        self.store.begin_deletion(topic.topic_id)
        del self._topics[topic.name]
        del self._names_by_id[topic.topic_id]
        self.encoded.clear()
        gone = [self.logs.get(topic.name, partition) for partition in range(topic.partitions)]
        deletion = self.logs.begin_deletion(topic.name, topic.topic_id)
        for log in gone:
            self.waiters.gone(log)
        if self.groups is not None:
            self.groups.topic_deleted(topic.name)
        self.metrics.traffic.topic_deleted(topic.name)
        async with self._step_runs:  # none of these logs, then: it would write into a directory that has another name
            await self._in_thread(deletion.run)
        deletion.complete()
        if self.logs.is_whole:
            self._forget(topic)
        logger.info("topic deleted", extra={"topic": topic.name, "by": by})

    async def offsets_topic(self) -> TopicRecord:
        """`__consumer_offsets`, made if there is none: compacted, so retention deletes nothing of it."""
        configs = internal_settings(OFFSETS_TOPIC, self.config.offsets_topic_segment_bytes)
        return await self.ensure_internal_topic(OFFSETS_TOPIC, self.config.offsets_topic_num_partitions, configs)

    async def ensure_internal_topic(self, name: str, partitions: int, configs: Mapping[str, str]) -> TopicRecord:
        """The broker's own topic of that name, made if there is none, also where the caller is cancelled meanwhile.

        Raises:
            StorageError: the disk fails.
        """

        async def once() -> TopicRecord:
            async with self.topic_changes:
                return self._topics.get(name) or await self.create_topic(name, partitions, configs)

        topic = self._topics.get(name)
        return await asyncio.shield(asyncio.ensure_future(once())) if topic is None else topic

    def _learn(self, topic: TopicRecord) -> None:
        self._topics[topic.name] = topic
        self._names_by_id[topic.topic_id] = topic.name
        self.encoded.clear()

    def _forget(self, topic: TopicRecord) -> None:
        try:
            self.store.finish_deletion(topic.topic_id)
        except StorageError as error:  # as on a full disk: the next start asks again
            logger.warning("a deletion is not noted as done", extra={"topic": topic.name, "error": str(error)})

    def _adopt_strays(self) -> None:
        """Take over logs that the store does not know (it was lost, or is older than they are): data is not dropped for it."""
        strays: dict[str, list[PartitionLog]] = {}
        for log in self.logs.all():
            if log.topic not in self._topics:
                strays.setdefault(log.topic, []).append(log)
        for name, logs in strays.items():
            configs = internal_settings(name, self.config.offsets_topic_segment_bytes)
            topic = TopicRecord(name, logs[0].topic_id, 1 + max(log.partition for log in logs), configs)
            try:
                self.store.create_topic(topic)
                never_give_again(self.store, max(log.greatest_producer_id for log in logs))
            except StorageError as error:
                logger.warning("a topic is not noted in the store", extra={"topic": name, "error": str(error)})
            self.logs.restore(name, topic.partitions, topic.topic_id, configs)
            self.logs.configure(name, configs)
            self._learn(topic)
            logger.warning(
                "topic unknown to the store: taken over from its files, with default settings",
                extra={"topic": name},
            )

    def traffic(self, name: str) -> TopicTraffic:
        """Where what goes through a topic is counted; a name that does not exist has no count of its own."""
        counts = self.metrics.traffic
        return counts.of(name) if name in self._topics else counts.unknown

    # logs

    def log(self, topic: str, partition: int) -> PartitionLog | None:
        """The log of a partition; None if there is no such partition."""
        return self.logs.get(topic, partition)

    def append(self, log: PartitionLog, records: bytes) -> AppendResult | asyncio.Future[AppendResult]:
        """Append the broker's own record batch and wake who waits; a future where it must wait for the disk, or for others."""
        return self._appends.append_own(log, records)

    def append_from_client(self, log: PartitionLog, records: bytes | memoryview) -> AppendResult | asyncio.Future[AppendResult]:
        """Append what a client sent for one partition and wake who waits; a future where the batch takes a while to inspect."""
        return self._appends.append(log, records)

    def _appended(self, log: PartitionLog, result: AppendResult, size_bytes: int) -> None:
        traffic = self.metrics.traffic.of(log.topic)
        traffic.bytes_in += size_bytes
        traffic.messages_in += result.last_offset - result.base_offset + 1
        if log.high_watermark == log.log_end_offset:
            self.waiters.grown(log, size_bytes)
        else:
            self.flusher.appended(log, size_bytes)

    async def look_into(self, look: Callable[[], T]) -> T:
        """What a look into batches finds, in the threads that inspect them; its exceptions are raised here."""
        return await self._appends.look_into(look)

    async def committed(self, log: PartitionLog, offset: int) -> None:
        """Return when everything before `offset` meets the topic's durability."""
        if log.high_watermark < offset:
            await self.waiters.high_watermark_reaches(log, offset)

    def delete_records(self, log: PartitionLog, offset: int) -> None:
        """Records before `offset`, at most the high watermark, are gone; for good when `log_starts_durable` says so."""
        log.retirement.delete_records(offset, self.clock.wall_ms())
        logger.info("records deleted", extra={"topic": log.topic, "partition": log.partition, "before": log.log_start_offset})

    async def log_starts_durable(self) -> bool:
        """Write where the logs start; whether that is on disk."""
        async with self._checkpoints, self._step_runs:
            steps = self.logs.log_start_steps()
            for step in steps:
                await self._in_thread(step.run)
                step.complete()
        return all(step.error is None for step in steps)

    async def maintain(self) -> None:
        """Let the logs do what is due (what may block, in a thread; retention here); once a second."""
        async with self._checkpoints:
            for step in self.logs.due_steps(self.clock.wall_ms()):
                async with self._step_runs:
                    await self._in_thread(step.run)
                step.complete()
        now_ms = self.clock.wall_ms()
        self.holds.look(now_ms)
        self.logs.keep_house(now_ms)
        self.quotas.sweep(self.clock.monotonic_ms())
        self.flusher.look_again()
        self._appends.look_at_pace()

    async def close(self) -> None:
        """Return when no batch and no disk work is under way; the logs may then be closed."""
        self.logins.close()
        await self._appends.close()
        await self.flusher.close()
        async with self.topic_changes:
            pass

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, work)

    # producers

    def next_producer_id(self) -> int:
        """A producer id that nobody ever had; taken from blocks, so that most cost no disk write."""
        if not self._producer_ids:
            first = self.store.allocate_producer_ids(_PRODUCER_ID_BLOCK)
            self._producer_ids = range(first, first + _PRODUCER_ID_BLOCK)
        producer_id = self._producer_ids[0]
        self._producer_ids = self._producer_ids[1:]
        return producer_id


def random_cluster_id() -> str:
    """A cluster id as Kafka makes them: a UUID in URL-safe base64."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _tokens(config: BrokerConfig, clock: Clock) -> TokenVerifier | None:
    """Who says what bearer tokens are worth, if any are taken; its libraries take a fifth of a second to load."""
    url = config.sasl_oauthbearer_jwks_endpoint_url
    if url is None:
        return None
    from headrace.broker.security.tokens import ProviderTokens, TokenRules

    rules = TokenRules(
        config.sasl_oauthbearer_expected_audience,
        config.sasl_oauthbearer_expected_issuer,
        config.sasl_oauthbearer_sub_claim_name,
        config.sasl_oauthbearer_clock_skew_seconds * 1000,
    )
    return ProviderTokens(url, rules, config.sasl_oauthbearer_jwks_endpoint_refresh_ms, clock)
