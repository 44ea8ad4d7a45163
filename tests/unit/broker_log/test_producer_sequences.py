"""Idempotence (KIP-98): sequences follow on, retries get their first offsets, epochs fence; across restarts too."""

import tracemalloc
from dataclasses import replace

import pytest

from headrace.broker.log.batch import TRANSACTIONAL, parse_header
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.producers import MAX_PRODUCERS, ProducerStates, decode_snapshot, fair_share, sequence_after
from headrace.broker.log.record import build_batch
from headrace.broker.wire import ErrorCode
from tests.sim.log.disk import SimDisk
from tests.unit.broker_log.logs import (
    CONFIG,
    NOW_MS,
    PATH,
    TOPIC_ID,
    append_as,
    keep_house,
    new_disk,
    new_log,
    open_directory,
    value_records,
)


def test_a_retry_of_any_of_the_last_five_batches_gets_its_first_offset() -> None:
    log = new_log()
    for sequence in range(0, 12, 2):
        assert append_as(log, 4, 0, sequence, b"a", b"b").base_offset == sequence
    for sequence in range(2, 12, 2):
        result = append_as(log, 4, 0, sequence, b"a", b"b")
        assert (result.error, result.base_offset, result.last_offset) == (0, sequence, sequence + 1)
    assert append_as(log, 4, 0, 0, b"a", b"b").error == ErrorCode.out_of_order_sequence_number
    assert log.log_end_offset == 12


def test_a_gap_in_sequences_is_out_of_order() -> None:
    log = new_log()
    append_as(log, 4, 0, 0, b"a")
    assert append_as(log, 4, 0, 2, b"c").error == ErrorCode.out_of_order_sequence_number
    assert append_as(log, 4, 0, 1, b"b").error == 0


def test_an_unknown_producer_may_begin_anywhere() -> None:
    assert append_as(new_log(), 4, 3, 500, b"a").error == 0


def test_a_new_epoch_begins_at_zero_and_fences_the_old_one() -> None:
    log = new_log()
    append_as(log, 4, 1, 0, b"a")
    assert append_as(log, 4, 2, 1, b"b").error == ErrorCode.out_of_order_sequence_number
    assert append_as(log, 4, 2, 0, b"b").error == 0
    assert append_as(log, 4, 1, 1, b"c").error == ErrorCode.invalid_producer_epoch


def test_sequences_wrap() -> None:
    log = new_log()
    last = (1 << 31) - 1
    assert append_as(log, 4, 0, last - 1, b"a", b"b", b"c").error == 0
    assert append_as(log, 4, 0, last - 1, b"a", b"b", b"c").base_offset == 0
    assert append_as(log, 4, 0, 1, b"d").base_offset == 3
    assert sequence_after(last, 1) == 0


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "kill -9"])
def test_all_five_are_remembered_after_a_restart(clean: bool) -> None:
    disk = new_disk()
    directory = open_directory(disk)
    log = directory.create("events", 3, new_log().topic_id, {})
    for sequence in range(7):
        append_as(log, 4, 0, sequence, b"x")
    if clean:
        directory.close(NOW_MS)
    disk = disk.crashed(lucky=True)
    again = open_directory(disk).get("events", 3)
    assert again is not None
    assert [append_as(again, 4, 0, sequence, b"x").base_offset for sequence in range(2, 7)] == [2, 3, 4, 5, 6]
    assert append_as(again, 4, 0, 7, b"x").base_offset == 7


def opened(disk: SimDisk, now_ms: int = NOW_MS) -> LogDirectories:
    config = replace(CONFIG, producer_id_expiration_check_interval_ms=1)
    return LogDirectories.open(disk, [PATH], config, now_ms)


def test_a_producer_is_forgotten_so_long_after_its_last_write_whatever_times_its_records_bear() -> None:
    directory = opened(new_disk())
    log = directory.create("events", 3, TOPIC_ID, {})
    old = build_batch(value_records(b"a", time_ms=1), producer_id=4, producer_epoch=0, base_sequence=0)
    assert log.append(old, now_ms=NOW_MS).error == 0
    directory.maintain(NOW_MS + CONFIG.producer_id_expiration_ms - 1)
    assert append_as(log, 4, 0, 8, b"b").error == ErrorCode.out_of_order_sequence_number
    directory.maintain(NOW_MS + CONFIG.producer_id_expiration_ms)
    assert append_as(log, 4, 0, 8, b"b").error == 0


def test_a_restart_does_not_make_producers_younger() -> None:
    disk = new_disk()
    directory = opened(disk)
    append_as(directory.create("events", 3, TOPIC_ID, {}), 4, 0, 0, b"a")
    directory.close(NOW_MS)
    later = NOW_MS + CONFIG.producer_id_expiration_ms
    directory = opened(disk, later - 1)
    log = directory.get("events", 3)
    assert log is not None
    assert append_as(log, 4, 0, 8, b"b").error == ErrorCode.out_of_order_sequence_number
    directory.maintain(later)
    assert append_as(log, 4, 0, 8, b"b").error == 0


def test_expiry_is_looked_at_as_often_as_told() -> None:
    directory = LogDirectories.open(new_disk(), [PATH], replace(CONFIG, producer_id_expiration_ms=5), NOW_MS)
    log = directory.create("events", 3, TOPIC_ID, {})
    append_as(log, 4, 0, 0, b"a")
    keep_house(directory, NOW_MS + CONFIG.producer_id_expiration_check_interval_ms - 1)
    assert log.producer_count == 1
    keep_house(directory, NOW_MS + CONFIG.producer_id_expiration_check_interval_ms)
    assert log.producer_count == 0


def states_of(count: int, *, batches: int = 1) -> ProducerStates:
    """Producers 1, 2, …, each of which wrote later than the one before."""
    header = parse_header(build_batch(value_records(b"a"), producer_id=1, producer_epoch=0, base_sequence=0))
    states = ProducerStates()
    for producer_id in range(1, count + 1):
        for sequence in range(batches):
            batch = header._replace(producer_id=producer_id, base_sequence=sequence)
            states.appended(batch, producer_id, NOW_MS + producer_id)
    return states


def test_a_client_that_takes_a_new_id_for_every_record_fills_neither_memory_nor_snapshots() -> None:
    tracemalloc.start()
    states = states_of(25_000)
    kept_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(states) <= MAX_PRODUCERS
    assert kept_bytes < 6_000_000
    assert len(states.encode()) <= MAX_PRODUCERS * 50 + 10
    assert states.batches_of(25_000), "those that wrote last are known"
    assert states.batches_of(25_000 - MAX_PRODUCERS * 9 // 10 + 1)
    assert not states.batches_of(1)


def test_who_writes_on_is_remembered_while_others_come_and_go() -> None:
    states = states_of(1)
    header = parse_header(build_batch(value_records(b"a"), producer_id=7, producer_epoch=0, base_sequence=0))
    for at in range(3 * MAX_PRODUCERS):
        states.appended(header._replace(producer_id=100 + at), at, NOW_MS + at)
        if at % 1000 == 0:
            states.appended(header._replace(producer_id=1, base_sequence=at // 1000 + 1), at, NOW_MS + at)
    assert len(states.batches_of(1)) == 5


def test_an_open_transaction_is_not_forgotten() -> None:
    header = parse_header(build_batch(value_records(b"a"), producer_id=1, producer_epoch=0, base_sequence=0))
    states = ProducerStates()
    states.appended(header._replace(attributes=TRANSACTIONAL), 0, NOW_MS)
    for producer_id in range(2, 50):
        states.appended(header._replace(producer_id=producer_id), producer_id, NOW_MS + producer_id)
    states.trim(5)
    assert states.open_transactions() == [(1, 0)]
    assert len(states) == 5


@pytest.mark.parametrize(
    ("counts", "total", "share"),
    [([3, 5], 10, 10), ([3, 50], 20, 17), ([50, 50, 50], 30, 10), ([1, 2, 90, 100], 100, 48), ([], 7, 7)],
)
def test_partitions_share_what_a_broker_may_remember_and_small_ones_keep_all(counts: list[int], total: int, share: int) -> None:
    assert fair_share(counts, total) == share
    assert sum(min(count, share) for count in counts) <= total


def test_the_snapshot_has_kafkas_bytes() -> None:
    states = ProducerStates()
    batch = build_batch(value_records(b"a", b"b", time_ms=1000), producer_id=5, producer_epoch=2, base_sequence=10)
    states.appended(parse_header(batch), 41, 9999)
    entry = "000000000000000500020000000b000000000000002900000001000000000000270fffffffffffffffffffffffff"
    encoded = states.encode().hex()
    assert encoded[:4] == "0001"
    assert encoded[12:] == "00000001" + entry


def test_a_damaged_snapshot_is_not_read() -> None:
    states = ProducerStates()
    batch = build_batch(value_records(b"a"), producer_id=5, producer_epoch=2, base_sequence=10)
    states.appended(parse_header(batch), 41, 9999)
    content = states.encode()
    decoded = decode_snapshot(content, 10_000)
    assert decoded is not None
    assert decoded.batches_of(5) == states.batches_of(5)
    for damaged in (b"", content[:9], content[:-1], content + b"\0", b"\0\2" + content[2:], content[:-1] + b"?"):
        assert decode_snapshot(damaged, 1) is None
