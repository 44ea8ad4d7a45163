"""The offline check: whatever is damaged is named with its file, and what a stop or a crash leaves is no fault."""

import random
from collections.abc import Callable, Iterator

import pytest
from crc32c import crc32c

from headrace.broker.log import checkpoint
from headrace.broker.log.batch import CRC_START, HEADER, parse_header
from headrace.broker.log.findings import Fault, Report
from headrace.broker.log.inspection import look_at_partition, plan
from headrace.broker.log.record import build_batch
from headrace.errors import UsageError
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import (
    NOW_MS,
    PATH,
    TOPIC_ID,
    append,
    append_as,
    new_disk,
    open_directory,
    settings,
    value_records,
)

LOG_PATH = f"{PATH}/events-3"
STEM = "00000000000000000000"
BATCHES = 60


def check(disk: SimDisk, *, deep: bool = True) -> list[Report]:
    directory, tasks = plan(disk, PATH)
    return [directory, *(look_at_partition(disk, PATH, task, deep=deep) for task in tasks)]


def faults(disk: SimDisk, *, deep: bool = True) -> list[Fault]:
    return [fault for report in check(disk, deep=deep) for fault in report.faults]


def notes(disk: SimDisk) -> list[Fault]:
    return [note for report in check(disk) for note in report.notes]


def written(*, clean: bool = True, segment_bytes: int = 2500) -> SimDisk:
    """A log of several segments, two producers and every codec, with a checkpoint in the middle."""
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, settings(segment_bytes=str(segment_bytes)))
    for at in range(BATCHES):
        append_as(log, 5 + at % 2, 0, 2 * (at // 2), b"first %d" % at, b"second")
        log.append(build_batch(value_records(b"x" * 40, b"y" * 40, time_ms=NOW_MS + 10 * at), codec=at % 5), now_ms=NOW_MS)
        if at == BATCHES // 2:
            log.sync(checkpoint=True)
            directory.maintain(NOW_MS + 6_000)
    if clean:
        directory.close(NOW_MS)
    return disk


def files(disk: SimDisk, suffix: str) -> list[str]:
    return [f"{LOG_PATH}/{name}" for name in disk.list(LOG_PATH) if name.endswith(suffix)]


def test_a_log_that_was_stopped_cleanly_has_no_fault_and_is_told_whole() -> None:
    disk = written()
    directory, partition = check(disk)
    assert (directory.topic, directory.state) == (None, "clean")
    assert (partition.topic, partition.partition, partition.state) == ("events", 3, "clean")
    assert partition.records == partition.log_end_offset == 4 * BATCHES
    assert partition.segments == len(files(disk, ".log")) > 3
    assert partition.bytes == sum(len(disk.content(file)) for file in files(disk, ".log"))


def every_byte(disk: SimDisk, rng: random.Random, suffixes: tuple[str, ...], count: int) -> Iterator[tuple[str, int]]:
    places = [(file, at) for suffix in suffixes for file in files(disk, suffix) for at in range(len(disk.content(file)))]
    yield from rng.sample(places, count)


def test_one_changed_byte_anywhere_in_logs_indexes_or_snapshots_is_a_fault() -> None:
    rng, disk = random.Random(4), written()
    for file, at in every_byte(disk, rng, (".log", ".index", ".snapshot"), 250):
        content = disk.content(file)
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        disk.replace(file, bytes(changed))
        assert faults(disk, deep=False), f"byte {at} of {file}"
        disk.replace(file, content)
    assert faults(disk) == []


def test_a_changed_time_in_a_time_index_is_a_fault() -> None:
    disk = written()
    for file in files(disk, ".timeindex"):
        content = disk.content(file)
        for entry in range(0, len(content), 12):
            disk.replace(file, content[: entry + 7] + bytes([content[entry + 7] ^ 1]) + content[entry + 8 :])
            assert faults(disk), f"entry at {entry} of {file}"
        disk.replace(file, content)


def test_a_wrong_crc_is_told_with_its_byte_and_the_look_goes_on_behind_it() -> None:
    disk = written(segment_bytes=100_000)
    (file,) = files(disk, ".log")
    content = bytearray(disk.content(file))
    first = 12 + int.from_bytes(content[8:12], "big")
    content[first + 70] ^= 1
    content[-1] ^= 1
    disk.replace(file, bytes(content))
    wrong = [fault for fault in faults(disk, deep=False) if "CRC" in fault.what]
    assert [fault.file for fault in wrong] == [f"events-3/{STEM}.log"] * 2
    assert wrong[0].byte == first
    assert wrong[1].byte is not None
    assert wrong[1].byte > first


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda disk: disk.remove(files(disk, ".log")[1]), "index without its log"),
        (lambda disk: disk.remove(files(disk, ".index")[1]), "missing"),
        (lambda disk: disk.remove(f"{LOG_PATH}/{checkpoint.PARTITION_METADATA}"), "missing"),
        (lambda disk: disk.replace(f"{LOG_PATH}/{checkpoint.LEADER_EPOCHS}", b"0\n1\n3 0\n"), "of epoch 3"),
        (lambda disk: disk.replace(f"{PATH}/{checkpoint.RECOVERY_POINT}", b"0\n1\nevents 3 999\n"), "says 999"),
        (lambda disk: disk.replace(f"{PATH}/{checkpoint.HIGH_WATERMARK}", b"rubbish"), "no version"),
        (lambda disk: disk.replace(f"{PATH}/{checkpoint.LOG_START}", b"0\n1\nevents 3 x\n"), "cannot read line"),
        (lambda disk: disk.replace(files(disk, ".timeindex")[0], b""), "the greatest time"),
    ],
)  # fmt: skip
def test_what_is_gone_or_contradicts_is_told(damage: Callable[[SimDisk], None], said: str) -> None:
    disk = written()
    damage(disk)
    assert any(said in found.what for found in [*faults(disk), *notes(disk)])
    assert faults(disk)


def test_a_torn_last_batch_after_an_unclean_stop_is_what_the_next_start_cuts() -> None:
    disk = written(clean=False)
    last = files(disk, ".log")[-1]
    disk.replace(last, disk.content(last) + b"\0" * 100)
    assert faults(disk) == []
    assert any(note.byte is not None and "no whole batch" in note.what for note in notes(disk))
    open_directory(disk.crashed(lucky=True)).close(NOW_MS)


def test_what_kill_9_leaves_at_any_moment_is_no_fault_and_after_a_restart_there_is_nothing_left() -> None:
    for seed in range(40):
        disk = written_until_killed(seed)
        assert faults(disk) == [], f"seed {seed}"
        open_directory(disk).close(NOW_MS)
        assert [report.state for report in check(disk)] == ["clean", "clean"], f"seed {seed}"


def written_until_killed(seed: int) -> SimDisk:
    disk = new_disk(seed)
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, settings(segment_bytes="900"))
    rng = random.Random(seed)
    for at in range(rng.randint(0, 50)):
        append(log, b"v" * rng.randint(1, 200), time_ms=NOW_MS + at)
        if rng.random() < 0.1:
            log.sync(checkpoint=rng.random() < 0.5)
            directory.maintain(NOW_MS + 6_000 * at)
    return disk.crashed(lucky=True)


def test_leftovers_are_named() -> None:
    disk = written()
    for name in (f"{LOG_PATH}/{STEM}.log.deleted", f"{LOG_PATH}/{STEM}.cleaned", f"{LOG_PATH}/notes.log", f"{PATH}/strange"):
        disk.open(name, create=True).close()
    named = {note.file for note in notes(disk)}
    assert named == {f"events-3/{STEM}.log.deleted", f"events-3/{STEM}.cleaned", "events-3/notes.log", "strange"}
    assert faults(disk) == []


@pytest.mark.parametrize(
    "name",
    [f"{STEM}.log", f"{STEM}.index", f"{STEM}.timeindex", f"{STEM}.txnindex", checkpoint.PARTITION_METADATA,
     checkpoint.LEADER_EPOCHS, f"{9:020d}.snapshot"],
)  # fmt: skip
def test_what_stands_in_the_place_of_a_file_is_a_fault_of_its_own_and_the_rest_is_looked_at(name: str) -> None:
    disk = written()
    segments = len(files(disk, ".log"))
    if name in disk.list(LOG_PATH):
        disk.remove(f"{LOG_PATH}/{name}")
    disk.make_directory(f"{LOG_PATH}/{name}")
    last = files(disk, ".log")[-1]
    disk.replace(last, disk.content(last)[:-1] + b"\xff")
    _, partition = check(disk)
    told = [fault.what for fault in partition.faults if fault.file == f"events-3/{name}"]
    assert told == ["cannot be read: is a directory"]
    assert any("CRC" in fault.what for fault in partition.faults), "the last batch of the last segment"
    assert partition.segments == segments


def test_a_checkpoint_that_cannot_be_read_is_a_fault_of_the_directory() -> None:
    disk = written()
    disk.remove(f"{PATH}/{checkpoint.HIGH_WATERMARK}")
    disk.make_directory(f"{PATH}/{checkpoint.HIGH_WATERMARK}")
    directory, partition = check(disk)
    assert directory.faults == [Fault(checkpoint.HIGH_WATERMARK, None, "cannot be read: is a directory")]
    assert partition.faults == []


def test_deep_finds_a_batch_whose_records_are_not_what_its_header_says() -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, TOPIC_ID, settings())
    liar = build_batch(value_records(b"a", b"b", b"c"), codec=4)
    assert log.append(with_count(liar, 9), now_ms=NOW_MS, origin="internal").error == 0  # believed, as it is compressed
    directory.close(NOW_MS)
    assert faults(disk, deep=False) == []
    assert [fault.what for fault in faults(disk)] == ["the batch says that it has 9 records, and 3 are there"]


def with_count(batch: bytes, count: int) -> bytes:
    changed = bytearray(batch)
    header = parse_header(batch)._replace(record_count=count, last_offset_delta=count - 1)
    HEADER.pack_into(changed, 0, *header)
    HEADER.pack_into(changed, 0, *header._replace(crc=crc32c(memoryview(changed)[CRC_START:])))
    return bytes(changed)


def test_a_folder_that_is_no_log_directory_is_refused() -> None:
    disk = new_disk()
    with pytest.raises(UsageError, match="no log directory"):
        plan(disk, "/data")
