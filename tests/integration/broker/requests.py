"""Bodies of requests and record batches, short enough for a test to be read."""

import time
from typing import Any

from headrace.broker.log.record import Record, build_batch, records
from tests.integration.groups.wire_client import WireClient

PRODUCE, FETCH, LIST_OFFSETS, METADATA, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID, EPOCHS = 0, 1, 2, 3, 19, 20, 22, 23


def batch(*values: bytes, producer_id: int = -1, sequence: int = -1) -> bytes:
    """A record batch of now; idempotent where a producer id is given."""
    now_ms = time.time_ns() // 1_000_000
    epoch = 0 if producer_id >= 0 else -1
    content = [Record(None, value, now_ms) for value in values]
    return build_batch(content, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)


def create_topic(client: WireClient, name: str, partitions: int = 1, **configs: str) -> None:
    """Make a topic; `_` in settings is `.`."""
    settings = [{"name": key.replace("_", "."), "value": value} for key, value in configs.items()]
    topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": settings}
    answer = client.call(CREATE_TOPICS, 7, {"topics": [topic], "timeout": 9000, "validate_only": False})
    assert answer.topics[0].error_code == 0, answer


def produce_body(topic: str, records_: bytes | None, *, partition: int = 0, acks: int = 1) -> dict[str, Any]:
    data = [{"name": topic, "partition_data": [{"index": partition, "records": records_}]}]
    return {"transactional_id": None, "acks": acks, "timeout": 9000, "topic_data": data}


def produce(client: WireClient, topic: str, records_: bytes | None, *, partition: int = 0, acks: int = 1) -> Any:
    """The answer for one partition."""
    answer = client.call(PRODUCE, 9, produce_body(topic, records_, partition=partition, acks=acks))
    return answer.responses[0].partition_responses[0]


def fetch_body(
    topic: str,
    offset: int,
    *,
    partitions: tuple[int, ...] = (0,),
    max_wait: int = 0,
    min_bytes: int = 1,
    max_bytes: int = 1 << 20,
    partition_max_bytes: int = 1 << 20,
    epoch: int = -1,
) -> dict[str, Any]:
    asked = [
        {
            "partition": partition,
            "current_leader_epoch": epoch,
            "fetch_offset": offset,
            "last_fetched_epoch": -1,
            "log_start_offset": -1,
            "partition_max_bytes": partition_max_bytes,
        }
        for partition in partitions
    ]
    return {
        "replica_id": -1,
        "max_wait": max_wait,
        "min_bytes": min_bytes,
        "max_bytes": max_bytes,
        "isolation_level": 0,
        "session_id": 0,
        "session_epoch": -1,
        "topics": [{"topic": topic, "partitions": asked}],
        "forgotten_topics_data": [],
        "rack_id": "",
    }


def fetch(client: WireClient, topic: str, offset: int, **options: Any) -> Any:
    """The answer for one partition."""
    return client.call(FETCH, 11, fetch_body(topic, offset, **options)).responses[0].partitions[0]


def values(fetched: Any) -> list[bytes | None]:
    """The values of what was fetched."""
    return [record.value for record in records(bytes(fetched.records or b""))]


def list_offset(client: WireClient, topic: str, timestamp: int, *, version: int = 9) -> tuple[int, int, int]:
    """(error, timestamp, offset) of partition 0."""
    asked = [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": timestamp}]
    body = {"replica_id": -1, "isolation_level": 0, "topics": [{"name": topic, "partitions": asked}], "timeout": 9000}
    found = client.call(LIST_OFFSETS, version, body).topics[0].partitions[0]
    return found.error_code, found.timestamp, found.offset


def metadata(client: WireClient, *names: str, version: int = 12, create: bool = True) -> Any:
    body = {
        "topics": [{"name": name, "topic_id": None} for name in names],
        "allow_auto_topic_creation": create,
        "include_cluster_authorized_operations": False,
        "include_topic_authorized_operations": False,
    }
    return client.call(METADATA, version, body)


def new_producer_id(client: WireClient) -> int:
    body = {"transactional_id": None, "transaction_timeout": 0, "producer_id": -1, "producer_epoch": -1}
    answer = client.call(INIT_PRODUCER_ID, 4, body)
    assert answer.error_code == 0
    return int(answer.producer_id)
