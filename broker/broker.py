"""One node: what handlers are given. Its parts have an owner each, and share one event loop (design D2).

topics        which there are, and how they are set          logs          every partition's log
changes       of what the store keeps, one at a time         store         topics, users, rules, quotas, producer ids
appends       into the logs, and who is told of them         waiters       who waits for a log to grow
housekeeping  disk work beside appends                       flusher       fsyncs that a topic's durability asks for
"""

import base64
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from headrace.broker.appends import Appends
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.changes import Changes
from headrace.broker.coordination.store import CoordinationStore
from headrace.broker.flushing import Flusher
from headrace.broker.holding import Holds
from headrace.broker.housekeeping import Housekeeping
from headrace.broker.log.config import broker_defaults
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.network.throttling import Throttler
from headrace.broker.producer_ids import ProducerIds
from headrace.broker.quotas.clients import ClientQuotas
from headrace.broker.quotas.rate import Windows
from headrace.broker.security.access import Authorizer, EverybodyMay
from headrace.broker.security.denials import Denials
from headrace.broker.security.logins import Logins, TokenVerifier
from headrace.broker.security.rules import AccessRules
from headrace.broker.security.users import Users
from headrace.broker.telemetry.metrics import Metrics, TopicTraffic
from headrace.broker.topics import Topics
from headrace.broker.unhurried import done
from headrace.broker.waiting import Waiters
from headrace.clock import Clock
from headrace.failed_logins import FailedLogins

if TYPE_CHECKING:
    from headrace.broker.handlers.api import Api


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
        self.cluster_id = logs.cluster_id
        self.node_id = config.node_id
        self.log_defaults = broker_defaults(config.log_keys())
        self.metrics = Metrics()
        self.quotas = ClientQuotas(Windows(config.quota_window_num, config.quota_window_size_seconds * 1000))
        self.throttler = Throttler(self.quotas, clock)
        self.waiters = Waiters()
        self.flusher = Flusher(clock, self.waiters, executor, self.metrics.flushes)
        self.appends = Appends(clock, self.metrics.traffic, self.waiters, self.flusher)
        self.housekeeping = Housekeeping(logs, clock, executor)
        self.changes = Changes(executor)
        self.topics = Topics(config, store, logs, self.changes, self.housekeeping, self._topic_deleted)
        self.holds = Holds(self)
        self.producer_ids = ProducerIds(store)
        self.denials = Denials()
        self.access_rules = AccessRules(store, config, self.denials.note) if config.authorizer_class_name else None
        self.authorizer: Authorizer = self.access_rules.authorizer if self.access_rules else EverybodyMay()
        failed = FailedLogins(config.connection_failed_authentication_delay_ms)
        self.logins = Logins(Users(store), clock, failed, _tokens(config, clock))
        self.groups: Any = None  # set by the command, once the groups are loaded

    def load(self) -> None:
        """Learn quotas and topics; before anything is served."""
        self.quotas.book.load(self.store.entries("quota"))
        self.topics.load()

    def traffic(self, topic: str) -> TopicTraffic:
        """Where what goes through a topic is counted; a name that does not exist has no count of its own."""
        counts = self.metrics.traffic
        return counts.of(topic) if topic in self.topics.by_name else counts.unknown

    async def maintain(self) -> None:
        """Let everything do what is due (what may block, in a thread; the rest here); once a second."""
        await self.housekeeping.run_due_steps()
        now_ms = self.clock.wall_ms()
        self.logs.look_at_space()
        await done(self.holds.look(now_ms))
        await done(self.logs.keep_house(now_ms))
        self.quotas.sweep(self.clock.monotonic_ms())
        self.flusher.look_again()
        self.appends.look_at_pace()

    async def close(self) -> None:
        """Return when no batch and no disk work is under way; the logs may then be closed."""
        self.logins.close()
        await self.appends.close()
        await self.flusher.close()
        async with self.topics.changes:
            await self.changes.idle()

    def _topic_deleted(self, topic: str, logs: Iterable[PartitionLog]) -> None:
        for log in logs:
            self.waiters.gone(log)
        if self.groups is not None:
            self.groups.topic_deleted(topic)
        self.metrics.traffic.topic_deleted(topic)


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
