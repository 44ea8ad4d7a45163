"""Cleaning a log's files, and loading what a crash in the middle has left."""

import errno
import struct
from dataclasses import replace

import pytest

from headrace.broker.log.batch import TRANSACTIONAL
from headrace.broker.log.compaction.choice import Cleanable, SealedSegment
from headrace.broker.log.compaction.clean import CleanResult, clean
from headrace.broker.log.compaction.plan import CleanerLimits, survey
from headrace.broker.log.config import MAX_INT
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, batches, build_batch, records
from headrace.errors import CorruptError
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import NOW_MS, PATH, TOPIC_ID, new_disk, open_directory, settings

KEYED = {"cleanup_policy": "compact", "segment_bytes": "400", "min_cleanable_dirty_ratio": "0"}


def keyed_log(disk: SimDisk, **more: str) -> tuple[LogDirectories, PartitionLog]:
    directory = open_directory(disk, **KEYED, **more)
    return directory, directory.create("events", 3, TOPIC_ID, settings(**KEYED, **more))


def fill(directory: LogDirectories, log: PartitionLog, count: int, *, keys: int = 3, codec: int = 0) -> None:
    """Append records, one a batch, and let them be on disk as far as the checkpoints know."""
    for at in range(count):
        batch = build_batch([Record(b"k%d" % (at % keys), b"value %d" % at, NOW_MS + at)], codec=codec)
        assert log.append(batch, now_ms=NOW_MS).error == 0
    log.sync(checkpoint=True)
    directory.maintain(NOW_MS + 3_600_000)


def due(directory: LogDirectories) -> tuple[PartitionLog, Cleanable]:
    log, recovery_point = next(found for found in directory.compacted() if found)
    found = survey(log, recovery_point=recovery_point, now_ms=NOW_MS)
    assert found.is_due(log.config)
    return log, found


def run(disk: SimDisk, directory: LogDirectories, limits: CleanerLimits | None = None) -> CleanResult:
    log, found = due(directory)
    result = clean(disk, directory.begin_clean(log, found, limits or CleanerLimits(), NOW_MS), lambda _: None)
    swap = directory.begin_swap(log, result)
    swap.commit()
    for _ in swap.steps(NOW_MS):
        pass
    swap.settle()
    swap.complete()
    return result


def read(log: PartitionLog) -> list[tuple[int, bytes | None, bytes | None]]:
    found, offset = [], log.log_start_offset
    while offset < log.high_watermark:
        result = log.read(offset, 1 << 20)
        assert result.error == 0
        found += [(record.offset, record.key, record.value) for record in records(result.records)]
        offset = max(header.last_offset for header, _ in batches(result.records)) + 1
    return found


def logs_in(disk: SimDisk, log: PartitionLog, suffix: str = ".log") -> list[str]:
    return [name for name in disk.list(log.path) if name.endswith(suffix)]


def test_small_segments_become_one_and_offsets_stay() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    before = {key: (offset, value) for offset, key, value in read(log)}
    active = log.segments.active.base_offset
    result = run(disk, directory)
    assert result.end_offset == active == log.cleaned_to
    assert result.bytes_written < result.bytes_read / 4
    assert len(log.segments) == 2
    after = read(log)
    assert len([offset for offset, *_ in after if offset < active]) == 3
    assert {key: (offset, value) for offset, key, value in after} == before
    assert log.log_end_offset == 60


def test_what_is_clean_already_is_not_written_again() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk, delete_retention_ms="5")
    fill(directory, log, 60)
    run(disk, directory)
    log.cleaned_to = 0
    assert run(disk, directory).bytes_written == 0
    assert logs_in(disk, log, ".cleaned") == []


def test_memory_for_few_keys_takes_several_cleanings() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60, keys=20)
    active, ends = log.segments.active.base_offset, []
    while log.cleaned_to < active:
        ends.append(run(disk, directory, CleanerLimits(key_map_bytes=200 * 8)).end_offset)
    assert ends == [8, 16, 24, 32, 40, 48, active][: len(ends)]
    below = [key for offset, key, _ in read(log) if offset < active]
    assert len(below) == len(set(below)) == 20


def test_a_damaged_batch_is_an_error_and_leaves_no_files() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    name = f"{log.path}/{logs_in(disk, log)[1]}"
    content = bytearray(disk.content(name))
    content[100] ^= 1
    disk.replace(name, bytes(content))
    with pytest.raises(CorruptError, match="no undamaged record batch at byte"):
        run(disk, directory)
    assert logs_in(disk, log, ".cleaned") == []


def test_a_full_disk_is_an_error_and_leaves_no_files() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    disk.free_bytes = 1000
    with pytest.raises(OSError, match="leaves the rest") as raised:
        run(disk, directory)
    assert raised.value.errno == errno.ENOSPC
    assert logs_in(disk, log, ".cleaned") == []


def test_segments_whose_offsets_lie_too_far_apart_stay_apart() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    _, found = due(directory)
    job = directory.begin_clean(log, found, CleanerLimits(), NOW_MS)
    far = [*job.segments[:-1], SealedSegment(job.segments[-1].base_offset, MAX_INT + 2, job.segments[-1].size)]
    changed = replace(job, segments=far)
    for cleaned in clean(disk, changed, lambda _: None).segments:
        assert far[-1].base_offset not in cleaned.bases[1:], "its last offset would not fit 31 bits"


@pytest.mark.parametrize("codec", range(5))
def test_compressed_batches_are_cleaned_and_read_back(codec: int) -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 40, codec=codec)
    latest = {key: value for _, key, value in read(log)}
    run(disk, directory)
    assert {key: value for _, key, value in read(log)} == latest


def test_a_log_that_no_longer_compacts_is_left_as_it_is() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    _, found = due(directory)
    result = clean(disk, directory.begin_clean(log, found, CleanerLimits(), NOW_MS), lambda _: None)
    directory.configure("events", settings(cleanup_policy="delete", segment_bytes="400"))
    swap = directory.begin_swap(log, result)
    swap.commit()
    assert list(swap.steps(NOW_MS)) == []
    swap.settle()
    swap.complete()
    assert (len(read(log)), log.cleaned_to) == (60, 0)
    assert not logs_in(disk, log, ".swap")


def test_how_far_it_is_clean_is_known_after_a_restart() -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    end = run(disk, directory).end_offset
    directory.close(NOW_MS)
    again = open_directory(disk, **KEYED).get("events", 3)
    assert again is not None
    assert again.cleaned_to == end
    assert disk.content(f"{PATH}/cleaner-offset-checkpoint") == b"0\n1\nevents 3 %d\n" % end


@pytest.mark.parametrize("transactional", [False, True])
def test_a_key_whose_value_is_a_transactions_does_not_come_back(transactional: bool) -> None:
    disk = new_disk()
    directory, log = keyed_log(disk, delete_retention_ms="0")
    value = build_batch([Record(b"gone", b"value", NOW_MS)], attributes=TRANSACTIONAL if transactional else 0)
    assert log.append(value, now_ms=NOW_MS, origin="internal").error == 0
    log.append(build_batch([Record(b"gone", None, NOW_MS)]), now_ms=NOW_MS)
    fill(directory, log, 60)
    run(disk, directory)
    log.cleaned_to = 0
    run(disk, directory)
    expected = [(b"gone", b"value"), (b"gone", None)] if transactional else []
    assert [(key, value) for _, key, value in read(log) if key == b"gone"] == expected


@pytest.mark.parametrize("swapped", [True, False], ids=["swapped in", "finished by the next start"])
def test_what_transactions_were_aborted_stays_known(swapped: bool) -> None:
    disk = new_disk()
    directory, log = keyed_log(disk)
    fill(directory, log, 60)
    bases = [segment.base_offset for segment in log.segments][:2]
    for producer_id, base in enumerate(bases, 7):
        disk.open(f"{log.path}/{base:020d}.txnindex", create=True)
        disk.replace(f"{log.path}/{base:020d}.txnindex", struct.pack(">hqqqq", 0, producer_id, base, base + 1, base + 2))
    _, found = due(directory)
    result = clean(disk, directory.begin_clean(log, found, CleanerLimits(), NOW_MS), lambda _: None)
    swap = directory.begin_swap(log, result)
    swap.commit()
    if swapped:
        assert list(swap.steps(NOW_MS))
        swap.settle()
        swap.complete()
    again = open_directory(disk.crashed(), **KEYED).get("events", 3)
    assert again is not None
    assert len(again.segments) == 2
    assert again.aborted.reaching(0) == [(7, bases[0]), (8, bases[1])]
    assert [key for _, key, _ in read(again)].count(b"k0") < 4
