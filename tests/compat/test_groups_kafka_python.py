"""kafka-python as a member of groups, in processes of their own where one is killed."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tests.compat.group_broker import SESSION_TIMEOUT_MS, address, group_broker
from tests.processes import Part

MEMBER = """
import sys
from kafka import KafkaConsumer
consumer = KafkaConsumer(sys.argv[2], bootstrap_servers=sys.argv[1], group_id=sys.argv[3], session_timeout_ms=int(sys.argv[4]),
                         heartbeat_interval_ms=200)
while True:
    consumer.poll(100)
"""


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with group_broker(tmp_path_factory.mktemp("groups")) as running:
        yield running


@pytest.fixture
def admin(part: Part) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=address(part))
    yield client
    client.close()


def member(part: Part, topic: str, group: str) -> KafkaConsumer:
    return KafkaConsumer(
        topic,
        bootstrap_servers=address(part),
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=200,
    )


def poll_until(consumers: list[KafkaConsumer], done: Callable[[], bool], timeout_s: float = 20) -> list[bytes]:
    got: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, [consumer.assignment() for consumer in consumers]
        for consumer in consumers:
            for records in consumer.poll(50).values():
                got.extend(record.value for record in records)
    return got


def share(consumer: KafkaConsumer) -> set[int]:
    return {each.partition for each in consumer.assignment()}


def make_topic(admin: KafkaAdminClient, name: str, partitions: int) -> None:
    admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}})


def test_two_members_share_the_partitions_and_one_that_leaves_gives_them_back(part: Part, admin: KafkaAdminClient) -> None:
    make_topic(admin, "shared", 4)
    first, second = member(part, "shared", "sharing"), member(part, "shared", "sharing")
    poll_until([first], lambda: len(share(first)) == 4)
    poll_until([first, second], lambda: len(share(first)) == len(share(second)) == 2)
    second.close()
    poll_until([first], lambda: len(share(first)) == 4)
    first.close()


def test_the_partitions_of_a_killed_member_go_to_the_other_when_its_session_ends(part: Part, admin: KafkaAdminClient) -> None:
    make_topic(admin, "killed", 4)
    arguments = [address(part), "killed", "killing", str(SESSION_TIMEOUT_MS)]
    victim = subprocess.Popen([sys.executable, "-c", MEMBER, *arguments])
    try:
        survivor = member(part, "killed", "killing")
        poll_until([survivor], lambda: len(share(survivor)) == 2)
    finally:
        victim.kill()
        victim.wait()
    began = time.monotonic()
    poll_until([survivor], lambda: len(share(survivor)) == 4)
    assert time.monotonic() - began > SESSION_TIMEOUT_MS / 1000 / 2
    survivor.close()


def test_committed_offsets_survive_kill_9(part: Part, admin: KafkaAdminClient) -> None:
    make_topic(admin, "committed", 2)
    producer = KafkaProducer(bootstrap_servers=address(part))
    for number in range(10):
        producer.send("committed", json.dumps(number).encode(), partition=number % 2)
    producer.close()
    consumer = member(part, "committed", "surviving")
    got: list[bytes] = []
    while len(got) < 10:
        got += poll_until([consumer], lambda: len(share(consumer)) == 2)
        for records in consumer.poll(1_000).values():
            got.extend(record.value for record in records)
    zero, one = TopicPartition("committed", 0), TopicPartition("committed", 1)
    consumer.commit({zero: OffsetAndMetadata(5, "midway", -1), one: OffsetAndMetadata(4, "", -1)})
    consumer.close()
    part.kill()
    part.start()
    again = member(part, "committed", "surviving")
    assert again.committed(zero, metadata=True)[:2] == (5, "midway")
    assert again.committed(one) == 4
    assert poll_until([again], lambda: len(share(again)) == 2) in ([], [b"9"])
    again.close()


def test_an_administrator_sees_and_deletes_groups(part: Part, admin: KafkaAdminClient) -> None:
    make_topic(admin, "administered", 2)
    consumer = member(part, "administered", "administered")
    poll_until([consumer], lambda: len(share(consumer)) == 2)
    consumer.commit({TopicPartition("administered", 0): OffsetAndMetadata(7, "", -1)})
    described = admin.describe_groups(["administered"])["administered"]
    assert (described["group_state"], described["protocol_type"]) == ("Stable", "consumer")
    assert len(described["members"]) == 1
    assert [each["group_id"] for each in admin.list_groups(states_filter=["Stable"])] == ["administered"]
    assert "administered" not in [each["group_id"] for each in admin.list_groups(types_filter=["consumer"])]
    consumer.close()
    offsets = admin.list_group_offsets("administered")["administered"]
    assert {each.partition: offset.offset for each, offset in offsets.items()} == {0: 7}
    admin.alter_group_offsets("administered", {TopicPartition("administered", 1): OffsetAndMetadata(3, "", -1)})
    assert len(admin.list_group_offsets("administered")["administered"]) == 2
    admin.delete_groups(["administered"])
    assert "administered" not in [each["group_id"] for each in admin.list_groups()]
