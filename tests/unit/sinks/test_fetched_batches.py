"""Record batches as a broker sends them; what builds them is the broker's own code, which knows nothing of the fetcher's."""

import struct

import pytest
from crc32c import crc32c

from headrace.broker.log.batch import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL
from headrace.broker.log.compression import GZIP, LZ4, NONE, SNAPPY, ZSTD
from headrace.broker.log.record import Record, build_batch
from headrace.errors import CorruptError
from headrace.sinks.fetching import wire
from headrace.sinks.fetching.batches import UnreadableError, Walk, inflated, walk
from headrace.sinks.fetching.records import Records, Section
from headrace.sinks.messages import headers_of

ABORT, COMMIT = struct.pack(">hh", 0, 0), struct.pack(">hh", 0, 1)
SOME = [
    Record(b"k", b"value" * 50, 1_790_000_000_123),
    Record(None, b"", 1_790_000_000_001, (("name", b"x"), ("name", None), ("ü", b""))),
    Record(b"", None, 1_790_000_900_000),
]


def marker(kind: bytes, base_offset: int, producer_id: int) -> bytes:
    attributes = CONTROL | TRANSACTIONAL
    record = Record(kind, b"\0" * 6, 5)
    return build_batch([record], base_offset=base_offset, attributes=attributes, producer_id=producer_id)


def transaction(base_offset: int, producer_id: int) -> bytes:
    return build_batch(SOME, base_offset=base_offset, attributes=TRANSACTIONAL, producer_id=producer_id)


def walked(data: bytes, offset: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> Walk:
    return walk(memoryview(data), offset, 3, aborted)


def records(data: bytes) -> Records:
    return Records([Section(batch, inflated(batch)) for batch in walked(data).batches])


@pytest.mark.parametrize("codec", [NONE, GZIP, SNAPPY, LZ4, ZSTD])
def test_records_are_read_as_they_were_written(codec: int) -> None:
    read = records(build_batch(SOME, base_offset=7, codec=codec, leader_epoch=4) + build_batch(SOME, base_offset=20))
    assert [one.offset() for one in read] == [7, 8, 9, 20, 21, 22]
    assert len(read) == 6
    for one, written in zip(read, SOME * 2, strict=True):
        assert (one.key(), one.value(), one.timestamp()) == (written.key, written.value, (1, written.timestamp_ms))
        assert headers_of(one) == (list(written.headers) or ())
    assert [one.leader_epoch() for one in read] == [4, 4, 4, 0, 0, 0]


def test_a_brokers_time_is_that_of_all_records_of_a_batch() -> None:
    read = records(build_batch(SOME, attributes=LOG_APPEND_TIME))
    assert [one.timestamp() for one in read] == [(2, 1_790_000_900_000)] * 3


def test_a_batch_that_is_cut_off_is_asked_for_again() -> None:
    first, second = build_batch(SOME, leader_epoch=9), build_batch(SOME, base_offset=3)
    for size in range(len(second)):
        found = walked(first + second[:size])
        assert (len(found.batches), found.next_offset, found.last_epoch) == (1, 3, 9)


def test_batches_before_the_offset_are_left_out() -> None:
    found = walked(build_batch(SOME) + build_batch(SOME, base_offset=3), offset=4)
    assert [batch.base_offset for batch in found.batches] == [3]
    assert found.next_offset == 6


def test_markers_and_aborted_records_are_left_out_and_read_over() -> None:
    data = b"".join(
        [
            transaction(0, 11), transaction(3, 12), marker(ABORT, 6, 11), transaction(7, 11), build_batch(SOME, base_offset=10),
            marker(COMMIT, 13, 12), marker(COMMIT, 14, 11), transaction(15, 12), marker(ABORT, 18, 12),
        ]
    )  # fmt: skip
    found = walked(data, aborted=((12, 15), (11, 0)))
    assert [batch.base_offset for batch in found.batches] == [3, 7, 10]
    assert found.next_offset == 19
    assert found.unread == (
        (0, 3, "aborted"), (6, 7, "control"), (13, 14, "control"), (14, 15, "control"),
        (15, 18, "aborted"), (18, 19, "control"),
    )  # fmt: skip


def test_what_is_not_ordinary_is_not_read() -> None:
    good = build_batch(SOME)
    for at in range(17, len(good)):
        with pytest.raises(UnreadableError):
            walked(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
    with pytest.raises(UnreadableError, match="magic"):
        walked(good[:16] + b"\1" + good[17:])
    with pytest.raises(UnreadableError, match="does not fit"):
        walked(good[:-1])


def with_right_crc(batch: bytearray) -> bytes:
    batch[17:21] = crc32c(memoryview(batch)[21:]).to_bytes(4, "big")
    return bytes(batch)


def test_bytes_that_are_no_records_though_their_crc_is_right_are_not_read() -> None:
    good = build_batch(SOME)
    refused = 0
    for at in range(61, len(good)):
        for bit in range(8):
            changed = bytearray(good)
            changed[at] ^= 1 << bit
            try:
                assert len(records(with_right_crc(changed)).listed()) == 3
            except UnreadableError:
                refused += 1
    assert refused > 100  # lengths and deltas; other bytes are a key's, a value's or a time's


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_bytes_that_cannot_be_inflated_are_not_read(codec: int) -> None:
    changed = bytearray(build_batch(SOME, codec=codec))
    changed[61:70] = bytes(9)
    (batch,) = walked(with_right_crc(changed)).batches
    with pytest.raises(UnreadableError):
        inflated(batch)


def test_a_batch_that_inflates_to_more_than_a_bound_is_not_read() -> None:
    (batch,) = walked(build_batch([Record(None, bytes(1 << 28), 5)], codec=ZSTD)).batches
    with pytest.raises(UnreadableError, match="too large"):
        inflated(batch)


def test_a_response_that_is_cut_off_says_so() -> None:
    head = struct.pack(">i", 6) + b"\0" + struct.pack(">ihi", 70, 0, 0)
    answer = struct.pack(">ihqqq", 2, 0, 90, 80, 0) + b"\2" + struct.pack(">qq", 11, 33) + b"\0" + struct.pack(">i", -1)
    frame = head + b"\2" + b"\2t" + b"\2" + answer + b"\4abc" + b"\0" + b"\0" + b"\0"
    throttle_ms, (found,) = wire.answers(memoryview(frame), 6)
    assert throttle_ms == 70
    assert found == wire.Answer("t", 2, 0, 80, ((11, 33),), has_diverged=False, batches=found.batches)
    assert bytes(found.batches) == b"abc"
    for size in range(len(frame) - 1):
        with pytest.raises(CorruptError):
            wire.answers(memoryview(frame)[:size], 6)
    with pytest.raises(CorruptError, match="another request"):
        wire.answers(memoryview(frame), 7)
