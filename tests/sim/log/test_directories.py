"""Several log directories under power cuts, disks that die and come back, and I/O errors anywhere, against an oracle.

A scenario runs several lives of one broker's logs in three directories on a simulated disk. Topics are made, written and
deleted; meanwhile an operation fails (an I/O error, or a full disk), a directory dies or is not named, or the power is cut.
What must hold: after an I/O error that a partition met, nothing is acknowledged by it until the next start (KAFKA-10778), and
others go on; no partition is made anew, empty, because its directory was away, and none is found twice; what was synced is
there again with its directory; what was deleted does not come back.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from uuid import UUID

import pytest

from headrace.broker import known_directories
from headrace.broker.log.claims import claim_directories
from headrace.broker.log.config import LogConfig
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectory, LogDirectoryConfig
from headrace.broker.log.offset_checkpoints import OffsetCheckpoints
from headrace.broker.log.partition_files import Creation
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, build_batch
from headrace.broker.log.segment import Segment
from headrace.broker.wire import ErrorCode
from headrace.errors import StorageError, UsageError
from tests.memory_store import MemoryStore
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.log.disk import PowerCutError, SimDisk
from tests.sim.log.test_recovery import Oracle, compare

START_MS = 1_700_000_000_000
PATHS = ("/data/a", "/data/b", "/data/c")
FLUSHED: dict[str, str | None] = {"flush.messages": "1"}
OPERATIONS = ("pwrite", "sync", "rename", "create", "sync_directory", "open", "pread", "truncate", "remove")


@dataclass
class Topic:
    """What a coordination store would know, and what each partition was told."""

    topic_id: UUID
    oracles: dict[int, Oracle] = field(default_factory=dict)


class World:
    """One scenario."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_ms = START_MS
        self.disk = SimDisk(rng)
        self.disk.make_directory("/data")
        self.topics: dict[str, Topic] = {}
        self.deletions: set[UUID] = set()
        self.made = 0
        self.config = LogDirectoryConfig(
            node_id=7,
            cluster_id="sim",
            defaults=LogConfig(segment_bytes=rng.choice([400, 3000]), index_interval_bytes=100, file_delete_delay_ms=1_000),
            flush_checkpoint_interval_ms=3_000,
            high_watermark_checkpoint_interval_ms=1_000,
        )
        self.logs: LogDirectories | None = None
        self.is_sound = True  # nothing fails in this life
        self.store = MemoryStore()  # of the directories that were met
        self.paths: Sequence[str] = PATHS  # as they are configured in this life

    def live(self, *, sound: bool) -> None:
        """One life: start, compare, work, end."""
        self.is_sound = sound
        if not sound:
            self.spoil()
        try:
            if self.start():
                for _ in range(self.rng.randint(1, 30)):
                    self.work()
                if self.rng.random() < 0.4:
                    self.stop()
        except PowerCutError:
            pass
        self.logs, self.paths = None, PATHS
        self.disk = self.disk.crashed(lucky=self.rng.random() < 0.3)
        self.now_ms += self.rng.randint(0, 5_000)

    def spoil(self) -> None:
        """Let something go wrong in this life."""
        if self.rng.random() < 0.4:
            self.disk.crash_after(self.rng.choice([10, 60, 300]) + self.rng.randint(0, 30))
        if self.rng.random() < 0.3:
            self.disk.dead = (self.rng.choice(PATHS),)
        if self.rng.random() < 0.2:
            self.paths = self.rng.sample(PATHS, k=2)
        if self.rng.random() < 0.3:
            self.disk.fail_next(self.rng.choice(OPERATIONS), self.error())

    def error(self) -> OSError:
        return self.rng.choice([OSError(5, "Input/output error"), OSError(28, "No space left on device")])

    def start(self) -> bool:
        """As `open_logs` and `Broker.load` do it; False if no directory works."""
        try:
            claims = claim_directories(self.disk, self.paths, self.config.node_id)
            claims = known_directories.with_missing(claims, self.store, ())
            logs = LogDirectories(self.disk, claims, self.config, self.now_ms)
        except (UsageError, StorageError):
            assert not self.is_sound, "a start with sound disks"
            return False
        overrides = dict.fromkeys(self.topics, FLUSHED)
        for found in logs.survey(overrides, set(self.deletions)):
            logs.load(found)
        logs.loaded()
        if logs.is_whole:
            self.deletions.clear()
        known_directories.remember(self.store, logs)
        for name, topic in self.topics.items():
            logs.restore(name, len(topic.oracles), topic.topic_id, FLUSHED)
        known_directories.forget(self.store, logs, ())
        self.logs = logs
        for log in logs.all():
            topic = self.topics[log.topic]
            assert topic.topic_id == log.topic_id, "a deleted topic is back"
        for name, partition, oracle in self.partitions():
            there = logs.get(name, partition)
            assert there is not None
            if there.fenced:
                assert not self.is_sound, "offline on sound disks"
            elif self.is_sound:
                compare(there, oracle, self.rng)
            else:
                assert there.log_end_offset >= oracle.durable_end, "a partition was made anew, or has lost what was synced"
                oracle.written = {at: record for at, record in oracle.written.items() if at < there.log_end_offset}
        return True

    def partitions(self) -> list[tuple[str, int, Oracle]]:
        return [(name, at, oracle) for name, topic in self.topics.items() for at, oracle in topic.oracles.items()]

    def work(self) -> None:
        assert self.logs is not None
        act = self.rng.random()
        self.now_ms += self.rng.randint(0, 400)
        if act < 0.15 or not self.topics:
            self.make(self.logs)
        elif act < 0.2:
            self.delete(self.logs)
        elif act < 0.3:
            self.logs.maintain(self.now_ms)
        elif act < 0.36 and not self.is_sound:
            self.disk.fail_next(self.rng.choice(OPERATIONS), self.error())
        elif act < 0.38 and not self.is_sound:
            self.disk.dead = (self.rng.choice(PATHS),)
        else:
            name, partition, oracle = self.rng.choice(self.partitions())
            log = self.logs.get(name, partition)
            assert log is not None
            self.append(log, oracle)

    def make(self, logs: LogDirectories) -> None:
        name = f"t{self.rng.randint(0, 3)}"
        if name in self.topics:
            return
        self.made += 1
        partitions = self.rng.randint(1, 4)
        topic = Topic(UUID(int=self.made), {at: Oracle() for at in range(partitions)})
        self.topics[name] = topic
        try:
            for step in logs.forgetting_steps(name):
                step.run()
                step.complete()
            creation = logs.begin_creation(name, range(partitions), topic.topic_id, FLUSHED)
            creation.run()
            creation.complete()
        except StorageError:
            assert not self.is_sound
            del self.topics[name]
            self.deletions.add(topic.topic_id)

    def delete(self, logs: LogDirectories) -> None:
        name = self.rng.choice(sorted(self.topics))
        topic = self.topics.pop(name)
        self.deletions.add(topic.topic_id)
        try:
            deletion = logs.begin_deletion(name, topic.topic_id)
            deletion.begin()
            deletion.run()
            deletion.complete()
        except StorageError:
            assert not self.is_sound
            return
        if logs.is_whole:
            self.deletions.discard(topic.topic_id)

    def append(self, log: PartitionLog, oracle: Oracle) -> None:
        assert self.logs is not None
        others = [other for other in self.logs.all() if other is not log and not other.fenced]
        was_fenced, directory_failed = log.fenced, self.logs.has_offline_directory
        content = [Record(b"k", self.rng.randbytes(self.rng.choice([3, 150])), self.now_ms) for _ in range(2)]
        if not was_fenced:  # what is refused after a torn write may be there all the same
            oracle.attempted |= {log.log_end_offset + at: record for at, record in enumerate(content)}
        result = log.append(build_batch(content), now_ms=self.now_ms)
        if was_fenced:
            assert result.error == ErrorCode.kafka_storage_error, "acknowledged after an I/O error"
        elif result.error:
            assert not self.is_sound
            assert result.error == ErrorCode.kafka_storage_error
        else:
            oracle.acknowledge(content, result.base_offset)
            log.sync()
            if not log.fenced:
                oracle.durable_end = max(oracle.durable_end, log.high_watermark)
        if not directory_failed:
            assert not [other.path for other in others if other.fenced], "an I/O error of one partition took another offline"

    def stop(self) -> None:
        assert self.logs is not None
        try:
            self.logs.close(self.now_ms)
        except StorageError:
            assert not self.is_sound


def log_directories(rng: random.Random) -> None:
    world = World(rng)
    for _ in range(rng.randint(2, 6)):
        world.live(sound=rng.random() < 0.3)
        world.disk.dead = ()
    world.is_sound = True
    assert world.start(), "all disks are sound again: all comes back"
    assert world.logs is not None
    for name, partition, oracle in world.partitions():
        log = world.logs.get(name, partition)
        assert log is not None
        world.append(log, oracle)


def test_directories_and_partitions_fail_alone_and_come_back_whole() -> None:
    run_seeds(log_directories, count=120)


@pytest.mark.parametrize(
    ("target", "name", "old", "new"),
    [
        (LogDirectories, "_is_lost", "self.has_offline_directory", "False"),
        (known_directories, "with_missing", "**missing}", "}"),
        (known_directories, "forget", "gone if logs.is_complete else", "gone if True else"),
        (PartitionLog, "_write_failed", "self.fence(error)", "pass"),
        (Creation, "complete_in_steps", "raise StorageError", "return; raise StorageError"),
        (LogDirectory, "survey", "if topic_id in deleted:", "if topic_id is None:"),
        (Segment, "remove", "for suffix in", "for suffix in () and"),
        (OffsetCheckpoints, "deleted", "self._lose(at)", "pass"),
    ],
    ids=[
        "what may be in a directory that is away is not made anew",
        "a directory that was taken off the list is missed",
        "it is, as long as a partition of it is",
        "a partition that met an error takes no more",
        "what could not be made is said",
        "what was deleted stays deleted",
        "a segment that could not be begun is taken away",
        "checkpoints that speak of a deleted topic are not taken for those of a new one",
    ],
)
def test_a_guard_taken_out_is_noticed(target: type | ModuleType, name: str, old: str, new: str) -> None:
    with mutated(target, name, old, new):
        assert first_failing_seed(log_directories, count=600) is not None
