"""Idempotence (KIP-98): sequences follow on, retries get their first offsets, epochs fence; across restarts too."""

import pytest

from headrace.broker.log.batch import parse_header
from headrace.broker.log.producers import ProducerStates, decode_snapshot, sequence_after
from headrace.broker.log.record import build_batch
from headrace.broker.wire import ErrorCode
from tests.unit.broker_log.logs import CONFIG, NOW_MS, append_as, new_disk, new_log, open_directory, value_records


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


def test_a_producer_is_forgotten_after_the_expiry() -> None:
    directory = open_directory(new_disk())
    log = directory.create("events", 3, new_log().topic_id, {})
    append_as(log, 4, 0, 0, b"a")
    directory.maintain(NOW_MS + CONFIG.producer_id_expiration_ms - 1)
    assert append_as(log, 4, 0, 8, b"b").error == ErrorCode.out_of_order_sequence_number
    directory.maintain(NOW_MS + CONFIG.producer_id_expiration_ms)
    assert append_as(log, 4, 0, 8, b"b").error == 0


def test_the_snapshot_has_kafkas_bytes() -> None:
    states = ProducerStates()
    batch = build_batch(value_records(b"a", b"b", time_ms=1000), producer_id=5, producer_epoch=2, base_sequence=10)
    states.appended(parse_header(batch), 41, 9999)
    entry = "000000000000000500020000000b00000000000000290000000100000000000003e9ffffffffffffffffffffffff"
    encoded = states.encode().hex()
    assert encoded[:4] == "0001"
    assert encoded[12:] == "00000001" + entry


def test_a_damaged_snapshot_is_not_read() -> None:
    states = ProducerStates()
    batch = build_batch(value_records(b"a"), producer_id=5, producer_epoch=2, base_sequence=10)
    states.appended(parse_header(batch), 41, 9999)
    content = states.encode()
    decoded = decode_snapshot(content, 1)
    assert decoded is not None
    assert decoded.batches_of(5) == states.batches_of(5)
    for damaged in (b"", content[:9], content[:-1], content + b"\0", b"\0\2" + content[2:], content[:-1] + b"?"):
        assert decode_snapshot(damaged, 1) is None
