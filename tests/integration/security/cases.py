"""What each API needs, as Kafka's KafkaApis, ControllerApis, AclApis and ConfigHelper ask for it, and the code of the refusal.

Everything is called SECRET: a topic, a group. A case without a refusal code is one that shows less instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kio.schema.errors import ErrorCode

from headrace.broker.log.record import Record, build_batch
from headrace.broker.security.access import CLUSTER_NAME, Operation, ResourceType
from tests.integration.security.calls import Right

SECRET = "secret"
WHISPERED = build_batch([Record(None, b"whispered", 1_600_000_000_000)])
NO_RIGHT_NEEDED = {
    17: "SaslHandshake",
    18: "ApiVersions",
    36: "SaslAuthenticate",
    60: "DescribeCluster",
}  # told to everybody, as in Kafka
TOPIC, GROUP, CLUSTER = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER
NO_TOPIC, NO_GROUP, NO_CLUSTER = (
    ErrorCode.topic_authorization_failed,
    ErrorCode.group_authorization_failed,
    ErrorCode.cluster_authorization_failed,
)


@dataclass(frozen=True)
class Case:
    """One way to use one API.

    Attributes:
        body: of the request, for all versions, given the topic's id.
        needs: each right that is needed, and the code of the refusal without it (None: SECRET is left out of the answer).
        outcome: a code in the answer to who has these rights, in the highest version.
        versions: None for all.
        hides: whether the refusal is the same where SECRET is not there at all (Kafka does not hide ids).
        instead: other rights, each of which would do as well.
        absent: whether SECRET must not be there for the call to work.
    """

    key: int
    body: Callable[[UUID], Mapping[str, Any]]
    needs: tuple[tuple[Right, ErrorCode | None], ...]
    outcome: ErrorCode = ErrorCode.none
    versions: range | None = None
    hides: bool = True
    instead: tuple[Right, ...] = ()
    absent: bool = False


def on_topic(operation: Operation, code: ErrorCode | None = NO_TOPIC) -> tuple[Right, ErrorCode | None]:
    return (operation, TOPIC, SECRET), code


def on_group(operation: Operation, code: ErrorCode | None = NO_GROUP) -> tuple[Right, ErrorCode | None]:
    return (operation, GROUP, SECRET), code


def on_cluster(operation: Operation, code: ErrorCode | None = NO_CLUSTER) -> tuple[Right, ErrorCode | None]:
    return (operation, CLUSTER, CLUSTER_NAME), code


def always(**body: Any) -> Callable[[UUID], Mapping[str, Any]]:
    return lambda _: body


def produce(_: UUID) -> Mapping[str, Any]:
    data = [{"name": SECRET, "partition_data": [{"index": 0, "records": WHISPERED}]}]
    return {"transactional_id": None, "acks": 1, "timeout": 9000, "topic_data": data}


def fetch(topic_id: UUID, replica_id: int = -1) -> Mapping[str, Any]:
    partition = {
        "partition": 0,
        "current_leader_epoch": -1,
        "fetch_offset": 0,
        "last_fetched_epoch": -1,
        "log_start_offset": -1,
        "partition_max_bytes": 1 << 20,
    }
    return {
        "replica_id": replica_id,
        "replica_state": {"replica_id": replica_id, "replica_epoch": -1},
        "max_wait": 0,
        "min_bytes": 1,
        "max_bytes": 1 << 20,
        "isolation_level": 0,
        "session_id": 0,
        "session_epoch": -1,
        "topics": [{"topic": SECRET, "topic_id": topic_id, "partitions": [partition]}],
        "forgotten_topics_data": [],
        "rack_id": "",
    }


def metadata(topics: list[dict[str, Any]] | None, *, create: bool = False) -> Mapping[str, Any]:
    return {
        "topics": topics,
        "allow_auto_topic_creation": create,
        "include_cluster_authorized_operations": False,
        "include_topic_authorized_operations": False,
    }


NAMED = [{"name": SECRET, "topic_id": None}]
OFFSET_ASKED = {"partition_index": 0, "current_leader_epoch": -1, "timestamp": -1, "max_num_offsets": 1}
EPOCH_ASKED = {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}
NEW_TOPIC = {"name": SECRET, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}
MEMBER = {"group_id": SECRET, "member_id": "m", "group_instance_id": None, "generation_id": 1}
JOIN = {**MEMBER, "session_timeout": 1, "rebalance_timeout": 1, "protocol_type": "consumer", "reason": None}
PROTOCOLS = [{"name": "range", "metadata": b""}]
SYNC = {**MEMBER, "protocol_type": "consumer", "protocol_name": "range", "assignments": []}
LEAVE = {**MEMBER, "members": [{"member_id": "m", "group_instance_id": None, "reason": None}]}
ACL = {"resource_type": 2, "resource_name": SECRET, "resource_pattern_type": 3, "principal": "User:x", "host": "*"}
ACL_FILTER = {
    "resource_type_filter": 2,
    "resource_name_filter": SECRET,
    "pattern_type_filter": 3,
    "principal_filter": None,
    "host_filter": None,
    "operation": 1,
    "permission_type": 1,
}
QUOTA = {
    "entity": [{"entity_type": "user", "entity_name": "x"}],
    "ops": [{"key": "producer_byte_rate", "value": 9e6, "remove": False}],
}


def commit(topic_id: UUID) -> Mapping[str, Any]:
    partition = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}
    return {
        "group_id": SECRET,
        "generation_id_or_member_epoch": -1,
        "member_id": "",
        "group_instance_id": None,
        "retention_time": -1,
        "topics": [{"name": SECRET, "topic_id": topic_id, "partitions": [partition]}],
    }


def committed(topic_id: UUID, *, every: bool = False) -> Mapping[str, Any]:
    topics = None if every else [{"name": SECRET, "topic_id": topic_id, "partition_indexes": [0]}]
    group = {"group_id": SECRET, "member_id": None, "member_epoch": -1, "topics": topics}
    return {"group_id": SECRET, "topics": topics, "groups": [group], "require_stable": False}


def configs_of(kind: int, name: str) -> Callable[[UUID], Mapping[str, Any]]:
    asked = {"resource_type": kind, "resource_name": name, "configuration_keys": None}
    return always(resources=[asked], include_synonyms=True, include_documentation=False)


def altered(kind: int, name: str) -> Callable[[UUID], Mapping[str, Any]]:
    settings = [{"name": "retention.ms", "config_operation": 0, "value": "99"}]
    resource = {"resource_type": kind, "resource_name": name, "configs": settings}
    return always(resources=[resource], validate_only=False)


READ, WRITE, CREATE, DELETE = Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DELETE
ALTER, DESCRIBE = Operation.ALTER, Operation.DESCRIBE

CASES = {
    "produce": Case(0, produce, (on_topic(WRITE),)),
    "fetch by name": Case(1, fetch, (on_topic(READ),), versions=range(4, 13)),
    "fetch by id": Case(1, fetch, (on_topic(READ),), versions=range(13, 17), hides=False),
    "fetch as a follower": Case(
        1, lambda topic_id: fetch(topic_id, 2), (on_cluster(Operation.CLUSTER_ACTION, NO_TOPIC),), hides=False
    ),
    "list offsets": Case(
        2,
        always(replica_id=-1, isolation_level=0, topics=[{"name": SECRET, "partitions": [OFFSET_ASKED]}], timeout=9000),
        (on_topic(DESCRIBE),),
    ),
    "metadata of a topic": Case(3, lambda _: metadata(NAMED), (on_topic(DESCRIBE),)),
    "metadata of a topic by id": Case(
        3,
        lambda topic_id: metadata([{"name": None, "topic_id": topic_id}]),
        (on_topic(DESCRIBE),),
        versions=range(12, 13),
        hides=False,
    ),
    "metadata of all topics": Case(3, lambda _: metadata(None), (on_topic(DESCRIBE, None),), versions=range(1, 13)),
    "metadata of all topics in v0": Case(3, lambda _: metadata([]), (on_topic(DESCRIBE, None),), versions=range(1)),
    "metadata that makes a topic": Case(
        3,
        lambda _: metadata(NAMED, create=True),
        (on_topic(DESCRIBE), on_topic(CREATE)),
        versions=range(4, 13),
        absent=True,
        instead=((CREATE, CLUSTER, CLUSTER_NAME),),
    ),
    "commit offsets": Case(8, commit, (on_group(READ), on_topic(READ)), versions=range(2, 10)),
    "commit offsets by id": Case(8, commit, (on_group(READ), on_topic(READ)), versions=range(10, 11), hides=False),
    "fetch offsets": Case(9, committed, (on_group(DESCRIBE), on_topic(DESCRIBE)), versions=range(1, 10)),
    "fetch offsets by id": Case(9, committed, (on_group(DESCRIBE), on_topic(DESCRIBE)), versions=range(10, 11), hides=False),
    "fetch all offsets": Case(
        9,
        lambda topic_id: committed(topic_id, every=True),
        (on_group(DESCRIBE), on_topic(DESCRIBE, None)),
        versions=range(2, 8),
    ),
    "find a coordinator": Case(10, always(key=SECRET, key_type=0, coordinator_keys=[SECRET]), (on_group(DESCRIBE),)),
    "join a group": Case(11, always(**JOIN, protocols=PROTOCOLS), (on_group(READ),), outcome=ErrorCode.invalid_session_timeout),
    "heartbeat": Case(12, always(**MEMBER), (on_group(READ),), outcome=ErrorCode.unknown_member_id),
    "leave a group": Case(13, always(**LEAVE), (on_group(READ),), outcome=ErrorCode.unknown_member_id),
    "sync a group": Case(14, always(**SYNC), (on_group(READ),), outcome=ErrorCode.unknown_member_id),
    "describe a group": Case(15, always(groups=[SECRET], include_authorized_operations=True), (on_group(DESCRIBE),)),
    "list groups": Case(
        16, always(states_filter=[], types_filter=[]), (on_group(DESCRIBE, None),), instead=((DESCRIBE, CLUSTER, CLUSTER_NAME),)
    ),
    "list groups of the cluster": Case(
        16, always(states_filter=[], types_filter=[]), (on_cluster(DESCRIBE, None),), instead=((DESCRIBE, GROUP, "*"),)
    ),
    "create a topic": Case(
        19,
        always(topics=[NEW_TOPIC], timeout=9000, validate_only=False),
        (on_topic(CREATE),),
        absent=True,
        instead=((CREATE, CLUSTER, CLUSTER_NAME),),
    ),
    "create a topic in the cluster": Case(
        19,
        always(topics=[NEW_TOPIC], timeout=9000, validate_only=False),
        (on_cluster(CREATE, NO_TOPIC),),
        absent=True,
        instead=((CREATE, TOPIC, SECRET),),
    ),
    "delete a topic": Case(
        20,
        always(topics=NAMED, topic_names=[SECRET], timeout=9000),
        (on_topic(DELETE),),
        instead=((DELETE, CLUSTER, CLUSTER_NAME),),
    ),
    "delete a topic by id": Case(
        20,
        lambda topic_id: {"topics": [{"name": None, "topic_id": topic_id}], "timeout": 9000},
        (on_topic(DELETE),),
        versions=range(6, 7),
        hides=False,
        instead=((DELETE, CLUSTER, CLUSTER_NAME),),
    ),
    "delete a topic in the cluster": Case(
        20,
        always(topics=NAMED, topic_names=[SECRET], timeout=9000),
        (on_cluster(DELETE, NO_TOPIC),),
        instead=((DELETE, TOPIC, SECRET),),
    ),
    "delete records": Case(
        21,
        always(topics=[{"name": SECRET, "partitions": [{"partition_index": 0, "offset": 1}]}], timeout=9000),
        (on_topic(DELETE),),
    ),
    "a producer id": Case(
        22,
        always(transactional_id=None, transaction_timeout=0, producer_id=-1, producer_epoch=-1),
        (on_cluster(Operation.IDEMPOTENT_WRITE),),
        instead=((WRITE, TOPIC, "*"),),
    ),
    "a producer id to write to a topic": Case(
        22,
        always(transactional_id=None, transaction_timeout=0, producer_id=-1, producer_epoch=-1),
        (on_topic(WRITE, NO_CLUSTER),),
        instead=(
            (WRITE, TOPIC, "*"),
            (Operation.IDEMPOTENT_WRITE, CLUSTER, CLUSTER_NAME),
        ),
    ),
    "the end of an epoch": Case(
        23,
        always(replica_id=-1, topics=[{"topic": SECRET, "partitions": [EPOCH_ASKED]}]),
        (on_topic(DESCRIBE),),
        instead=((Operation.CLUSTER_ACTION, CLUSTER, CLUSTER_NAME),),
    ),
    "describe access rules": Case(29, always(**ACL_FILTER), (on_cluster(DESCRIBE),)),
    "create access rules": Case(30, always(creations=[{**ACL, "operation": 3, "permission_type": 3}]), (on_cluster(ALTER),)),
    "delete access rules": Case(31, always(filters=[ACL_FILTER]), (on_cluster(ALTER),)),
    "describe a topic's settings": Case(32, configs_of(2, SECRET), (on_topic(Operation.DESCRIBE_CONFIGS),)),
    "describe the broker's settings": Case(32, configs_of(4, "1"), (on_cluster(Operation.DESCRIBE_CONFIGS),)),
    "alter a topic's settings": Case(33, altered(2, SECRET), (on_topic(Operation.ALTER_CONFIGS),)),
    "alter the broker's settings": Case(
        33, altered(4, "1"), (on_cluster(Operation.ALTER_CONFIGS),), outcome=ErrorCode.invalid_request
    ),
    "delete groups": Case(42, always(groups_names=[SECRET]), (on_group(DELETE),)),
    "alter some of a topic's settings": Case(44, altered(2, SECRET), (on_topic(Operation.ALTER_CONFIGS),)),
    "alter some of the broker's settings": Case(
        44, altered(4, "1"), (on_cluster(Operation.ALTER_CONFIGS),), outcome=ErrorCode.invalid_request
    ),
    "delete offsets": Case(
        47,
        always(group_id=SECRET, topics=[{"name": SECRET, "partitions": [{"partition_index": 0}]}]),
        (on_group(DELETE), on_topic(READ)),
    ),
    "describe quotas": Case(48, always(components=[], strict=False), (on_cluster(Operation.DESCRIBE_CONFIGS),)),
    "alter quotas": Case(49, always(entries=[QUOTA], validate_only=False), (on_cluster(Operation.ALTER_CONFIGS),)),
    "describe users": Case(50, always(users=[{"name": "x"}]), (on_cluster(DESCRIBE),), outcome=ErrorCode.resource_not_found),
    "alter users": Case(
        51,
        always(deletions=[{"name": "x", "mechanism": 1}], upsertions=[]),
        (on_cluster(ALTER),),
        outcome=ErrorCode.resource_not_found,
    ),
}
