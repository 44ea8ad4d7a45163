"""A log directory written by Apache Kafka 4.x, stopped cleanly or by kill -9, is served by our broker; and Kafka takes it back.

Everything is written by real clients to a real Kafka; then our broker starts on its directory and port, and the clients see
the same topics, ids, settings, records, transactions, group offsets. An idempotent producer lives through all of it.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from headrace.broker.log.disk import RealDisk
from headrace.broker.log.inspection import look_at_partition, plan
from tests.apache_kafka import ApacheKafka, is_installed
from tests.compat.java_tools import JAVA, LIBS, JavaTools, until
from tests.processes import broker

pytestmark = pytest.mark.slow

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SETTINGS = {
    "codecs": {"segment.bytes": "1048576", "retention.ms": "-1"},
    "compacted": {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"},
    "stamped": {"message.timestamp.type": "LogAppendTime"},
    "transactions": {},
    "deleted": {},
}
QUIET = {"log_level": 0, "reconnect.backoff.max.ms": 200}
Row = tuple[int, int, bytes | None, bytes | None, Any, tuple[int, int]]  # partition, offset, key, value, headers, timestamp


@dataclass
class Written:
    """What was there when Kafka ended, and the producer that goes on."""

    kafka: ApacheKafka
    producer: confluent_kafka.Producer
    acknowledged: list[int] = field(default_factory=list)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    topics: dict[str, tuple[str, int]] = field(default_factory=dict)  # topic → id, partitions
    committed: list[int] = field(default_factory=list)

    def produce(self, first: int, count: int) -> None:
        """Numbered values from the producer that lives through the change of brokers."""
        for number in range(first, first + count):
            self.producer.produce("codecs", b"%d" % number, partition=2, on_delivery=self._delivered)
        assert self.producer.flush(30) == 0

    def _delivered(self, error: object, message: confluent_kafka.Message) -> None:
        assert error is None
        self.acknowledged.append(int(message.value()))


def topics_of(bootstrap: str) -> dict[str, tuple[str, int]]:
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    names = [name for name in admin.list_topics(timeout=10).topics if name not in ("__transaction_state",)]
    described = admin.describe_topics(confluent_kafka.TopicCollection(names))
    results = {name: future.result(10) for name, future in described.items()}
    return {name: (str(each.topic_id), len(each.partitions)) for name, each in results.items()}


def own_settings(bootstrap: str, topic: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUIET})
    (described,) = admin.describe_configs([resource]).values()
    return {key: entry.value for key, entry in described.result(10).items() if not entry.is_default}


def read_all(bootstrap: str, topic: str, partitions: int, isolation: str = "read_committed") -> list[Row]:
    """Every record, until every partition has said that it ends."""
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": "reader",
        "isolation.level": isolation,
        "enable.partition.eof": True,
    }
    consumer = confluent_kafka.Consumer({**settings, "enable.auto.commit": False, **QUIET})
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, 0) for partition in range(partitions)])
    rows, ended, deadline = [], 0, time.monotonic() + 30
    while ended < partitions:
        assert time.monotonic() < deadline, f"{topic}: {ended} of {partitions} partitions ended"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
            ended += 1
            continue
        headers, at = message.headers(), (message.partition(), message.offset())
        rows.append((*at, message.key(), message.value(), headers, message.timestamp()))
    consumer.close()
    return sorted(rows, key=lambda row: row[:2])


def write_everything(kafka: ApacheKafka) -> Written:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, **QUIET})
    new = [NewTopic(name, 3 if name == "codecs" else 1, 1, config=configs) for name, configs in SETTINGS.items()]
    for future in admin.create_topics(new).values():
        future.result(20)
    for codec in CODECS:
        producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "compression.type": codec, **QUIET})
        for number in range(400):
            key, headers = f"{codec}-{number}", {"codec": codec, "empty": None}
            producer.produce("codecs", f"value {number} " * 8, key, partition=number % 3, headers=headers)
        producer.produce("stamped", codec, timestamp=1_000)
        assert producer.flush(20) == 0
    commit(kafka.bootstrap, "in transactions", [7, 7, 7])
    write_transactions(kafka.bootstrap)
    write_compacted(kafka)
    entry = ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "codecs", incremental_configs=[entry])
    for future in [*admin.incremental_alter_configs([resource]).values(), *admin.delete_topics(["deleted"]).values()]:
        future.result(20)
    settings = {"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 1, **QUIET}
    written = Written(kafka, confluent_kafka.Producer(settings))
    written.produce(0, 500)
    written.committed = commit(kafka.bootstrap, "readers", [100, 200, 300])
    for topic in ("codecs", "compacted", "stamped", "transactions"):
        written.rows[topic] = read_all(kafka.bootstrap, topic, 3 if topic == "codecs" else 1)
    written.topics = topics_of(kafka.bootstrap)
    return written


def write_transactions(bootstrap: str) -> None:
    """One committed, one aborted, one committed; and one that is open for ever."""
    for name, ends in (("first", (True, False, True)), ("second", (None,))):
        producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": name, **QUIET})
        producer.init_transactions(20)
        for number, commits in enumerate(ends):
            producer.begin_transaction()
            producer.produce("transactions", f"{name} {number} {commits}")
            assert producer.flush(20) == 0
            if not commits:
                send_offsets(producer, bootstrap, 999)
            if commits is not None:
                (producer.commit_transaction if commits else producer.abort_transaction)(20)


def send_offsets(producer: confluent_kafka.Producer, bootstrap: str, offset: int) -> None:
    """Commit offsets of group `in transactions` within the transaction."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "in transactions", **QUIET})
    places = [confluent_kafka.TopicPartition("codecs", partition, offset) for partition in range(3)]
    producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 20)
    consumer.close()


def write_compacted(kafka: ApacheKafka) -> None:
    """Rounds of the same keys, with a tombstone, until Kafka's cleaner has been there."""
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, **QUIET})
    checkpoint, deadline = kafka.log_dirs / "cleaner-offset-checkpoint", time.monotonic() + 30
    while not re.search(r"^compacted 0 [1-9]", checkpoint.read_text(), re.MULTILINE):
        assert time.monotonic() < deadline, "Kafka's cleaner has not come"
        for key in ("a", "b", "c"):
            producer.produce("compacted", f"{key} at {time.monotonic_ns()}", key)
        producer.produce("compacted", None, "c")
        assert producer.flush(20) == 0
        time.sleep(0.3)


def commit(bootstrap: str, group: str, offsets: list[int]) -> list[int]:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group, **QUIET})
    places = [confluent_kafka.TopicPartition("codecs", partition, offset) for partition, offset in enumerate(offsets)]
    until(lambda: is_committed(consumer, places), "Kafka's coordinator does not load")
    consumer.close()
    return committed(bootstrap, group)


def is_committed(consumer: confluent_kafka.Consumer, places: list[confluent_kafka.TopicPartition]) -> bool:
    """Commit; False while the coordinator is only loading."""
    try:
        consumer.commit(offsets=places, asynchronous=False)
    except confluent_kafka.KafkaException as error:
        if error.args[0].code() != confluent_kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS:
            raise
        return False
    return True


def committed(bootstrap: str, group: str) -> list[int]:
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": group, **QUIET})
    places = consumer.committed([confluent_kafka.TopicPartition("codecs", partition) for partition in range(3)], timeout=20)
    consumer.close()
    return [place.offset for place in places]


@pytest.fixture(scope="module", params=["stop", "kill"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]
) -> Iterator[Written]:
    """Kafka has written, and has ended in one way or the other."""
    if not is_installed():
        missing("kafka", "run make peers")
    settings = {"log_cleaner_backoff_ms": "100", "metadata_log_max_record_bytes_between_snapshots": "3000"}
    kafka = ApacheKafka(tmp_path_factory.mktemp(request.param), offsets_topic_num_partitions="3", **settings).start()
    try:
        result = write_everything(kafka)
    finally:
        (kafka.kill if request.param == "kill" else kafka.stop)()
    yield result
    result.producer.purge()


def test_our_broker_takes_over_and_gives_back(written: Written, tmp_path: Path) -> None:
    """One chain, because each start of Kafka is seconds."""
    kafka = written.kafka
    assert list(kafka.log_dirs.glob("__cluster_metadata-0/*.checkpoint")), "part of the metadata is in a snapshot"
    ours = broker(tmp_path, log_dirs=str(kafka.log_dirs), listeners=f"PLAINTEXT://{kafka.bootstrap}")
    with ours:
        assert topics_of(kafka.bootstrap) == written.topics
        for topic, configs in SETTINGS.items():
            if topic != "deleted":
                extra = {"max.message.bytes": "2000000"} if topic == "codecs" else {}
                assert own_settings(kafka.bootstrap, topic) == {**configs, **extra}
        assert own_settings(kafka.bootstrap, "__consumer_offsets")["cleanup.policy"] == "compact"
        for topic, rows in written.rows.items():
            assert read_all(kafka.bootstrap, topic, 3 if topic == "codecs" else 1) == rows
        assert [row[3] for row in read_all(kafka.bootstrap, "transactions", 1)] == [b"first 0 True", b"first 2 True"]
        assert len(read_all(kafka.bootstrap, "transactions", 1, "read_uncommitted")) == 4
        assert committed(kafka.bootstrap, "readers") == written.committed == [100, 200, 300]
        assert commit(kafka.bootstrap, "readers", [101, 201, 301]) == [101, 201, 301]
        assert committed(kafka.bootstrap, "in transactions") == [7, 7, 7]
        printed = JavaTools(kafka.bootstrap).run(
            "consumer.ConsoleConsumer", "--topic", "codecs", "--partition", "0", "--offset", "earliest", "--max-messages", "670"
        )
        assert printed.splitlines() == [(row[3] or b"").decode() for row in written.rows["codecs"] if row[0] == 0][:670]
        written.produce(500, 500)
        fresh = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, **QUIET})
        fresh.produce("compacted", "after", "d")
        assert fresh.flush(20) == 0
    there = {entry.name for entry in kafka.log_dirs.iterdir()}
    assert {"__cluster_metadata-0", "bootstrap.checkpoint", "meta.properties", ".kafka_cleanshutdown"} <= there
    assert no_faults(kafka.log_dirs)
    assert kafkas_own_tool_has_no_complaint(kafka.log_dirs)
    with kafka:  # and back
        rows = read_all(kafka.bootstrap, "codecs", 3)
        numbers = [int(row[3] or b"") for row in rows if row[0] == 2 and not row[2]]
        assert numbers == written.acknowledged == list(range(1000))
        assert read_all(kafka.bootstrap, "compacted", 1)[-1][3] == b"after"
        assert committed(kafka.bootstrap, "readers") == [101, 201, 301]
        written.produce(1000, 10)


def no_faults(directory: Path) -> bool:
    _, tasks = plan(RealDisk(), str(directory))
    faults = [fault for task in tasks for fault in look_at_partition(RealDisk(), str(directory), task, deep=True).faults]
    assert faults == []
    return True


def kafkas_own_tool_has_no_complaint(directory: Path) -> bool:
    files = [
        file for suffix in ("log", "index", "timeindex") for file in directory.glob(f"*/*.{suffix}") if file.stat().st_size
    ]
    command = [*JAVA, "kafka.tools.DumpLogSegments", "--deep-iteration", "--files", ",".join(map(str, files))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "isvalid: false" not in done.stdout
    assert not re.search(r"mismatch|out of order|not found|corrupt", done.stdout, re.IGNORECASE)
    return True


def test_a_directory_that_kafka_is_running_on_is_refused(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not LIBS.is_dir():
        missing("kafka", "run make peers")
    with ApacheKafka(tmp_path / "running") as kafka:
        ours = broker(tmp_path / "ours", log_dirs=str(kafka.log_dirs))
        ours.start(wait=False)
        assert ours.wait(20) == 2
        assert "another broker uses it" in ours.log()
