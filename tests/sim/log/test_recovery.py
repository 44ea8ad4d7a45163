"""Recovery of the log against an oracle: what was synced is neither lost nor changed, whatever the crash left.

A scenario runs several lives of one log directory on a simulated disk. In each life random appends, syncs, rolls, retention and
checkpoints happen, until the power is cut at any changing operation (also during loading and recovery, and during a clean
shutdown). Before the next life indexes, snapshots and checkpoints may be deleted or garbled. Then the log is compared with the
oracle, by offset and by time, and appends go on. Two partitions: one exposes records once fsynced, the other at once.
"""

import random
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from headrace.broker.log import scanning
from headrace.broker.log.config import LogConfig
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectory, LogDirectoryConfig
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, build_batch, records
from headrace.broker.log.retirement import Retirement
from headrace.broker.log.sync import PartitionSync
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.log.disk import PowerCutError, SimDisk

START_MS = 1_700_000_000_000
PATH = "/data/logs"
OVERRIDES: dict[str, dict[str, str | None]] = {
    "flushed": {"flush.messages": "1"},
    "cached": {"retention.bytes": "2000", "headrace.retention.hold": "table"},
}


@dataclass
class Oracle:
    """What one partition was told and what it answered."""

    written: dict[int, Record] = field(default_factory=dict)  # offset → the record last acknowledged there
    attempted: dict[int, Record] = field(default_factory=dict)  # the last append, which the power cut may have let through
    durable_end: int = 0  # before it, all was synced while we watched
    deleted_end: int = 0  # before it, all was deleted durably
    taken_end: int = 0  # before it, all was asked to be deleted, or was landed, or may have been lost
    exposed_durably: int = 0
    max_log_start: int = 0
    sequences: dict[int, int] = field(default_factory=dict)  # producer id → next sequence
    last_batches: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # producer id → batch, its base offset

    def acknowledge(self, batch: list[Record], base_offset: int) -> None:
        for delta, record in enumerate(batch):
            self.written[base_offset + delta] = record


class World:
    """One scenario: a disk, the lives on it, and the oracles."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now_ms = START_MS
        self.disk = SimDisk(rng)
        self.disk.make_directory("/data")
        self.disk.sync_directory("/")
        self.oracles = {"flushed": Oracle(), "cached": Oracle()}
        self.created: set[str] = set()
        self.config = LogDirectoryConfig(
            node_id=7,
            cluster_id="sim",
            defaults=LogConfig(
                segment_bytes=rng.choice([400, 1500, 6000]),
                index_interval_bytes=rng.choice([0, 100, 300]),
                file_delete_delay_ms=2_000,
            ),
            flush_checkpoint_interval_ms=3_000,
            high_watermark_checkpoint_interval_ms=1_000,
            retention_check_interval_ms=2_000,
        )
        self.directory: LogDirectories | None = None
        self.logs: dict[str, PartitionLog] = {}

    def live(self) -> None:
        """One life: open, compare, work, and end in one way or another."""
        if self.rng.random() < 0.8:
            self.disk.crash_after(self.rng.choice([5, 30, 120, 400]) + self.rng.randint(0, 40))
        try:
            self.open()
            for _ in range(self.rng.randint(1, 40)):
                self.work()
            if self.rng.random() < 0.4:
                assert self.directory is not None
                self.directory.close(self.now_ms)
                for name, log in self.logs.items():
                    self.oracles[name].durable_end = log.log_end_offset
        except PowerCutError:
            pass
        for name, log in self.logs.items():
            self.note(log, self.oracles[name])
        self.disk = self.disk.crashed(lucky=self.rng.random() < 0.2)
        self.logs = {}
        self.now_ms += self.rng.randint(0, 10_000)
        if self.rng.random() < 0.5:
            self.damage()

    def open(self) -> None:
        self.directory = LogDirectories.open(self.disk, [PATH], self.config, self.now_ms, overrides=OVERRIDES)
        for name, oracle in self.oracles.items():
            if name not in self.created:
                log = self.directory.create(name, 0, UUID(int=hash_free(name)), OVERRIDES[name])
                self.created.add(name)
            else:
                found = self.directory.get(name, 0)
                assert found is not None, f"{name} is gone"
                log = found
                compare(log, oracle, self.rng)
            self.logs[name] = log

    def work(self) -> None:
        name = self.rng.choice(["flushed", "cached"])
        log, oracle = self.logs[name], self.oracles[name]
        act = self.rng.random()
        self.now_ms += self.rng.randint(0, 300)
        if act < 0.75:
            self.append(log, oracle)
        elif act < 0.85:
            end = log.log_end_offset
            log.sync(checkpoint=self.rng.random() < 0.3)
            oracle.durable_end = end
        elif act < 0.93:
            self.maintain(log, oracle)
        elif act < 0.95:
            self.delete_records(log, oracle)
        else:
            oracle_read(log, oracle, self.rng)
        self.note(log, oracle)

    def maintain(self, log: PartitionLog, oracle: Oracle) -> None:
        """Housekeeping, which takes nothing that is held and was not landed."""
        assert self.directory is not None
        held_from = log.retirement.held_from
        if held_from is not None:
            held_from = self.rng.randint(min(held_from, log.high_watermark), log.high_watermark)
            log.retirement.held_from = held_from
            oracle.taken_end = max(oracle.taken_end, held_from)
        self.directory.maintain(self.now_ms)
        for each in self.logs.values():
            if each.retirement.held_from is not None:
                assert each.log_start_offset <= self.oracles[each.topic].taken_end, "what was held is gone"

    def delete_records(self, log: PartitionLog, oracle: Oracle) -> None:
        assert self.directory is not None
        log.retirement.delete_records(self.rng.randint(log.log_start_offset, log.high_watermark), self.now_ms)
        oracle.max_log_start = log.log_start_offset  # from here on it may be gone
        oracle.taken_end = max(oracle.taken_end, log.log_start_offset)
        for step in self.directory.log_start_steps():
            step.run()
            step.complete()
        oracle.deleted_end = log.log_start_offset

    def append(self, log: PartitionLog, oracle: Oracle) -> None:
        rng = self.rng
        producer_id = rng.choice([-1, -1, 4, 5])
        content = [
            Record(rng.choice([None, b"k"]), rng.randbytes(rng.choice([3, 40, 150])), self.now_ms + rng.randint(-50, 50))
            for _ in range(rng.randint(1, 4))
        ]
        sequence = oracle.sequences.get(producer_id, 0)
        known = producer_id >= 0
        batch = build_batch(
            content, codec=rng.choice([0, 0, 0, 1, 2, 3, 4]), producer_id=producer_id, producer_epoch=0 if known else -1,
            base_sequence=sequence if known else -1,
        )  # fmt: skip
        oracle.attempted = dict(enumerate(content, log.log_end_offset))
        result = log.append(batch, now_ms=self.now_ms)
        assert result.error == 0, result
        oracle.acknowledge(content, result.base_offset)
        if known:
            oracle.sequences[producer_id] = sequence + len(content)
            oracle.last_batches[producer_id] = (batch, result.base_offset)
            if rng.random() < 0.2:
                again = log.append(batch, now_ms=self.now_ms)
                assert (again.error, again.base_offset) == (0, result.base_offset), "a retry is answered with its first offset"
        if log.sync_due(self.now_ms):
            assert log.high_watermark < log.log_end_offset, "nothing is exposed before it is synced"
            end = log.log_end_offset
            log.sync()
            oracle.durable_end = end

    def note(self, log: PartitionLog, oracle: Oracle) -> None:
        if log.config.flushes:
            oracle.exposed_durably = max(oracle.exposed_durably, log.high_watermark)
        oracle.durable_end = max(oracle.durable_end, log.durability.recovery_point)
        oracle.max_log_start = max(oracle.max_log_start, log.log_start_offset)

    def damage(self) -> None:
        """Delete or garble what can be made again: indexes and the newest snapshot."""
        for name in sorted(self.created):
            path = f"{PATH}/{name}-0"
            try:
                files = self.disk.list(path)
            except FileNotFoundError:
                continue
            for file in files:
                if file.endswith((".index", ".timeindex", ".snapshot")) and self.rng.random() < 0.3:
                    content = bytearray(self.disk.content(f"{path}/{file}"))
                    kind = self.rng.random()
                    if kind < 0.3:
                        self.disk.remove(f"{path}/{file}")
                        self.disk.sync_directory(path)
                        continue
                    if kind < 0.6 and content:
                        content[self.rng.randrange(len(content))] ^= self.rng.randint(1, 255)
                    elif kind < 0.8:
                        del content[self.rng.randint(0, len(content)) :]
                        if file.endswith(".timeindex") and len(content) % 12 == 0:
                            content += b"?"  # entries cut off whole cannot be told from ones never written, in Kafka's format
                    else:
                        content += self.rng.randbytes(self.rng.randint(1, 30))
                    self.disk.replace(f"{path}/{file}", bytes(content))


def hash_free(name: str) -> int:
    """A topic id that is the same in every run."""
    return int.from_bytes(name.encode(), "big")


def compare(log: PartitionLog, oracle: Oracle, rng: random.Random) -> None:
    """After loading: the log against the oracle; then the oracle forgets what the crash took."""
    assert log.log_end_offset >= oracle.durable_end, f"synced records lost: {log.log_end_offset} < {oracle.durable_end}"
    assert log.high_watermark == log.log_end_offset >= oracle.exposed_durably
    assert log.log_start_offset >= oracle.deleted_end, "deleted records are back"
    oracle.taken_end = max(oracle.taken_end, log.log_start_offset)  # a crash may have left nothing before it
    stored = read_all(log, rng)
    for offset in range(oracle.max_log_start, oracle.durable_end):  # retention had deleted the rest
        if offset in oracle.written:
            assert offset in stored, f"synced record {offset} lost"
    for offset, record in stored.items():
        expected = oracle.written[offset] if offset in oracle.written else oracle.attempted[offset]
        assert (record.key, record.value) == (expected.key, expected.value), f"record {offset} changed"
    oracle.written = {o: r for o, r in oracle.written.items() if o in stored or o < log.log_start_offset}
    for offset, record in stored.items():
        oracle.written[offset] = record
    by_time(log, stored, rng)
    producers(log, oracle, stored, rng)


def read_all(log: PartitionLog, rng: random.Random) -> dict[int, Record]:
    """Every record, read in steps of any size; offsets rise, and each batch holds what was asked for."""
    stored: dict[int, Record] = {}
    offset = log.log_start_offset
    while True:
        result = log.read(offset, rng.choice([1, 200, 1000, 100_000]))
        assert result.error == 0
        if not result.records:
            assert offset == log.high_watermark or not any(o >= offset for o in stored)
            return stored
        read = list(records(result.records))
        assert read[-1].offset >= offset, "a read makes progress"
        for record in read:
            if record.offset >= log.log_start_offset:
                stored[record.offset] = record
        offset = read[-1].offset + 1


def by_time(log: PartitionLog, stored: dict[int, Record], rng: random.Random) -> None:
    times = sorted({record.timestamp_ms for record in stored.values()})
    for wanted in [*rng.sample(times, min(5, len(times))), START_MS - 1000, (times[-1] + 1 if times else START_MS)]:
        first = next((o for o, r in sorted(stored.items()) if r.timestamp_ms >= wanted), None)
        found = log.offset_for_timestamp(wanted)
        assert (None if found is None else found[0]) == first, f"time {wanted}"
    greatest = log.max_timestamp_offset()
    if stored:
        assert greatest is not None
        assert greatest[:2] == (min(o for o, r in stored.items() if r.timestamp_ms == times[-1]), times[-1])


def producers(log: PartitionLog, oracle: Oracle, stored: dict[int, Record], rng: random.Random) -> None:
    """What the log remembers of a producer is what it holds of it; a survivor's retry is a duplicate, and the next one fits."""
    for producer_id, (batch, base_offset) in sorted(oracle.last_batches.items()):
        remembered = log.producer_batches(producer_id)
        for written in remembered:
            assert written.last_offset < log.log_end_offset, "a producer's batch that the log has lost"
        if base_offset in stored and next(iter(records(batch))).value == stored[base_offset].value:
            assert remembered[-1].base_offset == base_offset
            result = log.append(batch, now_ms=START_MS)
            assert (result.error, result.base_offset) == (0, base_offset), "a retry after the crash is a duplicate"
        if remembered:
            oracle.sequences[producer_id] = remembered[-1].last_sequence + 1
        else:
            oracle.sequences[producer_id] = 0
    oracle.last_batches = {p: b for p, b in oracle.last_batches.items() if b[1] in stored}


def oracle_read(log: PartitionLog, oracle: Oracle, rng: random.Random) -> None:
    if log.high_watermark <= log.log_start_offset:
        return
    offset = rng.randrange(log.log_start_offset, log.high_watermark)
    result = log.read(offset, rng.choice([1, 500]))
    read = {record.offset: record for record in records(result.records)}
    wanted = min((o for o in oracle.written if offset <= o < log.high_watermark), default=None)
    if wanted is None:  # a hole that a crash has left at the end
        assert not read
        return
    assert max(read) < log.high_watermark
    assert read[wanted].value == oracle.written[wanted].value


def log_recovery(rng: random.Random) -> None:
    world = World(rng)
    for _ in range(rng.randint(2, 6)):
        world.live()
    world.disk = world.disk.crashed()
    world.open()  # with no more power cuts: it must come up, and take more
    for name, log in world.logs.items():
        for _ in range(3):
            world.append(log, world.oracles[name])
        assert log.log_end_offset > log.log_start_offset


def test_synced_records_survive_whatever_the_crash_leaves() -> None:
    run_seeds(log_recovery, count=120)


@pytest.mark.parametrize(
    ("target", "name", "old", "new"),
    [
        (PartitionSync, "run", "in self.files", "in self.files[-1:]"),
        (PartitionSync, "run", "if self.names:", "if self.names and not self.files:"),
        (scanning, "valid_prefix", "or not is_whole_batch(data, header, position)", "or header.size > len(data) - position"),
        (LogDirectory, "survey", "if self._clean:", "if self._clean and not names:"),
        (Retirement, "_may_take_oldest", "self.held_from, log_start_offset=start", "None, log_start_offset=start"),
        (LogDirectory, "log_start_step", "(checkpoint.LOG_START,)", "()"),
    ],
    ids=[
        "older segments are synced too",
        "names are synced",
        "CRCs are checked",
        "the clean marker goes first",
        "what is held is not taken",
        "a deletion is written before it is told",
    ],
)
def test_a_guard_taken_out_is_noticed(target: type, name: str, old: str, new: str) -> None:
    with mutated(target, name, old, new):
        assert first_failing_seed(log_recovery, count=300) is not None
