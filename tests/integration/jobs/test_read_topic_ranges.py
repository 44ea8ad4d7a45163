"""A range of offsets of a topic comes to its end whatever lies in it, in whatever order, and says so where it cannot."""

import itertools
import random

import apache_beam as beam
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.beam import ReadTopic, run_pipeline
from headrace.clock import MonotonicMs, SystemClock
from headrace.errors import PeerError, StorageError
from headrace.jobs.batch import topic_plan
from headrace.jobs.batch.claims import claimed
from headrace.jobs.batch.partition_reading import PartitionReader
from headrace.sinks.reading import Reading
from tests import apache_kafka
from tests.integration.broker.test_compaction import QUICK, until
from tests.integration.security.sasl_wire import port_of, put_user
from tests.integration.security.tls_files import Pki, over_tls
from tests.processes import broker
from tests.property.jobs.test_claims import Rests, Split

BY_CLIENT = {"socket.keepalive.enable": True}
"""With any setting that the fetcher does not know Kafka's client reads alone."""


def create(bootstrap, topic, partitions=1, **config):
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values()
    made.result(30)


def write(kafka, topic, numbers, *, keys=1_000_000, at_once=None):
    producer = Producer({"bootstrap.servers": kafka} if isinstance(kafka, str) else kafka)
    for number in numbers:
        producer.produce(topic, b"%d" % number, b"k%d" % (number % keys), partition=0)
        if at_once and number % at_once == at_once - 1:
            assert producer.flush(30) == 0
    assert producer.flush(30) == 0


def transactions(bootstrap, topic, kept, size=5, value=b"x"):
    """A transaction of `size` records for each, of which those that are not kept are aborted."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for is_kept in kept:
        producer.begin_transaction()
        for _ in range(size):
            producer.produce(topic, value, partition=0)
        producer.flush(30)
        (producer.commit_transaction if is_kept else producer.abort_transaction)(30)


def offsets_of(kafka, topic, **given):
    """The offsets of partition 0 that are read, in order; one that comes twice is there twice."""
    source = ReadTopic(kafka, topic, **given)
    return sorted(run_pipeline(lambda pipeline: pipeline | source | beam.FlatMap(_offsets)))


def _offsets(batch):
    return batch["_offset"].to_pylist()


def as_a_consumer(bootstrap, topic):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while (message := consumer.poll(10)) is not None and message.error() is None:
        found.append(message.offset())
    consumer.close()
    return found


@pytest.fixture(scope="module")
def apache(tmp_path_factory, missing):
    if not apache_kafka.is_installed():
        missing("Apache Kafka", "run make peers")
    with apache_kafka.ApacheKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.bootstrap


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, BY_CLIENT], ids=["fetched", "by client"])
def test_ranges_end_among_aborted_records_and_at_a_tail_of_them(apache, settings):
    topic = f"aborted-{len(settings)}"
    create(apache, topic)
    transactions(apache, topic, [True, False, False, True, *[False] * 6])
    kafka = {"bootstrap.servers": apache, **settings}
    visible = [*range(5), *range(18, 23)]
    assert as_a_consumer(apache, topic) == visible
    assert offsets_of(kafka, topic) == visible
    for start, end in ((3, 14), (30, 55)):
        assert offsets_of(kafka, topic, offsets={0: (start, end)}) == [at for at in visible if start <= at < end]


def test_how_far_a_stretch_of_aborted_records_has_been_read_is_told_before_it_ends(apache):
    create(apache, "stretch")
    transactions(apache, "stretch", [True, *[False] * 4], size=2_500, value=bytes(1000))
    reading, where = Reading({"bootstrap.servers": apache}, SystemClock()), ("stretch", 0)
    passed, ends = [], []
    try:
        reading.begin({where: 2_400})
        while not ends:
            read = reading.batch()
            passed += [offset for _, offset in read.passed]
            ends += [offset for _, offset in read.ends]
    finally:
        reading.close()
    assert passed == sorted(passed)
    assert 2_400 < passed[0] < passed[-1] == ends[0] == 12_505


def topic_id(bootstrap, topic):
    return topic_plan.plan_topic(topic_plan.cluster_of(bootstrap), topic, None, (None, None))[1]


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory, pki):
    """A broker of our own, and what clients of it need by listener."""
    with over_tls(tmp_path_factory.mktemp("tls"), pki, {"ssl.client.auth": "required", **_dotted(QUICK)}) as part:
        put_user(part, "alice", "wonderland")
        tls = {"ssl.ca.location": str(pki.authority_file)}
        certificate = str(pki.client("jobs"))
        login = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "alice", "sasl.password": "${env:PASSWORD_OF_JOBS}"}
        yield (
            {
                "PLAINTEXT": {},
                "SSL": {**tls, "ssl.certificate.location": certificate, "ssl.key.location": certificate},
                "SASL_SSL": {**tls, **login},
            },
            part,
        )


def _dotted(keys):
    return {key.replace("_", "."): value for key, value in keys.items()}


@pytest.fixture
def clients(secured, monkeypatch):
    monkeypatch.setenv("PASSWORD_OF_JOBS", "wonderland")
    settings, part = secured
    return {
        name: {"bootstrap.servers": f"127.0.0.1:{port_of(part, name)}", "security.protocol": name, **more}
        for name, more in settings.items()
    }


@pytest.mark.parametrize("listener", ["PLAINTEXT", "SSL", "SASL_SSL"])
def test_every_listener_gives_the_same_records_however_small_the_ranges_are(clients, listener, monkeypatch):
    topic = f"listened-{listener}"
    plain = clients["PLAINTEXT"]["bootstrap.servers"]
    create(plain, topic)
    write(plain, topic, range(400), at_once=50)
    assert offsets_of(clients[listener], topic) == list(range(400))
    monkeypatch.setattr(topic_plan, "INITIAL_SPLIT", 37)
    assert offsets_of(clients[listener], topic, offsets={0: (11, 393)}) == list(range(11, 393))


def test_a_login_that_is_refused_is_told(clients, monkeypatch):
    monkeypatch.setenv("PASSWORD_OF_JOBS", "looking-glass")
    with pytest.raises(PeerError, match="SASL authentication") as told:
        ReadTopic(clients["SASL_SSL"], "any")
    assert "looking-glass" not in str(told.value)


@pytest.mark.parametrize("listener", ["PLAINTEXT", "SASL_SSL"])
def test_a_compacted_topic_gives_what_compaction_has_left_and_ranges_in_its_holes_are_empty(clients, listener, monkeypatch):
    topic, plain = f"compacted-{listener}", clients["PLAINTEXT"]["bootstrap.servers"]
    create(plain, topic, cleanup_policy="compact", segment_bytes="2000", min_cleanable_dirty_ratio="0.01")
    write(plain, topic, [1000])
    write(plain, topic, range(599), keys=7, at_once=20)
    until(lambda: len(as_a_consumer(plain, topic)) < 200, "it is compacted")
    left = as_a_consumer(plain, topic)
    assert (left[0], left[-1]) == (0, 599)
    hole = next(after - 1 for before, after in itertools.pairwise(left) if after - before > 3)
    asked = {0: (hole - 1, hole + 1)}
    assert offsets_of(clients[listener], topic, offsets=asked) == []
    monkeypatch.setattr(topic_plan, "INITIAL_SPLIT", 23)
    found = offsets_of(clients[listener], topic)
    assert set(as_a_consumer(plain, topic)) <= set(found) <= set(left)
    assert len(set(found)) == len(found)


def test_a_log_that_lost_its_end_since_the_pipeline_was_built_is_told(tmp_path):
    with broker(tmp_path) as part:
        bootstrap = part.config["listeners"].removeprefix("PLAINTEXT://")
        create(bootstrap, "cut")
        write(bootstrap, "cut", range(40), at_once=10)
        source = ReadTopic(bootstrap, "cut", offsets={0: (5, 38)})
        part.kill()
        (segment,) = (tmp_path / "broker" / "cut-0").glob("*.log")
        whole = segment.read_bytes()
        segment.write_bytes(whole[: len(whole) * 3 // 5])
        part.start()
        with pytest.raises(StorageError) as told:
            run_pipeline(lambda pipeline: pipeline | source | beam.Map(lambda batch: batch.num_rows))
    assert "topic cut partition 0: offsets 5 to 38 were asked for, and 0 to 20 are there" in str(told.value)


class Jumping(SystemClock):
    """Two minutes pass at each look, so many times."""

    def __init__(self, jumps):
        self.jumps, self.ahead_ms = jumps, 0

    def monotonic_ms(self):
        if self.jumps:
            self.jumps, self.ahead_ms = self.jumps - 1, self.ahead_ms + 120_000
        return MonotonicMs(super().monotonic_ms() + self.ahead_ms)


def test_a_range_that_gives_nothing_for_minutes_is_waited_for_while_it_is_there(tmp_path):
    with broker(tmp_path) as part:
        bootstrap = part.config["listeners"].removeprefix("PLAINTEXT://")
        create(bootstrap, "slow")
        write(bootstrap, "slow", range(10))
        clock = Jumping(0)
        reader = PartitionReader({"bootstrap.servers": bootstrap, **BY_CLIENT}, "slow", clock)
        try:
            reader.begin(0, 2, 8, topic_id(bootstrap, "slow"))
            clock.jumps = 4
            fetched = reader.fetch(2, 8)
            assert [record.offset() for record in fetched.records()] == list(range(2, 8))
            assert clock.jumps == 0
            reader.end()
            reader.begin(0, 2, 8, topic_id(bootstrap, "slow"))
            part.kill()
            clock.jumps = 1000
            with pytest.raises(PeerError, match="offsets 2 to 8: nobody answers"):
                reader.fetch(2, 8)
        finally:
            reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, BY_CLIENT], ids=["fetched", "by client"])
def test_each_record_of_a_broker_is_read_once_wherever_its_range_is_split(apache, settings):
    topic = f"split-{len(settings)}"
    create(apache, topic)
    transactions(apache, topic, [number % 3 > 0 for number in range(30)], size=9)
    visible, wanted = as_a_consumer(apache, topic), topic_id(apache, topic)
    reader = PartitionReader({"bootstrap.servers": apache, **settings}, topic, SystemClock())
    try:
        for seed in range(5):
            rng = random.Random(seed)
            start, stop = rng.randrange(0, 60), rng.randrange(200, 300)
            rests, found = Rests(), []
            rests.append(beam.io.restriction_trackers.OffsetRange(start, stop))
            while rests:
                tracker = Split(rests.pop(), rng, rests, 0.3)
                restriction = tracker.tracker.current_restriction()
                reader.begin(0, restriction.start, restriction.stop, wanted)
                for batch in claimed(tracker, reader.fetch):
                    found += [record.offset() for record in batch.records()]
                    tracker.split()
                reader.end()
                tracker.tracker.check_done()
            assert sorted(found) == [offset for offset in visible if start <= offset < stop], f"seed {seed}"
    finally:
        reader.close()
