"""The broker's configuration: Kafka's own keys, meanings and defaults (design D9), plus `http` and `coordination`.

The keys stand by family in `broker/keys`. Only keys that do something are known; any other is an error that names the nearest
one.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from headrace.broker.keys.access import STANDARD_AUTHORIZER, AccessKeys
from headrace.broker.keys.cleaner import CleanerKeys
from headrace.broker.keys.groups import GroupKeys
from headrace.broker.keys.log import LogKeys
from headrace.broker.keys.network import Listener, NetworkKeys, parse_listeners
from headrace.broker.keys.numbers import NotNegative, Positive
from headrace.broker.keys.quotas import QuotaKeys
from headrace.broker.keys.security import SecurityKeys
from headrace.broker.log.compaction.plan import CleanerLimits
from headrace.broker.log.config import BROKER_KEYS, broker_defaults
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.config import Section


class CoordinationSection(Section):
    """Where topics are kept; a cluster's store comes later."""

    store: Literal["embedded"] = Field(default="embedded", description="a file beside the logs")
    path: Path | None = Field(default=None, description="the store's file; by default coordination.db in the first of log.dirs")


_SECURED = {  # what `security: on` says where nothing else is said
    "listeners": "SASL_SSL://127.0.0.1:9092",
    "authorizer.class.name": STANDARD_AUTHORIZER,
    "super.users": "User:admin",
}


def _is_on(value: object) -> bool:
    """Whether `security` reads it as true, in whatever spelling: then none of what belongs to it may be left out."""
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:  # refused with its line when the key itself is read
        return False


class BrokerConfig(AccessKeys, QuotaKeys, GroupKeys, CleanerKeys, LogKeys, SecurityKeys, NetworkKeys):
    """One broker."""

    node_id: NotNegative = Field(1, alias="node.id", description="this broker's id")
    coordination: CoordinationSection = Field(default_factory=CoordinationSection)

    num_partitions: Positive = Field(1, alias="num.partitions", description="of a topic that is made without saying how many")
    auto_create_topics_enable: bool = Field(
        True, alias="auto.create.topics.enable", description="whether a topic that is asked for or produced to is made"
    )
    delete_topic_enable: bool = Field(True, alias="delete.topic.enable", description="whether topics may be deleted")
    default_replication_factor: Literal[1] = Field(
        1, alias="default.replication.factor", description="one broker keeps one copy"
    )

    @model_validator(mode="before")
    @classmethod
    def _security_sets_defaults(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not _is_on(data.get("security", False)):
            return data
        return {**_SECURED, **data}

    @model_validator(mode="after")
    def _listeners_have_protocols(self) -> "BrokerConfig":
        for listener in parse_listeners(self.listeners):
            protocol = self.protocol(listener.name)
            if protocol is None:
                raise ValueError(f"listeners: {listener.name} has no protocol; map it in listener.security.protocol.map")
            if protocol.startswith("SASL_") and not self.of_listener(listener.name).sasl_enabled_mechanisms:
                raise ValueError(f"sasl.enabled.mechanisms: {listener.name} needs at least one")
            tokens = protocol.startswith("SASL_") and "OAUTHBEARER" in self.of_listener(listener.name).sasl_enabled_mechanisms
            if tokens and self.sasl_oauthbearer_jwks_endpoint_url is None:
                raise ValueError("sasl.oauthbearer.jwks.endpoint.url is missing: OAUTHBEARER needs the provider's keys")
            if self.security and protocol != "SASL_SSL":
                raise ValueError(f"listeners: with security on, {listener.name} must be SASL_SSL, not {protocol}")
        return self

    def protocol_of(self, listener: Listener) -> str:
        """The security protocol of one of the listeners."""
        protocol = self.protocol(listener.name)
        assert protocol is not None
        return protocol

    def knows_its_clients(self) -> bool:
        """Whether it asks who its clients are, over SASL, or what they may do: then its HTTP port does, too."""
        over_sasl = any(self.protocol_of(each).startswith("SASL_") for each in parse_listeners(self.listeners))
        return over_sasl or bool(self.authorizer_class_name)

    def log_keys(self) -> dict[str, object]:
        """The keys that give topics their defaults, as `log.config.broker_defaults` takes them."""
        values = self.model_dump(by_alias=True)
        return {key: values[key] for key in BROKER_KEYS & values.keys()}

    def log_directory(self, cluster_id: str) -> LogDirectoryConfig:
        """What the log directory is told; `cluster_id` is for a new one.

        Raises:
            ConfigError: a default of topics is wrong.
        """
        return LogDirectoryConfig(
            node_id=self.node_id,
            cluster_id=cluster_id,
            defaults=broker_defaults(self.log_keys()),
            free_bytes_min=self.log_dirs_free_bytes_min,
            producer_id_expiration_ms=self.producer_id_expiration_ms,
            producer_id_expiration_check_interval_ms=self.producer_id_expiration_check_interval_ms,
            retention_check_interval_ms=self.log_retention_check_interval_ms,
            flush_checkpoint_interval_ms=self.log_flush_offset_checkpoint_interval_ms,
            high_watermark_checkpoint_interval_ms=self.replica_high_watermark_checkpoint_interval_ms,
        )

    def cleaner_limits(self) -> CleanerLimits:
        """What one process that compacts logs may use."""
        processes = self.log_cleaner_threads
        return CleanerLimits(
            key_map_bytes=self.log_cleaner_dedupe_buffer_size // processes,
            bytes_per_second=self.log_cleaner_io_max_bytes_per_second / processes,
        )
