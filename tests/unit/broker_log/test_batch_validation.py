"""Untrusted bytes: every lie in a batch has its error code, and nothing is appended."""

import struct

import pytest
from crc32c import crc32c

from headrace.broker.log.batch import CRC_START, HEADER, parse_header
from headrace.broker.log.record import Record, build_batch, records
from headrace.broker.wire import ErrorCode
from tests.unit.broker_log.logs import NOW_MS, append, new_log, value_records


def lying(**fields: int) -> bytes:
    """A good batch of three records with some header fields replaced, and a CRC that is right again."""
    batch = bytearray(build_batch(value_records(b"one", b"two", b"three")))
    header = parse_header(batch)._replace(**fields)
    HEADER.pack_into(batch, 0, *header)
    if "crc" not in fields:
        HEADER.pack_into(batch, 0, *header._replace(crc=crc32c(bytes(batch[CRC_START:]))))
    return bytes(batch)


def of_bytes(content: bytes) -> bytes:
    """A batch that says it has one record, and has these bytes."""
    header = parse_header(GOOD)._replace(length=HEADER.size - 12 + len(content), record_count=1, last_offset_delta=0)
    batch = bytearray(HEADER.pack(*header) + content)
    HEADER.pack_into(batch, 0, *header._replace(crc=crc32c(bytes(batch[CRC_START:]))))
    return bytes(batch)


GOOD = lying()
NO_PRODUCER = {"producer_id": 9, "producer_epoch": 0, "base_sequence": -1}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ErrorCode.invalid_record),
        (GOOD[:16], ErrorCode.invalid_record),
        (GOOD[:40], ErrorCode.invalid_record),
        (GOOD[:-1], ErrorCode.invalid_record),
        (GOOD + b"\0", ErrorCode.invalid_record),
        (GOOD + GOOD, ErrorCode.invalid_record),
        (GOOD[:-1] + b"?", ErrorCode.corrupt_message),
        (lying(crc=77), ErrorCode.corrupt_message),
        (lying(length=-5), ErrorCode.corrupt_message),
        (lying(length=1 << 30), ErrorCode.invalid_record),
        (lying(magic=1), ErrorCode.invalid_record),
        (lying(magic=0), ErrorCode.invalid_record),
        (lying(magic=3), ErrorCode.corrupt_message),
        (lying(record_count=0, last_offset_delta=-1), ErrorCode.invalid_record),
        (lying(record_count=2), ErrorCode.invalid_record),
        (lying(record_count=5, last_offset_delta=3), ErrorCode.invalid_record),
        (lying(record_count=1_000_000, last_offset_delta=999_999), ErrorCode.invalid_record),
        (lying(record_count=2, last_offset_delta=1), ErrorCode.invalid_record),
        (lying(record_count=4, last_offset_delta=3), ErrorCode.invalid_record),
        (of_bytes(b"\x0b" * 12), ErrorCode.invalid_record),  # a negative length
        (of_bytes(b"\x80" * 4096), ErrorCode.invalid_record),  # a length without an end
        (of_bytes(b"\xff\xff\xff\xff\x0f" + bytes(9)), ErrorCode.invalid_record),
        (lying(base_offset=5), ErrorCode.invalid_record),
        (lying(attributes=5), ErrorCode.unsupported_compression_type),
        (lying(attributes=0x10), ErrorCode.invalid_txn_state),
        (lying(attributes=0x20), ErrorCode.invalid_record),
        (lying(attributes=0x40), ErrorCode.invalid_record),
        (lying(attributes=0x08), ErrorCode.invalid_timestamp),
        (lying(**NO_PRODUCER), ErrorCode.invalid_record),
        (lying(base_timestamp=-7), ErrorCode.invalid_timestamp),
        (lying(max_timestamp=NOW_MS - 50_000), ErrorCode.invalid_timestamp),
        (lying(max_timestamp=NOW_MS + 3_600_001), ErrorCode.invalid_timestamp),
    ],
)
def test_a_lie_is_refused_with_its_code(data: bytes, error: ErrorCode) -> None:
    log = new_log()
    result = log.append(data, now_ms=NOW_MS)
    assert (result.error, result.base_offset) == (error, -1)
    assert result.message
    assert log.log_end_offset == 0
    assert log.append(GOOD, now_ms=NOW_MS).error == 0


def test_a_batch_of_exactly_max_message_bytes_is_taken_and_one_more_is_too_large() -> None:
    assert new_log(max_message_bytes=str(len(GOOD))).append(GOOD, now_ms=NOW_MS).error == 0
    result = new_log(max_message_bytes=str(len(GOOD) - 1)).append(GOOD, now_ms=NOW_MS)
    assert result.error == ErrorCode.message_too_large


def test_a_record_too_old_for_the_topic_is_refused() -> None:
    log = new_log(message_timestamp_before_max_ms="1000")
    assert append(log, b"old", time_ms=NOW_MS - 1001).error == ErrorCode.invalid_timestamp
    assert append(log, b"just", time_ms=NOW_MS - 1000).error == 0


@pytest.mark.parametrize("codec", range(5))
def test_a_max_timestamp_that_an_old_client_leaves_out_is_found_among_the_records(codec: int) -> None:
    times = (NOW_MS - 9_000, NOW_MS - 2_000, NOW_MS - 5_000)
    batch = bytearray(build_batch([Record(None, b"v", time_ms) for time_ms in times], codec=codec))
    HEADER.pack_into(batch, 0, *parse_header(batch)._replace(max_timestamp=-1))
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[CRC_START:])))
    log = new_log()
    assert log.append(bytes(batch), now_ms=NOW_MS).error == 0
    stored = bytes(log.read(0, 1 << 20).records)
    assert parse_header(stored).max_timestamp == NOW_MS - 2_000
    assert [record.timestamp_ms for record in records(stored)] == list(times)
    assert crc32c(stored[CRC_START:]) == parse_header(stored).crc
    HEADER.pack_into(batch, 0, *parse_header(batch)._replace(base_timestamp=(1 << 63) - 1))
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[CRC_START:])))
    assert log.append(bytes(batch), now_ms=NOW_MS).error == ErrorCode.corrupt_message


def test_a_max_timestamp_that_had_to_be_found_is_bounded_like_any_other() -> None:
    batch = bytearray(build_batch([Record(None, b"v", NOW_MS - 2_000)]))
    HEADER.pack_into(batch, 0, *parse_header(batch)._replace(max_timestamp=-1))
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[CRC_START:])))
    late = new_log(message_timestamp_after_max_ms="1000")
    assert late.append(bytes(batch), now_ms=NOW_MS - 4_000).error == ErrorCode.invalid_timestamp


def test_a_record_without_key_is_refused_by_a_compacted_topic() -> None:
    log = new_log(cleanup_policy="compact")
    keyless = build_batch([Record(b"k", b"v", NOW_MS), Record(None, b"v", NOW_MS)], codec=3)
    assert log.append(keyless, now_ms=NOW_MS).error == ErrorCode.invalid_record
    garbage = bytearray(build_batch([Record(b"k", b"v", NOW_MS)], codec=4))
    garbage[-4:] = b"????"
    struct.pack_into(">I", garbage, 17, crc32c(bytes(garbage[CRC_START:])))
    assert log.append(garbage, now_ms=NOW_MS).error == ErrorCode.corrupt_message
    assert append(log, b"keyed").error == 0


def test_offset_and_epoch_are_stamped_on_a_copy_and_the_crc_still_holds() -> None:
    log = new_log()
    append(log, b"first", b"second")
    mine = bytearray(GOOD)
    result = log.append(mine, now_ms=NOW_MS)
    assert (result.base_offset, result.last_offset, result.log_append_time_ms) == (2, 4, -1)
    assert mine == GOOD
    stored = log.read(2, 1 << 20).records
    assert parse_header(stored)[:3] == (2, len(GOOD) - 12, 0)
    assert stored[16:] == GOOD[16:]


def test_log_append_time_replaces_the_producers_times() -> None:
    log = new_log(message_timestamp_type="LogAppendTime")
    result = append(log, b"one", b"two", time_ms=NOW_MS - 10**9, now_ms=NOW_MS + 5)
    assert (result.error, result.log_append_time_ms) == (0, NOW_MS + 5)
    stored = log.read(0, 1 << 20).records
    header = parse_header(stored)
    assert header.crc == crc32c(stored[CRC_START:])
    assert (header.attributes, header.max_timestamp) == (0x08, NOW_MS + 5)
    assert [record.timestamp_ms for record in records(stored)] == [NOW_MS + 5, NOW_MS + 5]
    assert log.offset_for_timestamp(NOW_MS + 1) == (0, NOW_MS + 5, 0)


def test_the_broker_itself_may_append_several_batches() -> None:
    log = new_log(max_message_bytes="100")
    several = build_batch(value_records(b"x" * 90)) + build_batch(value_records(b"y", b"z"), base_offset=77)
    result = log.append(several, now_ms=NOW_MS, origin="internal")
    assert (result.error, result.base_offset, result.last_offset) == (0, 0, 2)
    assert [record.value for record in records(log.read(0, 1 << 20).records)] == [b"x" * 90, b"y", b"z"]


@pytest.mark.parametrize("size", [1, 50, 63, 64, 8000, 9000, 400_000])
def test_records_of_every_length_are_counted(size: int) -> None:
    log = new_log()
    assert append(log, b"", b"v" * size, b"w" * (size // 2)).error == 0
    assert [len(record.value or b"") for record in records(log.read(0, 1 << 20).records)] == [0, size, size // 2]
