"""Loaders of one root that share partitions through a group, while they are killed, paused, added and stopped."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import duckdb

from headrace.sinks.membership import group_of
from tests.apache_kafka import ApacheKafka, is_installed
from tests.integration.sinks.pipeline import Pipeline, records_of
from tests.processes import Part

TOPICS = ("clicks", "orders")
PARTITIONS = 4
SESSION = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300}


class Share:
    """Loaders of one root, and a producer that never rests."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.loaders, self.pids = pipeline, list[Part](), set[str]()
        self.sent = dict.fromkeys(((topic, partition) for topic in TOPICS for partition in range(PARTITIONS)), 0)
        for topic in TOPICS:
            pipeline.create_topic(topic, PARTITIONS)

    def add(self) -> Part:
        loader = self.pipeline.loader(name=f"loader-{len(self.loaders)}", kafka=SESSION, rotate={"age": "300ms"})
        self.loaders.append(loader)
        return self.start(loader)

    def start(self, loader: Part) -> Part:
        loader.start()
        assert loader.process
        self.pids.add(str(loader.process.pid))
        return loader

    def pause(self, loader: Part) -> None:
        """It holds rows that it has not committed, and will believe in its partitions when it wakes up."""
        assert loader.process
        loader.process.send_signal(signal.SIGSTOP)

    def wake(self, loader: Part) -> None:
        assert loader.process
        loader.process.send_signal(signal.SIGCONT)

    def produce_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for topic, partition in self.sent:
                self.sent[topic, partition] += self.pipeline.produce(topic, [b"a record"] * 20, partition=partition)
            time.sleep(0.05)

    def produce_until(self, what: Callable[[], bool], timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, [loader.log_tail() for loader in self.loaders]
            self.produce_for(0.1)

    def wait_until_all_has_landed(self) -> None:
        for topic in TOPICS:
            self.pipeline.wait_for_rows(topic, sum(count for (name, _), count in self.sent.items() if name == topic))

    def landed(self) -> dict[tuple[str, int], int]:
        """Per partition how many offsets an independent reader finds in the files in place, each once from 0 on."""
        found = {}
        for topic in TOPICS:
            files = f"{self.pipeline.root}/{topic}/dt=*/hour=*/*.parquet"
            of = f"SELECT _partition, count(*), count(DISTINCT _offset), max(_offset) + 1 FROM '{files}' GROUP BY 1"
            for partition, rows, distinct, end in duckdb.sql(of).fetchall():
                assert rows == distinct == end, f"{topic} {partition}: {rows} rows, {distinct} offsets of {end}"
                found[topic, partition] = rows
        return found

    def commits(self) -> Counter[str]:
        """Commits by process id."""
        records = [record for topic in TOPICS for record in records_of(self.pipeline.root, topic)]
        return Counter(record["loader"].rpartition(":")[2] for record in records)

    def who_lands(self) -> set[str]:
        """The processes that have landed what was newest at the end of each partition."""
        last = {}
        for topic in TOPICS:
            for record in records_of(self.pipeline.root, topic):
                for one in record["ranges"]:
                    last[topic, one["partition"]] = record["loader"].rpartition(":")[2]
        return set(last.values()) if len(last) == len(self.sent) else set()


def pids_of(*loaders: Part) -> set[str]:
    return {str(loader.process.pid) for loader in loaders if loader.process}


def test_loaders_killed_paused_added_and_stopped_land_each_offset_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    with Pipeline(tmp_path, group_min_session_timeout_ms=500) as pipeline:
        share = Share(pipeline)
        first, second, third = share.add(), share.add(), share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(first, second, third))
        paused, killed = rng.sample([first, second], 2)
        share.pause(paused)
        share.produce_for(rng.uniform(0, 1))
        killed.kill()
        share.produce_until(lambda: share.who_lands() == pids_of(third))  # its session and the killed one's are over
        share.wake(paused)
        fourth = share.add()
        share.produce_for(rng.uniform(0, 1))
        share.start(killed)
        share.produce_until(lambda: share.who_lands() == pids_of(*share.loaders))
        assert third.stop() == 0
        share.produce_until(lambda: share.who_lands() == pids_of(paused, killed, fourth))
        share.wait_until_all_has_landed()
        assert [loader.stop() for loader in (paused, killed, fourth)] == [0, 0, 0]
        assert share.landed() == share.sent
        assert set(share.commits()) == share.pids
        assert "expelled from the group" in paused.log_file.read_text()
        pipeline.assert_sound(was_killed=True)


def test_no_loader_waits_for_the_session_of_one_that_was_killed_here_or_told_to_stop(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        loader = pipeline.loader(kafka={"session.timeout.ms": 120_000}, rotate={"age": "100ms"})
        for count in (1, 2):
            pipeline.produce("blobs", [b"a record"])
            loader.start()
            pipeline.wait_for_rows("blobs", count)
            assert loader.kill() if count == 1 else loader.stop() == 0
        (pid,) = pids_of(loader)
        (future,) = pipeline.admin.describe_consumer_groups([group_of(str(pipeline.root))]).values()
        assert not [member for member in future.result(10).members if f".{pid}@" in member.client_id]
        pipeline.assert_sound(was_killed=True)


def test_loaders_share_partitions_of_apache_kafka(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not is_installed():
        missing("kafka", "run make peers")
    with (
        ApacheKafka(tmp_path / "server", group_min_session_timeout_ms="500") as kafka,
        Pipeline(tmp_path, on=kafka.bootstrap) as pipeline,
    ):
        share = Share(pipeline)
        one, other = share.add(), share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(one, other))
        share.pause(one)
        share.produce_until(lambda: share.who_lands() == pids_of(other))
        share.wake(one)
        share.produce_until(lambda: share.who_lands() == pids_of(one, other))
        assert other.stop() == 0
        share.produce_until(lambda: share.who_lands() == pids_of(one))
        share.wait_until_all_has_landed()
        assert one.stop() == 0
        assert share.landed() == share.sent
        pipeline.assert_sound()
