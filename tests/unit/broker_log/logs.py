"""Logs on a simulated disk for unit tests: short to make, time told by hand."""

import random
from uuid import UUID

from headrace.broker.log.config import LogConfig
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, build_batch
from headrace.broker.log.results import AppendResult
from headrace.broker.log.steps import BackgroundStep
from tests.sim.log.disk import SimDisk

NOW_MS = 1_700_000_123_456
PATH = "/data/logs"
TOPIC_ID = UUID(int=0x1234567890ABCDEF)
CONFIG = LogDirectoryConfig(node_id=7, cluster_id="cluster-of-tests", defaults=LogConfig(index_interval_bytes=64))


def new_disk(seed: int = 11) -> SimDisk:
    disk = SimDisk(random.Random(seed))
    disk.make_directory("/data")
    return disk


def open_directory(disk: SimDisk, **overrides: str) -> LogDirectories:
    return LogDirectories.open(disk, [PATH], CONFIG, NOW_MS, overrides={"events": settings(**overrides)})


def due_steps(directory: LogDirectories, now_ms: int) -> list[BackgroundStep]:
    return [step for step in directory.due_steps(now_ms) if step is not None]


def keep_house(directory: LogDirectories, now_ms: int) -> None:
    directory.look_at_space()
    for _ in directory.keep_house(now_ms):
        pass


def settings(**overrides: str) -> dict[str, str | None]:
    return {key.replace("_", "."): value for key, value in overrides.items()}


def new_log(disk: SimDisk | None = None, **overrides: str) -> PartitionLog:
    return open_directory(disk or new_disk(), **overrides).create("events", 3, TOPIC_ID, settings(**overrides))


def value_records(*values: bytes, time_ms: int = NOW_MS) -> list[Record]:
    return [Record(b"key", value, time_ms + at) for at, value in enumerate(values)]


def append(log: PartitionLog, *values: bytes, time_ms: int = NOW_MS, now_ms: int = NOW_MS) -> AppendResult:
    return log.append(build_batch(value_records(*values, time_ms=time_ms)), now_ms=now_ms)


def append_as(log: PartitionLog, producer_id: int, epoch: int, sequence: int, *values: bytes) -> AppendResult:
    batch = build_batch(
        value_records(*values), producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )  # fmt: skip
    return log.append(batch, now_ms=NOW_MS)
