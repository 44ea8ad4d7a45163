"""Compaction against an oracle, through power cuts at any changing operation, dying workers and full disks.

A scenario runs several lives of one compacted partition on a simulated disk: appends with few keys and many tombstones, syncs,
checkpoints, deleted records, cleanings whose swap is interleaved with all of that. After each life indexes, snapshots and
checkpoints may be lost. Then, whatever happened: the last value of every key is there, a deleted key does not come back, a
tombstone stays `delete.retention.ms` after it was first cleaned, offsets and content never change, and producers go on.
"""

import errno
import random
from dataclasses import dataclass, field
from types import ModuleType
from uuid import UUID

import pytest

from headrace.broker.log import leftovers, scanning
from headrace.broker.log.compaction import clean, plan, rewrite
from headrace.broker.log.compaction.clean import CleanResult
from headrace.broker.log.compaction.plan import CleanerLimits
from headrace.broker.log.config import LogConfig
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectory, LogDirectoryConfig
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, batches, build_batch, records
from headrace.broker.log.retirement import Retirement
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.log.disk import PowerCutError, SimDisk
from tests.sim.log.test_recovery import START_MS, by_time

PATH = "/data/logs"
TOPIC_ID = UUID(int=0x5EED)
TOMBSTONES_STAY_MS = 5_000
KEYS = [b"a", b"b", b"c", b"a key that is longer than thirty-two bytes", b"e", b"f"]


class WorkerDeathError(Exception):
    """The worker's process is gone in the middle of its work, and its files remain."""


@dataclass
class Oracle:
    """What the partition was told, and what it may have forgotten since."""

    written: dict[int, Record] = field(default_factory=dict)  # offset → the record acknowledged there
    attempted: dict[int, Record] = field(default_factory=dict)  # what an append that the power cut ended may have left
    durable_end: int = 0
    log_start: int = 0
    first_cleaned_ms: dict[int, int] = field(default_factory=dict)  # offset of a tombstone → when a job first covered it
    stamped_ms: dict[int, int] = field(default_factory=dict)  # the same of jobs whose outcome is in the log
    sequences: dict[int, int] = field(default_factory=dict)
    last_batches: dict[int, tuple[bytes, int, int]] = field(default_factory=dict)  # producer → batch, base and last offset

    def last_by_key(self, log_start: int) -> dict[bytes, int]:
        return {record.key or b"": offset for offset, record in sorted(self.written.items()) if offset >= log_start}


class World:
    """One scenario: a disk, the lives on it, and the oracle."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now_ms, self.oracle = rng, START_MS, Oracle()
        self.disk = SimDisk(rng)
        self.disk.make_directory("/data")
        self.disk.sync_directory("/")
        self.overrides: dict[str, str | None] = {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": rng.choice(["0", "0.3"]),
            "delete.retention.ms": str(TOMBSTONES_STAY_MS),
            "min.compaction.lag.ms": rng.choice(["0", "0", "1000"]),
            "message.timestamp.type": rng.choice(["CreateTime", "CreateTime", "LogAppendTime"]),
        }
        if rng.random() < 0.5:
            self.overrides["flush.messages"] = "1"
        self.config = LogDirectoryConfig(
            node_id=7,
            cluster_id="sim",
            defaults=LogConfig(
                segment_bytes=rng.choice([300, 600, 1500]),
                index_interval_bytes=rng.choice([0, 100]),
                file_delete_delay_ms=1_000,
            ),
            flush_checkpoint_interval_ms=1_000,
            high_watermark_checkpoint_interval_ms=500,
            retention_check_interval_ms=500,
        )
        self.keys = KEYS + [b"key %d" % at for at in range(rng.choice([0, 0, 20]))]
        self.checkpoints = rng.choice([0.1, 0.7])
        self.created = self.compared = self.peaceful = False
        self.directory: LogDirectories
        self.log: PartitionLog

    def live(self) -> None:
        self.compared = False
        if self.rng.random() < 0.8:
            self.disk.crash_after(self.rng.choice([20, 100, 300, 800]) + self.rng.randint(0, 60))
        try:
            self.open()
            for _ in range(self.rng.randint(1, 60)):
                self.work()
            if self.rng.random() < 0.3:
                self.directory.close(self.now_ms)
                self.oracle.durable_end = self.log.log_end_offset
        except PowerCutError:
            pass
        if self.compared:
            self.note()
        self.disk = self.disk.crashed(lucky=self.rng.random() < 0.3)
        self.now_ms += self.rng.randint(0, 3_000)
        if self.created and self.rng.random() < 0.4:
            self.damage()

    def open(self) -> None:
        self.directory = LogDirectories.open(self.disk, [PATH], self.config, self.now_ms, overrides={"keyed": self.overrides})
        if not self.created:
            self.log = self.directory.create("keyed", 0, TOPIC_ID, self.overrides)
            self.created = self.compared = True
            return
        log = self.directory.get("keyed", 0)
        assert log is not None
        self.log = log
        names = self.disk.list(log.path)
        assert not [name for name in names if name.endswith((".cleaned", ".swap", ".deleted"))], "a crash's leftovers stay"
        self.after_a_crash()
        self.compared = True  # from here on the oracle follows this log
        self.compare()

    def work(self) -> None:
        act = self.rng.random()
        self.now_ms += self.rng.randint(0, 200)
        if act < 0.62:
            self.append()
        elif act < 0.70:
            self.sync(checkpoint=self.rng.random() < self.checkpoints)
        elif act < 0.70 + 0.15 * self.checkpoints:
            self.directory.maintain(self.now_ms)
        elif act < 0.95:
            self.clean()
        elif act < 0.97:
            self.delete_records()
        else:
            self.compare()
        self.note()

    def append(self) -> None:
        rng, log, oracle = self.rng, self.log, self.oracle
        producer_id = rng.choice([-1, 4, 5])
        known = producer_id >= 0
        sequence = oracle.sequences.get(producer_id, 0)
        content = [
            Record(
                rng.choice(self.keys),
                None if rng.random() < 0.3 else rng.randbytes(rng.choice([2, 40])),
                self.now_ms - rng.randint(0, 9),
            )
            for _ in range(rng.randint(1, 4))
        ]
        batch = build_batch(
            content, codec=rng.choice([0, 0, 1, 2, 3, 4]), producer_id=producer_id, producer_epoch=0 if known else -1,
            base_sequence=sequence if known else -1,
        )  # fmt: skip
        oracle.attempted = {log.log_end_offset + delta: record for delta, record in enumerate(content)}
        result = log.append(batch, now_ms=self.now_ms)
        assert result.error == 0, result
        for delta, record in enumerate(content):
            oracle.written[result.base_offset + delta] = record
        if known:
            oracle.sequences[producer_id] = sequence + len(content)
            oracle.last_batches[producer_id] = (batch, result.base_offset, result.last_offset)
        if log.sync_due(self.now_ms):
            self.sync(checkpoint=False)

    def sync(self, *, checkpoint: bool) -> None:
        end = self.log.log_end_offset
        self.log.sync(checkpoint=checkpoint)
        self.oracle.durable_end = end

    def delete_records(self) -> None:
        self.log.retirement.delete_records(self.rng.randint(self.log.log_start_offset, self.log.high_watermark), self.now_ms)

    def note(self) -> None:
        self.oracle.durable_end = max(self.oracle.durable_end, self.log.durability.recovery_point)
        self.oracle.log_start = max(self.oracle.log_start, self.log.log_start_offset)

    # Cleaning

    def clean(self) -> None:
        """One cleaning from start to end, with other work between its steps."""
        log, recovery_point = next(found for found in self.directory.compacted() if found)
        found = plan.survey(log, recovery_point=recovery_point, now_ms=self.now_ms)
        if not found.is_due(log.config):
            return
        limits = CleanerLimits(key_map_bytes=self.rng.choice([1, 400, 1 << 20]))
        job = self.directory.begin_clean(log, found, limits, self.now_ms)
        began_ms = self.now_ms
        for offset, record in self.oracle.written.items():
            if record.value is None and offset < found.end:
                self.oracle.first_cleaned_ms.setdefault(offset, began_ms)
        if self.rng.random() < 0.1:
            self.disk.fail_next("pwrite", OSError(errno.ENOSPC, "full"))
        try:
            result = clean.clean(self.disk, job, self.worker_pause())
        except WorkerDeathError:
            return
        except OSError:
            assert not [name for name in self.disk.list(self.log.path) if name.endswith(".cleaned")]
            return
        finally:
            self.disk.fail_next("pwrite", None)
        ends = {segment.base_offset: segment.next_offset for segment in job.segments}
        for cleaned in result.segments:
            last = max(offset for offset in self.oracle.written if offset < ends[cleaned.bases[-1]])
            assert cleaned.next_offset == last + 1, "a cleaned segment ends where the old ones did"
        self.swap_in(result, began_ms)

    def worker_pause(self) -> "clean.Pause":
        dies = self.rng.random() < 0.1

        def pause(_: int) -> None:
            if dies and self.rng.random() < 0.3:
                raise WorkerDeathError

        return pause

    def swap_in(self, result: CleanResult, began_ms: int) -> None:
        if self.rng.random() < 0.1 and not self.peaceful:
            self.disk.crash_after(self.rng.randint(1, 20))
        swap = self.directory.begin_swap(self.log, result)
        self.meanwhile()
        swap.commit()
        self.meanwhile()
        for _ in swap.steps(self.now_ms):
            self.meanwhile()
        swap.settle()
        swap.complete()
        assert self.log.cleaned_to == result.end_offset, "the cleaning is done"
        self.is_clean(self.compare(), result, began_ms)

    def meanwhile(self) -> None:
        act = self.rng.random()
        if act < 0.3:
            self.append()
        elif act < 0.4:
            self.directory.maintain(self.now_ms)
        elif act < 0.45:
            self.delete_records()
        elif act < 0.6:
            self.compare()
        self.note()

    def is_clean(self, stored: dict[int, Record], result: CleanResult, began_ms: int) -> None:
        """Up to where the cleaning went every key is there once, and no tombstone whose time is over."""
        oracle, below = self.oracle, [o for o in stored if o < result.end_offset]
        keys = [stored[offset].key for offset in below]
        assert len(keys) == len(set(keys)), "a key is there twice below the cleaned point"
        for offset in below:
            if stored[offset].value is None:
                first_ms = oracle.stamped_ms.setdefault(offset, began_ms)
                assert began_ms < first_ms + TOMBSTONES_STAY_MS, f"tombstone {offset} stays for ever"

    # Comparing

    def after_a_crash(self) -> None:
        """What was durable is there; what was not may be gone from the end."""
        log, oracle = self.log, self.oracle
        assert log.log_end_offset >= oracle.durable_end, f"durable records lost: {log.log_end_offset} < {oracle.durable_end}"
        stored = self.read_all()
        oracle.written = {**{o: r for o, r in oracle.attempted.items() if o in stored}, **oracle.written}
        oracle.written = {o: r for o, r in oracle.written.items() if o < oracle.durable_end or o in stored}
        oracle.stamped_ms = {}  # a crash may have come before the stamp
        self.producers()

    def compare(self) -> dict[int, Record]:
        """The log against the oracle."""
        log, oracle = self.log, self.oracle
        stored = self.read_all()
        for offset, record in stored.items():
            expected = oracle.written[offset]
            assert (record.key, record.value) == (expected.key, expected.value), f"record {offset} changed"
            if not log.config.stamps_append_time:
                assert record.timestamp_ms == expected.timestamp_ms, f"the time of record {offset} changed"
        for key, offset in oracle.last_by_key(oracle.log_start).items():
            if offset >= log.high_watermark:
                continue
            if offset not in stored:
                assert oracle.written[offset].value is None, f"the last value of {key!r}, at {offset}, is gone"
                first_ms = oracle.first_cleaned_ms.get(offset)
                assert first_ms is not None, f"tombstone {offset} is gone, and was never cleaned"
                assert self.now_ms >= first_ms + TOMBSTONES_STAY_MS, f"tombstone {offset} is gone too early"
                back = [o for o, r in stored.items() if r.key == key and o < offset]
                assert not back, f"deleted key {key!r} is back at {back}"
        by_time(log, stored, self.rng)
        if log.log_start_offset < log.high_watermark:
            self.read_from(self.rng.randrange(log.log_start_offset, log.high_watermark), stored)
        return stored

    def read_from(self, offset: int, stored: dict[int, Record]) -> None:
        """From any offset, also one that compaction has taken, a reader comes to the next record that is there."""
        log, wanted = self.log, min((o for o in stored if o >= offset), default=None)
        while offset < log.high_watermark:
            result = log.read(offset, 1)
            found = [record for record in records(result.records) if record.offset >= offset]
            if found or not result.records:
                assert (found[0].offset if found else None) == wanted
                return
            offset = max(header.last_offset for header, _ in batches(result.records)) + 1
        assert wanted is None

    def read_all(self) -> dict[int, Record]:
        """Every record that may be read, in steps of any size from any offset; a hole leads to the next batch."""
        log, stored = self.log, dict[int, Record]()
        offset = log.log_start_offset
        while offset < log.high_watermark:
            result = log.read(offset, self.rng.choice([1, 200, 100_000]))
            assert result.error == 0
            if not result.records:
                rest = [o for o in self.oracle.written if offset <= o < min(self.oracle.durable_end, log.high_watermark)]
                assert not rest, f"nothing to read at {offset}, and {rest} were written"
                break  # a hole that a crash has left at the end
            last_offset = max(header.last_offset for header, _ in batches(result.records))
            assert last_offset >= offset, "a read makes progress"
            for record in records(result.records):
                assert record.offset not in stored or record.offset < offset, "a record comes twice"
                if record.offset >= log.log_start_offset:
                    stored[record.offset] = record
            offset = last_offset + 1
        return stored

    def producers(self) -> None:
        """A producer whose last batch is in the log goes on, and its retry is a duplicate, also if the records are gone."""
        log, oracle = self.log, self.oracle
        for producer_id, (batch, base_offset, last_offset) in sorted(oracle.last_batches.items()):
            remembered = log.producer_batches(producer_id)
            if oracle.log_start <= last_offset < oracle.durable_end:  # else it may be lost, or deleted with its segment
                assert remembered, f"producer {producer_id} is forgotten"
                assert remembered[-1].last_offset >= last_offset, f"producer {producer_id} has lost its last batch"
            if last_offset in [written.last_offset for written in remembered]:
                result = log.append(batch, now_ms=self.now_ms)
                assert (result.error, result.base_offset) == (0, base_offset), "a retry after the crash is a duplicate"
            else:
                del oracle.last_batches[producer_id]
            oracle.sequences[producer_id] = remembered[-1].last_sequence + 1 if remembered else 0

    def damage(self) -> None:
        """Lose what can be made again."""
        path, all_snapshots = f"{PATH}/keyed-0", self.rng.random() < 0.3
        for name in self.disk.list(path):
            lost = (
                name.endswith((".index", ".timeindex", ".index.swap", ".timeindex.swap", ".snapshot"))
                and self.rng.random() < 0.4
            )
            if lost or (all_snapshots and name.endswith(".snapshot")):
                self.disk.replace(f"{path}/{name}", self.rng.randbytes(self.rng.choice([0, 7, 24])))
        for name in ("recovery-point-offset-checkpoint", "cleaner-offset-checkpoint"):
            if self.rng.random() < 0.3:
                self.disk.replace(f"{PATH}/{name}", b"garbled\n")


def log_compaction(rng: random.Random) -> None:
    world = World(rng)
    for _ in range(rng.randint(3, 7)):
        world.live()
    world.disk = world.disk.crashed()
    world.peaceful = True
    world.open()  # with no more power cuts: it must come up, take more, and clean
    for _ in range(3):
        world.append()
    world.sync(checkpoint=True)
    world.clean()
    world.compare()


def test_the_last_value_of_every_key_survives_compaction_and_crashes() -> None:
    run_seeds(log_compaction, count=60)


@pytest.mark.parametrize(
    ("target", "name", "old", "new"),
    [
        (plan, "survey", "log.high_watermark, recovery_point,", "log.high_watermark,"),
        (scanning, "_follows", " or next_offset < base_offset <= holes_before", ""),
        (LogDirectory, "add", "found.config.flushes or loaded.must_checkpoint:", "found.config.flushes:"),
        (rewrite, "remains", "expired = horizon_ms is not None and", "expired = horizon_ms is None or"),
        (rewrite, "remains", "or header.base_offset >= keys.end", ""),
        (clean._Cleaning, "_pass_on", "if rest is None and header.last_offset in self._kept_ends:", "if False:"),
        (clean._Output, "finish", "if self._held is not None:", "if False:"),
        (clean._Output, "finish", "segment.file.sync()", "pass"),
        (Retirement, "_delete_while", "if log.fenced or self.is_swapping:", "if log.fenced:"),
        (leftovers, "_finish", "base < int(old) < end", "False"),
    ],
    ids=[
        "nothing is cleaned that a crash may take",
        "recovery takes the holes that compaction leaves",
        "a lost checkpoint's recovery point passes the holes before it is written",
        "a tombstone stays for its time",
        "what is after the keys that fitted stays",
        "a producer's last batch stays",
        "a cleaned segment ends where the old ones did",
        "a cleaned segment is on disk before its name",
        "retention waits for a swap",
        "what is swapped out does not come back",
    ],
)
def test_a_guard_taken_out_is_noticed(target: type | ModuleType, name: str, old: str, new: str) -> None:
    with mutated(target, name, old, new):
        assert first_failing_seed(log_compaction, count=300) is not None
