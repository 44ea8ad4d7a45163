"""Apache Kafka's own dump tool reads our segments, indexes, snapshots and finds nothing to complain of."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from uuid import UUID

import pytest

from headrace.broker.log.compaction.clean import clean
from headrace.broker.log.compaction.plan import CleanerLimits, survey
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.disk import RealDisk
from headrace.broker.log.record import Record, build_batch

LIBRARIES = Path(__file__).parents[3] / ".peers" / "kafka" / "libs"
NOW_MS = 1_700_000_000_000
BATCHES = 600


@pytest.fixture(scope="module")
def log_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A partition of several segments, in every codec, written by three idempotent producers, stopped cleanly."""
    path = tmp_path_factory.mktemp("logs")
    config = LogDirectoryConfig(node_id=1, cluster_id="dump")
    directory = LogDirectories.open(RealDisk(), [str(path)], config, NOW_MS)
    log = directory.create("dumped", 0, UUID(int=77), {"segment.bytes": "30000"})
    for at in range(BATCHES):
        content = [Record(b"k", b"value %d" % at, NOW_MS + at * 7 % 1000), Record(None, b"w" * 30, NOW_MS + at)]
        batch = build_batch(content, codec=at % 5, producer_id=7 + at % 3, producer_epoch=0, base_sequence=2 * (at // 3))
        assert log.append(batch, now_ms=NOW_MS).error == 0
        if at == 250:
            log.sync(checkpoint=True)
    directory.close(NOW_MS)
    return sorted((path / "dumped-0").iterdir())


@pytest.fixture(scope="module")
def cleaned_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A compacted partition: batches in every codec that lost records, some with tombstones, some without records."""
    path = tmp_path_factory.mktemp("cleaned")
    logs = LogDirectories.open(RealDisk(), [str(path)], LogDirectoryConfig(node_id=1, cluster_id="dump"), NOW_MS)
    settings = {"cleanup.policy": "compact", "segment.bytes": "30000", "index.interval.bytes": "500"}
    log = logs.create("cleaned", 0, UUID(int=78), settings)
    for at in range(BATCHES):
        tombstone = Record(b"gone %d" % (at % 90), None, NOW_MS + at)
        content = [Record(b"key %d" % (at % 150), b"value %d" % at, NOW_MS + at), tombstone, Record(b"k", b"w" * 90, NOW_MS)]
        batch = build_batch(content, codec=at % 5, producer_id=7 + at % 3, producer_epoch=0, base_sequence=3 * (at // 3))
        assert log.append(batch, now_ms=NOW_MS).error == 0
    log.sync(checkpoint=True)
    logs.maintain(NOW_MS + 600_000)
    log, recovery_point = next(found for found in logs.compacted() if found)
    found = survey(log, recovery_point=recovery_point, now_ms=NOW_MS)
    result = clean(RealDisk(), logs.begin_clean(log, found, CleanerLimits(), NOW_MS), lambda _: None)
    swap = logs.begin_swap(log, result)
    swap.commit()
    assert len(list(swap.steps(NOW_MS))) == 1
    swap.settle()
    swap.complete()
    logs.close(NOW_MS)
    return sorted(file for file in (path / "cleaned-0").iterdir() if file.suffix != ".deleted")


@pytest.fixture
def dump(missing: Callable[[str, str], NoReturn]) -> Callable[..., str]:
    if not (LIBRARIES.is_dir() and shutil.which("java")):
        missing("kafka", "run make peers")

    def run(files: list[Path], *options: str) -> str:
        assert files
        command = ["java", "-cp", f"{LIBRARIES}/*", "kafka.tools.DumpLogSegments", *options, "--files"]
        done = subprocess.run(
            [*command, ",".join(map(str, files))], capture_output=True, text=True, timeout=120, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def of(files: list[Path], suffix: str) -> list[Path]:
    return [file for file in files if file.suffix == suffix]


def test_every_record_of_every_segment_is_read(log_files: list[Path], dump: Callable[..., str]) -> None:
    output = dump(of(log_files, ".log"), "--deep-iteration", "--print-data-log")
    assert len(of(log_files, ".log")) > 2
    assert output.count("isvalid: true") == BATCHES
    assert "isvalid: false" not in output
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", output, re.MULTILINE)]
    assert offsets == list(range(2 * BATCHES))


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_are_sane_and_lead_where_they_say(log_files: list[Path], dump: Callable[..., str], suffix: str) -> None:
    files = of(log_files, suffix)
    assert dump(files, "--index-sanity-check").count("passed sanity check") == len(files)
    output = dump(files)
    assert len(re.findall(r"^(?:offset|timestamp): ", output, re.MULTILINE)) >= 2 * len(files)
    assert not re.search(r"mismatch|out of order|not found|corrupt|error", output, re.IGNORECASE)


def test_the_producer_snapshot_is_read(log_files: list[Path], dump: Callable[..., str]) -> None:
    output = dump(of(log_files, ".snapshot"))
    for producer_id in (7, 8, 9):
        assert f"producerId: {producer_id} producerEpoch: 0" in output
    assert f"lastSequence: {2 * BATCHES // 3 - 1} lastOffset: {2 * BATCHES - 1}" in output


def test_a_compacted_log_is_read_with_holes_and_delete_horizons(cleaned_files: list[Path], dump: Callable[..., str]) -> None:
    output = dump(of(cleaned_files, ".log"), "--deep-iteration", "--print-data-log")
    assert "isvalid: false" not in output
    assert f"deleteHorizonMs: OptionalLong[{NOW_MS + 86_400_000}]" in output
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+)", output, re.MULTILINE)]
    assert offsets == sorted(set(offsets))
    assert len(offsets) < 2 * BATCHES
    assert offsets[-1] == 3 * BATCHES - 1
    assert set(re.findall(r"key: (key \d+)", output)) == {f"key {at}" for at in range(150)}


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
def test_indexes_of_a_compacted_log_lead_where_they_say(
    cleaned_files: list[Path], dump: Callable[..., str], suffix: str
) -> None:
    output = dump(of(cleaned_files, suffix))
    assert len(re.findall(r"^(?:offset|timestamp): ", output, re.MULTILINE)) > 2
    assert not re.search(r"mismatch|out of order|not found|corrupt|error", output, re.IGNORECASE)
