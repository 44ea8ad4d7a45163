"""What is fetched from real brokers is what Kafka's client reads there."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.clock import SystemClock
from headrace.sinks.reading import Reading, can_fetch
from headrace.sinks.topics import Where
from tests import apache_kafka
from tests.altering_relay import AlteringRelay, flip
from tests.processes import broker

TIMEOUT_S = 30
Found = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[str]:
    if not apache_kafka.is_installed():
        missing("Apache Kafka", "run make peers")
    with apache_kafka.ApacheKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.bootstrap


def create(bootstrap: str, topic: str, partitions: int, **config: str) -> None:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (made,) = admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values()
    made.result(30)


def write(bootstrap: str, topic: str, codec: str, *, count: int, **more: Any) -> None:
    rng = random.Random(count)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 5, **more})
    if "transactional.id" in more:
        producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
    for number in range(count):
        headers = [("h", b"x"), ("h", None)] if number % 7 == 0 else None
        key = rng.choice([None, b"", b"key"])
        value = None if number % 11 == 0 else bytes([number % 256]) * rng.randrange(200)
        producer.produce(topic, value, key, partition=number % 2, headers=headers, timestamp=1_790_000_000_000 + number * 3)
        if "transactional.id" in more and number % 25 == 24:
            producer.flush(TIMEOUT_S)
            (producer.abort_transaction if number % 50 == 24 else producer.commit_transaction)(TIMEOUT_S)
            producer.begin_transaction()
    assert producer.flush(TIMEOUT_S) == 0
    if "transactional.id" in more:
        producer.commit_transaction(TIMEOUT_S)


def write_plainly(bootstrap: str, topic: str, *, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(count):
        producer.produce(topic, b"value", partition=number % 2)
    assert producer.flush(TIMEOUT_S) == 0


def read(reading: Reading, offsets: dict[Where, int]) -> tuple[dict[Where, Found], dict[Where, int]]:
    """Everything up to the ends, record by record, and the ends."""
    found: dict[Where, Found] = {where: [] for where in offsets}
    ends: dict[Where, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while ends.keys() != offsets.keys():
        assert time.monotonic() < deadline, ends
        batch = reading.batch()
        assert not batch.errors, [error.error().str() for error in batch.errors]
        for where, records in batch.records:
            found[where] += [
                (one.offset(), one.key(), one.value(), one.timestamp(), one.headers(), one.leader_epoch()) for one in records
            ]
        ends.update(batch.ends)
    return found, ends


def both_ways(bootstrap: str, offsets: dict[Where, int]) -> list[tuple[dict[Where, Found], dict[Where, int]]]:
    """What is fetched, and what Kafka's client reads alone, as it does for any setting that the fetcher does not know."""
    kinds = [{"bootstrap.servers": bootstrap}, {"bootstrap.servers": bootstrap, "socket.keepalive.enable": True}]
    assert [can_fetch(kind) for kind in kinds] == [True, False]
    results = []
    for kind in kinds:
        reading = Reading(kind, SystemClock())
        try:
            reading.begin(offsets)
            results.append(read(reading, offsets))
        finally:
            reading.close()
    return results


def test_every_codec_and_aborted_transactions_and_times_of_the_broker(kafka: str) -> None:
    create(kafka, "mixed", 2)
    create(kafka, "stamped", 2, message_timestamp_type="LogAppendTime")
    for number, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        write(kafka, "mixed", codec, count=301 + number)
        write(kafka, "mixed", codec, count=151 + number, **{"transactional.id": codec})
        write(kafka, "stamped", codec, count=40)
    offsets = {("mixed", 0): 0, ("mixed", 1): 77, ("stamped", 0): 3, ("stamped", 1): 0}
    fetched, by_client = both_ways(kafka, offsets)
    assert fetched == by_client
    assert min(len(records) for records in fetched[0].values()) > 60


def causes(reading: Reading, where: Where, found: Found, end: int) -> Counter[str | None]:
    """Of all offsets that hold no record for us: how many have which cause."""
    counted: Counter[str | None] = Counter()
    at = 0
    for offset in [*(record[0] for record in found), end]:
        while at < offset:
            until, why = reading.cause(where, at, offset)
            counted[why] += until - at
            at = until
        at = offset + 1
    return counted


def test_a_hole_is_what_the_batches_in_it_are_whether_they_were_met_or_are_looked_for(kafka: str) -> None:
    create(kafka, "transactions", 2)
    write(kafka, "transactions", "lz4", count=100, **{"transactional.id": "holes"})
    offsets = {("transactions", 0): 0, ("transactions", 1): 0}
    readings = [Reading({"bootstrap.servers": kafka}, SystemClock()) for _ in range(2)]
    try:
        readings[0].begin(offsets)
        found, ends = read(readings[0], offsets)
        for reading in readings:
            by_cause = sum((causes(reading, where, found[where], ends[where]) for where in offsets), Counter())
            assert by_cause == {"aborted": 50, "control": 8}
    finally:
        for reading in readings:
            reading.close()


def test_a_broker_that_is_restarted_is_read_on_from(tmp_path: Path) -> None:
    server = broker(tmp_path)
    with server:
        bootstrap = f"127.0.0.1:{server.ports['kafka']}"
        create(bootstrap, "t", 2)
        write(bootstrap, "t", "lz4", count=500)
        places = {("t", 0): 0, ("t", 1): 0}
        reading = Reading({"bootstrap.servers": bootstrap}, SystemClock())
        try:
            reading.begin(places)
            before, ends = read(reading, places)
            server.kill()
            reading.batch()
            server.start()
            write(bootstrap, "t", "zstd", count=700)
            after: dict[Where, Found] = {where: [] for where in places}
            deadline = time.monotonic() + TIMEOUT_S
            while sum(map(len, after.values())) < 700:
                assert time.monotonic() < deadline
                for where, records in reading.batch().records:
                    after[where] += [(one.offset(), one.value()) for one in records]
        finally:
            reading.close()
        assert [[offset for offset, _ in found] for found in after.values()] == [list(range(250, 600))] * 2
        assert ends == {("t", 0): 250, ("t", 1): 250}
        assert sum(map(len, before.values())) == 500


def test_what_is_read_by_the_client_is_fetched_again_where_there_is_much_of_it(tmp_path: Path) -> None:
    with broker(tmp_path) as server:
        bootstrap = f"127.0.0.1:{server.ports['kafka']}"
        create(bootstrap, "t", 2)
        write_plainly(bootstrap, "t", count=20)
        clock = HandClock()
        reading = Reading({"bootstrap.servers": bootstrap}, clock)
        places = {("t", 0): 0, ("t", 1): 0}
        try:
            reading.begin(places)
            read(reading, places)
            clock.now_ms += 10_000
            while reading.fetched:
                reading.batch()
            offsets: dict[Where, list[int]] = {where: [] for where in places}
            written, deadline = 0, time.monotonic() + TIMEOUT_S
            while not reading.fetched:
                write_plainly(bootstrap, "t", count=8000)
                written += 8000
                while sum(map(len, offsets.values())) < written:
                    assert time.monotonic() < deadline
                    for where, records in reading.batch().records:
                        offsets[where] += [one.offset() for one in records]
            assert all(found == list(range(10, 10 + written // 2)) for found in offsets.values())
        finally:
            reading.close()


@pytest.mark.parametrize("more", [{}, {"socket.keepalive.enable": True}], ids=["fetched", "by the client"])
@pytest.mark.parametrize("start", [0, 7], ids=["from the first", "from the middle of it"])
def test_a_batch_whose_crc_is_wrong_is_read_again_before_what_lies_behind_it(
    tmp_path: Path, more: dict[str, Any], start: int
) -> None:
    flips = iter(range(3))

    def alter(frame: bytearray) -> None:
        if b"second-2" in frame and next(flips, None) is not None:
            flip(frame, b"second-2")

    relay = AlteringRelay(alter, answers=True)
    server = broker(tmp_path, advertised_listeners=f"PLAINTEXT://127.0.0.1:{relay.port}")
    relay.target_port = int(server.config["listeners"].rpartition(":")[2])
    with server:
        create(bootstrap := f"127.0.0.1:{relay.port}", "t", 1)
        producer = Producer({"bootstrap.servers": bootstrap})
        for batch in ("first", "second", "third"):
            for number in range(5):
                producer.produce("t", f"{batch}-{number}", partition=0)
            assert producer.flush(TIMEOUT_S) == 0
        clock = HandClock()
        reading = Reading({"bootstrap.servers": bootstrap, **more}, clock)
        offsets: list[int] = []
        deadline = time.monotonic() + TIMEOUT_S
        try:
            reading.begin({("t", 0): start})
            while len(offsets) < 15 - start:
                assert time.monotonic() < deadline, offsets
                offsets += [one.offset() for _, records in reading.batch().records for one in records]
                clock.now_ms += 250
        finally:
            reading.close()
            relay.close()
        assert (offsets, next(flips, None)) == (list(range(start, 15)), None)


class HandClock(SystemClock):
    """A clock that runs, and can be put forward."""

    now_ms = 0

    def monotonic_ms(self) -> Any:
        return super().monotonic_ms() + self.now_ms


@pytest.mark.slow
def test_records_that_have_to_be_parsed_one_by_one_are_left_to_the_client(tmp_path: Path) -> None:
    with broker(tmp_path) as server:
        bootstrap = f"127.0.0.1:{server.ports['kafka']}"
        create(bootstrap, "mixed", 2)
        create(bootstrap, "plain", 2)
        write(bootstrap, "mixed", "none", count=40)
        write_plainly(bootstrap, "plain", count=40)
        reading = Reading({"bootstrap.servers": bootstrap}, SystemClock())
        places = {(topic, partition): 0 for topic in ("mixed", "plain") for partition in (0, 1)}
        try:
            reading.begin(places)
            found, _ = read(reading, places)
            reading.batch()
            assert reading.fetched == 2
            assert [len(records) for records in found.values()] == [20] * 4
        finally:
            reading.close()
