"""Beam's source of topics gives each record of the offsets once, whatever splits them, and says what cannot be had."""

import json
import time
from pathlib import Path

import apache_beam as beam
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.beam import ReadTopic, run_pipeline
from headrace.errors import ConfigError, CorruptError, PeerError, StorageError, UsageError
from tests import apache_kafka
from tests.processes import broker

PRISM = Path(__file__).parents[3] / ".peers" / "bin" / "prism"
T0 = 1_790_000_000_000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("broker"), num_partitions=2) as part:
        yield part.config["listeners"].removeprefix("PLAINTEXT://")


def write(kafka, topic, count, *, size=10, partitions=2, **settings):
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5, **settings})
    for number in range(count):
        value = f"{number}:".encode().ljust(size, b".")
        producer.produce(topic, value, f"k{number}".encode(), partition=number % partitions, timestamp=T0 + number * 1000)
    assert producer.flush(30) == 0


def places(kafka, topic, *, runner="inprocess", options=(), work=None, **given):
    """(partition, offset) of what is read, in order; one that comes twice is there twice."""
    source = ReadTopic(kafka, topic, **given)

    def build(pipeline):
        batches = pipeline | source
        if work is not None:
            batches = batches | beam.Map(work)
        return batches | beam.FlatMap(_places)

    return sorted(tuple(place) for place in run_pipeline(build, runner, options))


def _places(batch):
    return zip(batch["_partition"].to_pylist(), batch["_offset"].to_pylist(), strict=True)


def test_all_records_come_or_those_of_the_offsets_or_times_asked_for(kafka):
    write(kafka, "plain", 400)
    assert places(kafka, "plain") == [(p, o) for p in (0, 1) for o in range(200)]
    assert places(kafka, "plain", offsets={1: (7, 12), 0: (3, 3)}) == [(1, o) for o in range(7, 12)]
    assert places(kafka, "plain", since=T0 + 100_000, until=T0 + 104_000) == [(0, 50), (0, 51), (1, 50), (1, 51)]
    assert places(kafka, "plain", since=T0 + 396_500) == [(0, 199), (1, 198), (1, 199)]
    rows = run_pipeline(
        lambda p: (
            p
            | ReadTopic(kafka, "plain", offsets={1: (0, 1)}, rows=True, keep=("key", "headers"))
            | beam.Map(
                lambda row: [row["_key"].decode(), row["value"].decode(), row["_headers"], row["_timestamp"].timestamp()]
            )
        )
    )
    assert rows == [["k1", "1:........", [], (T0 + 1000) / 1000]]


def test_what_is_written_later_is_not_read(kafka):
    write(kafka, "grows", 10)
    source = ReadTopic(kafka, "grows")
    write(kafka, "grows", 10)
    assert sum(run_pipeline(lambda p: p | source | beam.Map(lambda batch: batch.num_rows))) == 10


def _slowly(batch):
    time.sleep(0.15)
    return batch


def test_no_record_is_read_twice_where_a_runner_splits_what_is_being_read(kafka, missing):
    if not PRISM.exists():
        missing("prism", "run make peers")
    write(kafka, "split", 12_000, size=4_000, partitions=1)
    found = places(kafka, "split", runner="prism", options=[f"--prism_location={PRISM}"], work=_slowly)
    assert found == [(0, offset) for offset in range(12_000)]


def test_values_that_are_not_what_they_should_be_fail_or_are_kept_as_bytes(kafka):
    producer = Producer({"bootstrap.servers": kafka})
    for value in (b'{"a": 1}', b"no", b'{"a": 2}'):
        producer.produce("mixed", value, partition=0)
    producer.flush(30)
    with pytest.raises(CorruptError, match=r"topic mixed partition 0 offset 1: not JSON: .*; undecodable='keep' yields"):
        places(kafka, "mixed", values="json")
    source = ReadTopic(kafka, "mixed", values="json", undecodable="keep", rows=True)
    rows = run_pipeline(
        lambda p: (
            p | source | beam.Map(lambda row: [row["_offset"], str(row["value"]), "not JSON" in row.get("_undecodable", "")])
        )
    )
    assert sorted(rows) == [[0, '{"a": 1}', False], [1, "b'no'", True], [2, '{"a": 2}', False]]


@pytest.mark.parametrize(
    ("topic", "given", "kind", "said"),
    [
        ("asked", {"offsets": {0: (3, 99)}}, UsageError, "partition 0: offsets 3 to 99 are asked for, and 0 to 5 are there"),
        ("asked", {"offsets": {9: (0, 1)}}, UsageError, "topic asked: partition 9 is not there"),
        ("asked", {"offsets": {0: (0, 1)}, "since": 1}, UsageError, "offsets and times say the same"),
        ("asked", {"since": "2026-11-27", "until": T0}, ValueError, f"since='2026-11-27' is after until={T0}"),
        ("absent", {}, UsageError, "topic absent: there is none at 127.0.0.1:"),
    ],
)
def test_what_is_not_there_is_told_when_the_pipeline_is_built(kafka, topic, given, kind, said):
    write(kafka, "asked", 10)
    with pytest.raises(kind) as told:
        ReadTopic(kafka, topic, **given)
    assert said in str(told.value)


def test_a_cluster_that_cannot_be_asked_is_told(kafka):
    with pytest.raises(PeerError, match=r"127\.0\.0\.1:1 "):
        ReadTopic("127.0.0.1:1", "asked")
    with pytest.raises(ConfigError, match=r"bootstrap\.servers is missing"):
        ReadTopic({}, "asked")
    with pytest.raises(ConfigError, match="HEADRACE_NO_SUCH"):
        ReadTopic({"bootstrap.servers": kafka, "client.id": "${env:HEADRACE_NO_SUCH}"}, "asked")


def test_retention_that_was_faster_is_an_error_that_says_what_was_asked_and_what_is_there(kafka):
    write(kafka, "taken", 20)
    source = ReadTopic(kafka, "taken", offsets={0: (2, 9)})
    admin = AdminClient({"bootstrap.servers": kafka})
    (done,) = admin.delete_records([TopicPartition("taken", 0, 5)]).values()
    done.result(30)
    with pytest.raises(StorageError) as told:
        run_pipeline(lambda p: p | source | beam.Map(lambda batch: batch.num_rows))
    assert "topic taken partition 0: offsets 2 to 9 were asked for, and 5 to 10 are there" in str(told.value)


def test_a_topic_that_was_created_again_is_not_read_for_the_one_before(kafka):
    write(kafka, "again", 20)
    source, admin = ReadTopic(kafka, "again"), AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics(["again"])["again"].result(30)
    admin.create_topics([NewTopic("again", 2, 1)])["again"].result(30)
    write(kafka, "again", 20)
    with pytest.raises(PeerError, match="topic again was created again since the pipeline was built"):
        run_pipeline(lambda p: p | source | beam.Map(lambda batch: batch.num_rows))


def test_secrets_are_not_in_what_a_pipeline_shows_and_references_not_even_in_what_it_sends(kafka, monkeypatch):
    write(kafka, "shown", 2)
    monkeypatch.setenv("HEADRACE_TEST_SECRET", "open-sesame")
    settings = {"bootstrap.servers": kafka, "sasl.password": "told-outright", "client.id": "${env:HEADRACE_TEST_SECRET}"}
    source = ReadTopic(settings, "shown")
    pipeline = beam.Pipeline()
    _ = pipeline | source
    proto = pipeline.to_runner_api()
    shown = "".join(str(transform.display_data) for transform in proto.components.transforms.values())
    assert "shown" in shown
    for secret in ("told-outright", "open-sesame"):
        assert secret not in shown + repr(vars(source)) + repr(source)
    assert b"open-sesame" not in proto.SerializeToString()


@pytest.mark.slow
def test_records_of_aborted_transactions_and_the_markers_at_a_range_s_end_are_no_records(tmp_path_factory, missing):
    if not apache_kafka.is_installed():
        missing("Apache Kafka", "run make peers")
    with apache_kafka.ApacheKafka(tmp_path_factory.mktemp("kafka")) as server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        (made,) = admin.create_topics([NewTopic("orders", 1, 1)]).values()
        made.result(30)
        producer = Producer({"bootstrap.servers": server.bootstrap, "transactional.id": "t"})
        producer.init_transactions(30)
        for number, is_kept in enumerate([True, False, True, False]):
            producer.begin_transaction()
            for _ in range(5):
                producer.produce("orders", json.dumps(number).encode(), partition=0)
            producer.flush(30)
            (producer.commit_transaction if is_kept else producer.abort_transaction)(30)
        found = places(server.bootstrap, "orders")
        assert found == _as_a_consumer(server.bootstrap)
        assert places(server.bootstrap, "orders", offsets={0: (3, 14)}) == [at for at in found if 3 <= at[1] < 14]


def _as_a_consumer(bootstrap):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "enable.partition.eof": True})
    consumer.assign([TopicPartition("orders", 0, 0)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append((message.partition(), message.offset()))
    consumer.close()
    return found
