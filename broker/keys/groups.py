"""Consumer groups and their offsets."""

from pydantic import Field, model_validator

from headrace.broker.keys.numbers import NotNegative, Positive
from headrace.config import Section


class GroupKeys(Section):
    """The keys of groups."""

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

    @model_validator(mode="after")
    def _session_timeouts_have_room(self) -> "GroupKeys":
        if self.group_min_session_timeout_ms > self.group_max_session_timeout_ms:
            raise ValueError("group.min.session.timeout.ms is above group.max.session.timeout.ms: no member could join")
        return self
