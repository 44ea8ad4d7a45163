"""The broker's configuration: Kafka's own keys, meanings and defaults (design D9), plus `http` and `coordination`.

Where a default differs from Kafka's, the field says why. Only keys that do something are known; any other is an error that
names the nearest one.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from headrace.broker.log.config import BROKER_KEYS, broker_defaults
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.config import Section
from headrace.config_values import HostPort, is_loopback

_DAY_MS = 86_400_000
_MAX_LONG = (1 << 63) - 1
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)]
MinusOneOrMore = Annotated[int, Field(ge=-1)]


EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


class Listener(BaseModel, frozen=True):
    """An address, as in `PLAINTEXT://127.0.0.1:9092`."""

    name: str
    host: str
    port: Port

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


class CoordinationSection(Section):
    """Where topics are kept; a cluster's store comes later."""

    store: Literal["embedded"] = Field(default="embedded", description="a file beside the logs")
    path: Path | None = Field(default=None, description="the store's file; by default coordination.db in log.dirs")


class BrokerConfig(Section):
    """One broker."""

    node_id: NotNegative = Field(1, alias="node.id", description="this broker's id")
    listeners: str = Field(
        "PLAINTEXT://127.0.0.1:9092", description="where it listens, `PLAINTEXT://host:port`; loopback unless told otherwise"
    )
    advertised_listeners: str | None = Field(
        None,
        alias="advertised.listeners",
        description="what clients are told instead, by the same names; by default what is bound",
    )
    log_dirs: Path = Field(Path("headrace-data/broker"), alias="log.dirs", description="one directory, where the logs are kept")
    http: HostPort | None = Field(None, description="address of /healthz and /metrics, host:port; none by default")
    coordination: CoordinationSection = Field(default_factory=CoordinationSection)

    num_partitions: Positive = Field(1, alias="num.partitions", description="of a topic that is made without saying how many")
    auto_create_topics_enable: bool = Field(
        True, alias="auto.create.topics.enable", description="whether a topic that is asked for or produced to is made"
    )
    delete_topic_enable: bool = Field(True, alias="delete.topic.enable", description="whether topics may be deleted")
    default_replication_factor: Literal[1] = Field(
        1, alias="default.replication.factor", description="one broker keeps one copy"
    )

    message_max_bytes: Positive = Field(1_048_588, alias="message.max.bytes", description="largest record batch, as sent")
    socket_request_max_bytes: Positive = Field(
        104_857_600, alias="socket.request.max.bytes", description="largest request; a larger one closes its connection"
    )
    connections_max_idle_ms: Positive = Field(
        600_000, alias="connections.max.idle.ms", description="a connection that is silent for so long is closed"
    )
    max_in_flight_requests_per_connection: Positive = Field(
        64,
        alias="max.in.flight.requests.per.connection",
        description="ours: a connection with more unanswered requests is not read",
    )
    fetch_max_bytes: Positive = Field(
        57_671_680, alias="fetch.max.bytes", description="largest answer to a fetch, but for one batch that is larger"
    )

    log_retention_hours: int = Field(
        168, alias="log.retention.hours", ge=-1, description="age at which a sealed segment is deleted; -1 never"
    )
    log_retention_minutes: int | None = Field(
        None, alias="log.retention.minutes", ge=-1, description="the same, finer; goes before the hours"
    )
    log_retention_ms: int | None = Field(
        None, alias="log.retention.ms", ge=-1, description="the same, finer still; goes before both"
    )
    log_retention_bytes: MinusOneOrMore = Field(
        -1, alias="log.retention.bytes", description="size of a partition above which its oldest segments are deleted; -1 any"
    )
    log_retention_check_interval_ms: Positive = Field(
        300_000, alias="log.retention.check.interval.ms", description="how often that is looked at"
    )
    log_segment_bytes: int = Field(
        1 << 30, alias="log.segment.bytes", ge=1024, le=(1 << 31) - 1, description="size at which a segment is sealed"
    )
    log_roll_hours: Positive = Field(168, alias="log.roll.hours", description="age at which a segment is sealed")
    log_roll_ms: Positive | None = Field(None, alias="log.roll.ms", description="the same, finer; goes before the hours")
    log_index_interval_bytes: NotNegative = Field(
        4096, alias="log.index.interval.bytes", description="bytes of log between two entries of an index"
    )
    log_index_size_max_bytes: int = Field(
        10 << 20, alias="log.index.size.max.bytes", ge=4096, description="size of an index at which its segment is sealed"
    )
    log_segment_delete_delay_ms: NotNegative = Field(
        60_000, alias="log.segment.delete.delay.ms", description="how long a deleted segment's files stay for who reads them"
    )
    log_flush_interval_messages: Positive = Field(
        _MAX_LONG,
        alias="log.flush.interval.messages",
        description="fsync after so many records; consumers see and acks=all waits for what is synced only",
    )
    log_flush_interval_ms: NotNegative | None = Field(
        None, alias="log.flush.interval.ms", description="the same after so long; by default the page cache is trusted"
    )
    log_flush_offset_checkpoint_interval_ms: Positive = Field(
        60_000,
        alias="log.flush.offset.checkpoint.interval.ms",
        description="how often the point is written from which recovery scans",
    )
    log_message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = Field(
        "CreateTime",
        alias="log.message.timestamp.type",
        description="whose time a record bears: the producer's or the broker's",
    )
    log_message_timestamp_before_max_ms: NotNegative = Field(
        _MAX_LONG, alias="log.message.timestamp.before.max.ms", description="how far a producer's time may lie in the past"
    )
    log_message_timestamp_after_max_ms: NotNegative = Field(
        3_600_000, alias="log.message.timestamp.after.max.ms", description="how far it may lie in the future"
    )
    log_dirs_free_bytes_min: NotNegative | None = Field(
        None,
        alias="log.dirs.free.bytes.min",
        description="ours: produce is refused when the disk has less free space; by default 256 MiB, or 5 % where that is less",
    )

    log_cleanup_policy: str = Field(
        "delete",
        alias="log.cleanup.policy",
        description="`delete`, `compact` or both; `compact` keeps all, as compaction is not built yet",
    )
    compression_type: Literal["producer"] = Field(
        "producer", alias="compression.type", description="batches are stored as they came"
    )
    min_insync_replicas: Positive = Field(
        1, alias="min.insync.replicas", description="replicas that acks=all wants in sync; there is one"
    )

    # Kafka's default of 50 spreads groups over many brokers; one broker gains nothing from it, and pays 50 open logs.
    offsets_topic_num_partitions: Positive = Field(
        4, alias="offsets.topic.num.partitions", description="of `__consumer_offsets`, when it is made"
    )
    offsets_topic_segment_bytes: int = Field(
        100 << 20, alias="offsets.topic.segment.bytes", ge=1024, description="size of its segments"
    )
    offsets_retention_minutes: Positive = Field(
        10_080, alias="offsets.retention.minutes", description="how long the offsets of a group without members are kept"
    )
    offsets_retention_check_interval_ms: Positive = Field(
        600_000, alias="offsets.retention.check.interval.ms", description="how often that is looked at"
    )
    offset_metadata_max_bytes: NotNegative = Field(
        4096, alias="offset.metadata.max.bytes", description="largest text that a commit may bring along"
    )
    group_min_session_timeout_ms: Positive = Field(
        6000, alias="group.min.session.timeout.ms", description="shortest time that a member may ask for"
    )
    group_max_session_timeout_ms: Positive = Field(
        1_800_000, alias="group.max.session.timeout.ms", description="longest time that a member may ask for"
    )
    # Kafka's 3000 spares rebalances while dozens of members start; here few do, and every first reader would wait. Not 0:
    # kafka-python 3.0 answered at once may assign before it knows the topic, and stays without partitions (6 of 40 tries).
    group_initial_rebalance_delay_ms: NotNegative = Field(
        250, alias="group.initial.rebalance.delay.ms", description="how long an empty group waits for more members"
    )
    group_max_size: Positive = Field((1 << 31) - 1, alias="group.max.size", description="members of a group")

    producer_id_expiration_ms: Positive = Field(
        _DAY_MS, alias="producer.id.expiration.ms", description="how long an idempotent producer's sequence is remembered"
    )

    @field_validator("listeners", "advertised_listeners")
    @classmethod
    def _can_be_parsed(cls, value: str | None) -> str | None:
        if value is not None:
            parse_listeners(value)
        return value

    @field_validator("log_dirs", mode="before")
    @classmethod
    def _one_directory(cls, value: object) -> object:
        if isinstance(value, str) and "," in value:
            raise ValueError("one directory is supported")
        if value == "":
            raise ValueError("name a directory")
        return value

    @field_validator("advertised_listeners")
    @classmethod
    def _can_be_reached(cls, value: str | None) -> str | None:
        for listener in parse_listeners(value) if value is not None else ():
            if listener.host in EVERY_INTERFACE or listener.port == 0:
                raise ValueError("clients need a host and a port that they can reach")
        return value

    @model_validator(mode="after")
    def _advertised_are_listeners(self) -> "BrokerConfig":
        names = {listener.name for listener in parse_listeners(self.listeners)}
        unknown = {listener.name for listener in parse_listeners(self.advertised_listeners or self.listeners)} - names
        if unknown:
            raise ValueError(f"advertised.listeners names {', '.join(sorted(unknown))}, which listeners does not")
        return self

    @model_validator(mode="after")
    def _session_timeouts_have_room(self) -> "BrokerConfig":
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ValueError("group.min.session.timeout.ms is above group.max.session.timeout.ms: no member could join")
        return self

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
            retention_check_interval_ms=self.log_retention_check_interval_ms,
            flush_checkpoint_interval_ms=self.log_flush_offset_checkpoint_interval_ms,
        )


def parse_listeners(text: str) -> list[Listener]:
    """Parse `NAME://host:port,…`; an empty host is every interface, as in Kafka.

    Raises:
        ValueError: not so written, or a protocol that is not served.
    """
    listeners = []
    for word in text.split(","):
        name, separator, address = word.strip().partition("://")
        host, colon, port = address.rpartition(":")
        if not separator or not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError("write it as PLAINTEXT://host:port")
        if name != "PLAINTEXT":
            raise ValueError(f"{name} is not served; listeners are PLAINTEXT")
        listeners.append(Listener(name=name, host=host.strip("[]") or "0.0.0.0", port=int(port)))  # noqa: S104 - the user asked
    if len({listener.name for listener in listeners}) != len(listeners):
        raise ValueError("each listener needs a name of its own")
    return listeners
