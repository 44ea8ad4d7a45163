"""confluent-kafka (librdkafka) as a member of groups."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.compat.group_broker import address, group_broker
from tests.processes import Part


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with group_broker(tmp_path_factory.mktemp("groups")) as running:
        yield running


def topic(part: Part, name: str, partitions: int) -> str:
    admin = AdminClient({"bootstrap.servers": address(part)})  # a name, or it is gone before the answer comes
    admin.create_topics([NewTopic(name, partitions)])[name].result(10)
    return name


def fill(part: Part, name: str, partitions: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": address(part)})
    for number in range(count):
        producer.produce(name, json.dumps(number).encode(), partition=number % partitions)
    assert producer.flush(10) == 0


def member(part: Part, group: str, **settings: object) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": address(part),
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 200,
            **settings,
        }
    )


def poll_until(consumers: list[Consumer], done: Callable[[], bool], timeout_s: float = 20) -> list[bytes]:
    """Poll all of them in turn until `done`; what they got."""
    got = []
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, [consumer.assignment() for consumer in consumers]
        for consumer in consumers:
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                got.append(message.value())
    return got


def share(consumer: Consumer) -> set[int]:
    return {each.partition for each in consumer.assignment()}


def test_two_members_share_the_partitions_and_one_that_leaves_gives_them_back(part: Part) -> None:
    name = topic(part, "shared", 4)
    first, second = member(part, "sharing"), member(part, "sharing")
    first.subscribe([name])
    poll_until([first], lambda: len(share(first)) == 4)
    second.subscribe([name])
    poll_until([first, second], lambda: len(share(first)) == len(share(second)) == 2)
    assert share(first) | share(second) == {0, 1, 2, 3}
    second.close()
    poll_until([first], lambda: len(share(first)) == 4)
    first.close()


def test_cooperative_members_share_and_give_back(part: Part) -> None:
    name = topic(part, "cooperative", 4)
    settings = {"partition.assignment.strategy": "cooperative-sticky"}
    first, second = member(part, "cooperating", **settings), member(part, "cooperating", **settings)
    first.subscribe([name])
    poll_until([first], lambda: len(share(first)) == 4)
    second.subscribe([name])
    poll_until([first, second], lambda: len(share(first)) == len(share(second)) == 2)
    second.close()
    poll_until([first], lambda: len(share(first)) == 4)
    first.close()


def test_a_static_member_comes_back_to_its_partitions_without_a_rebalance(part: Part) -> None:
    name = topic(part, "static", 4)
    first, second = member(part, "statics", **{"group.instance.id": "a"}), member(part, "statics", **{"group.instance.id": "b"})
    for consumer in (first, second):
        consumer.subscribe([name])
    poll_until([first, second], lambda: len(share(first)) == len(share(second)) == 2)
    before = share(second)
    second.close()  # static members do not leave
    second = member(part, "statics", **{"group.instance.id": "b"})
    second.subscribe([name])
    poll_until([first, second], lambda: share(second) == before)
    assert len(share(first)) == 2
    first.close()
    second.close()


def test_committed_offsets_and_their_metadata_come_back_and_survive_kill_9(part: Part) -> None:
    name = topic(part, "committed", 2)
    fill(part, name, 2, 10)
    consumer = member(part, "surviving")
    consumer.subscribe([name])
    got = poll_until([consumer], lambda: len(share(consumer)) == 2)
    while len(got) < 10:
        message = consumer.poll(5)
        assert message is not None
        got.append(message.value())
    consumer.commit(offsets=[TopicPartition(name, 0, 5, "midway — «ü»"), TopicPartition(name, 1, 4)], asynchronous=False)
    part.kill()
    part.start()
    again = member(part, "surviving")
    (zero, one) = again.committed([TopicPartition(name, 0), TopicPartition(name, 1)], timeout=10)
    assert (zero.offset, zero.metadata, one.offset) == (5, "midway — «ü»", 4)
    consumer.commit(offsets=[TopicPartition(name, 1, 5)], asynchronous=False)  # the member of before goes on
    assert again.committed([TopicPartition(name, 1)], timeout=10)[0].offset == 5
    consumer.close()
    again.close()


def test_a_group_that_nobody_joined_has_no_offsets_and_may_commit(part: Part) -> None:
    """librdkafka's own tests 0014, 0030, 0051, 0067, 0090, 0099 and 0130 rest on this."""
    name = topic(part, "simple", 1)
    consumer = member(part, "simple")
    (nothing,) = consumer.committed([TopicPartition(name, 0)], timeout=10)
    assert (nothing.offset, nothing.error) == (-1001, None)
    consumer.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    assert consumer.committed([TopicPartition(name, 0)], timeout=10)[0].offset == 3
    consumer.close()


def test_a_commit_for_a_topic_that_does_not_exist_is_an_error(part: Part) -> None:
    consumer = member(part, "wrong")
    with pytest.raises(KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        consumer.commit(offsets=[TopicPartition("nowhere", 0, 3)], asynchronous=False)
    consumer.close()


def test_an_administrator_sees_and_deletes_groups(part: Part) -> None:
    name = topic(part, "administered", 2)
    admin = AdminClient({"bootstrap.servers": address(part)})
    consumer = member(part, "administered", **{"client.id": "someone"})
    consumer.subscribe([name])
    poll_until([consumer], lambda: len(share(consumer)) == 2)
    consumer.commit(offsets=[TopicPartition(name, 0, 7)], asynchronous=False)
    described = admin.describe_consumer_groups(["administered"])["administered"].result(10)
    assert (described.state.name, described.partition_assignor) == ("STABLE", "range")
    (seen,) = described.members
    assert seen.client_id == "someone"
    assert {each.partition for each in seen.assignment.topic_partitions} == {0, 1}
    with pytest.raises(KafkaException, match="NON_EMPTY_GROUP"):
        admin.delete_consumer_groups(["administered"])["administered"].result(10)
    consumer.close()
    listed = admin.list_consumer_groups().result(10)
    assert "administered" in {each.group_id for each in listed.valid}
    asked = [ConsumerGroupTopicPartitions("administered")]
    offsets = admin.list_consumer_group_offsets(asked)["administered"].result(10)
    assert [(each.partition, each.offset) for each in offsets.topic_partitions] == [(0, 7)]
    admin.delete_consumer_groups(["administered"])["administered"].result(10)
    assert "administered" not in {each.group_id for each in admin.list_consumer_groups().result(10).valid}


def test_offsets_of_a_deleted_topic_are_forgotten(part: Part) -> None:
    name = topic(part, "recreated", 1)
    admin = AdminClient({"bootstrap.servers": address(part)})
    consumer = member(part, "recreating")
    consumer.commit(offsets=[TopicPartition(name, 0, 3)], asynchronous=False)
    admin.delete_topics([name])[name].result(10)
    topic(part, name, 1)
    assert consumer.committed([TopicPartition(name, 0)], timeout=10)[0].offset == -1001
    consumer.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Part]:
    with group_broker(tmp_path) as running:
        yield running


def test_a_broker_killed_while_members_read_lets_them_read_on(fresh: Part) -> None:
    name = topic(fresh, "through", 4)
    fill(fresh, name, 4, 100)
    first, second = member(fresh, "through"), member(fresh, "through")
    for consumer in (first, second):
        consumer.subscribe([name])
    got = poll_until([first, second], lambda: len(share(first)) == len(share(second)) == 2)
    fresh.kill()
    fresh.start()
    fill(fresh, name, 4, 50)
    deadline = time.monotonic() + 30
    while len(got) < 150:
        assert time.monotonic() < deadline, len(got)
        for consumer in (first, second):
            message = consumer.poll(0.05)
            if message is not None and message.error() is None:
                got.append(message.value())
    assert len(share(first)) == len(share(second)) == 2
    first.close()
    second.close()
