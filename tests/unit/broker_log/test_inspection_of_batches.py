"""What is looked at inside a batch before it is appended, and the codec in which a topic keeps its batches."""

import os
from typing import NamedTuple

import pytest
from crc32c import crc32c

from headrace.broker.log.appending import Batch, inspected, inspected_quickly, is_inspected
from headrace.broker.log.batch import CRC_START, HEADER, HEADER_SIZE, BatchHeader, Rejection, check_batch, parse_header
from headrace.broker.log.compression import GZIP, LZ4, MAX_INFLATED_SIZE, NONE, SNAPPY, ZSTD, compress
from headrace.broker.log.config import LogConfig, with_overrides
from headrace.broker.log.record import Record, build_batch, records
from headrace.broker.wire import ErrorCode
from tests.unit.broker_log.logs import NOW_MS, append, new_log

NAMES = {NONE: "uncompressed", GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}
CONTENT = [Record(b"k%d" % at, os.urandom(20) + b"text " * 30, NOW_MS + at, (("h", b"v"),)) for at in range(300)]


def settings(**overrides: str) -> LogConfig:
    return with_overrides(LogConfig(), {key.replace("_", "."): value for key, value in overrides.items()})


class Stored(NamedTuple):
    data: memoryview
    header: BatchHeader


def admit(batch: bytes, config: LogConfig) -> Batch:
    data = memoryview(batch)
    header = check_batch(data, config=config, now_ms=NOW_MS, origin="client")
    assert isinstance(header, BatchHeader), header
    return data, header


def stored(batch: bytes, config: LogConfig) -> Stored:
    result = inspected(admit(batch, config), config, now_ms=NOW_MS)
    assert not isinstance(result, Rejection), result
    return Stored(*result)


def refusal(batch: bytes, config: LogConfig) -> ErrorCode:
    result = inspected(admit(batch, config), config, now_ms=NOW_MS)
    assert isinstance(result, Rejection), result
    return result.error


def with_count(batch: bytes, count: int) -> bytes:
    """A batch that says it has so many records."""
    header = parse_header(batch)._replace(record_count=count, last_offset_delta=count - 1)
    out = bytearray(batch)
    HEADER.pack_into(out, 0, *header)
    HEADER.pack_into(out, 0, *header._replace(crc=crc32c(memoryview(out)[CRC_START:])))
    return bytes(out)


@pytest.mark.parametrize("wanted", NAMES)
@pytest.mark.parametrize("came", NAMES)
def test_a_topics_codec_replaces_the_producers_and_nothing_else(came: int, wanted: int) -> None:
    batch = build_batch(CONTENT, codec=came, producer_id=7, producer_epoch=3, base_sequence=11)
    kept = stored(batch, settings(compression_type=NAMES[wanted]))
    assert list(records(kept.data)) == list(records(batch))
    assert kept.header == parse_header(kept.data)
    assert kept.header.codec == wanted
    assert crc32c(kept.data[CRC_START:]) == kept.header.crc
    assert same_but_for_encoding(kept.header, parse_header(batch))


def same_but_for_encoding(one: BatchHeader, other: BatchHeader) -> bool:
    return one._replace(length=0, crc=0, attributes=0) == other._replace(length=0, crc=0, attributes=0)


@pytest.mark.parametrize("codec", NAMES)
def test_a_batch_that_has_the_codec_already_stays_as_it_came(codec: int) -> None:
    batch = build_batch(CONTENT, codec=codec)
    assert bytes(stored(batch, settings(compression_type=NAMES[codec])).data) == batch
    assert bytes(stored(batch, settings()).data) == batch


@pytest.mark.parametrize(("codec", "low", "high"), [("gzip", "1", "9"), ("lz4", "9", "12"), ("zstd", "-50", "19")])
def test_a_level_says_how_hard_the_codec_tries(codec: str, low: str, high: str) -> None:
    text = b" ".join(b"word-%d" % (at * at % 97) for at in range(3000))
    batch = build_batch([Record(b"k", text, NOW_MS)])

    def size(level: str) -> int:
        return stored(batch, settings(**{"compression_type": codec, f"compression_{codec}_level": level})).header.size

    assert size(high) < size(low)


def test_a_batch_that_outgrows_the_limit_in_the_topics_codec_is_refused() -> None:
    batch = build_batch([Record(b"k", bytes(5000), NOW_MS)], codec=ZSTD)
    assert refusal(batch, settings(compression_type="uncompressed", max_message_bytes="4000")) == ErrorCode.message_too_large
    assert stored(batch, settings(compression_type="gzip", max_message_bytes="4000")).header.codec == GZIP


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
@pytest.mark.parametrize("claimed", [299, 301, 1 << 30])
def test_a_compressed_batch_with_a_false_count_is_refused(codec: int, claimed: int) -> None:
    assert refusal(with_count(build_batch(CONTENT, codec=codec), claimed), settings()) == ErrorCode.invalid_record


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_compressed_batch_that_cannot_be_read_is_refused(codec: int) -> None:
    batch = bytearray(build_batch(CONTENT, codec=codec))
    batch[HEADER_SIZE:] = bytes(len(batch) - HEADER_SIZE)
    header = parse_header(batch)
    HEADER.pack_into(batch, 0, *header._replace(crc=crc32c(memoryview(batch)[CRC_START:])))
    assert refusal(bytes(batch), settings()) in (ErrorCode.corrupt_message, ErrorCode.invalid_record)


def test_what_inflates_beyond_the_bound_is_left_to_a_thread_and_beyond_all_bounds_refused() -> None:
    config, quick_bytes = settings(), 16 * 1024
    for size, is_quick in ((quick_bytes - 100, True), (quick_bytes + 1, False)):
        batch = build_batch([Record(b"k", bytes(size), NOW_MS)], codec=ZSTD)
        assert (inspected_quickly(admit(batch, config), config, now_ms=NOW_MS) is not None) is is_quick
    body = compress(ZSTD, bytes(MAX_INFLATED_SIZE + 1))
    bomb = bytearray(batch[:HEADER_SIZE]) + body
    header = parse_header(bomb)._replace(length=len(bomb) - 12)
    HEADER.pack_into(bomb, 0, *header)
    HEADER.pack_into(bomb, 0, *header._replace(crc=crc32c(memoryview(bomb)[CRC_START:])))
    assert refusal(bytes(bomb), config) == ErrorCode.message_too_large


@pytest.mark.parametrize("codec", NAMES)
def test_every_record_of_a_compacted_topic_needs_a_key(codec: int) -> None:
    config = settings(cleanup_policy="compact")
    assert stored(build_batch(CONTENT, codec=codec), config).header.record_count == 300
    keyless = [*CONTENT[:299], Record(None, b"v", NOW_MS)]
    assert refusal(build_batch(keyless, codec=codec), config) == ErrorCode.invalid_record
    odd = [Record(b"", None, NOW_MS), Record(b"k" * 300, b"", NOW_MS - 5000, (("", None), ("h", b"")))]
    assert stored(build_batch(odd, codec=codec), config).header.record_count == 2


def test_only_a_batch_that_is_not_compressed_and_of_which_nothing_is_asked_needs_no_look_inside() -> None:
    plain, packed = build_batch(CONTENT), build_batch(CONTENT, codec=LZ4)
    assert is_inspected(admit(plain, settings())[1], settings())
    assert is_inspected(admit(plain, settings(compression_type="uncompressed"))[1], settings(compression_type="uncompressed"))
    assert not is_inspected(admit(packed, settings())[1], settings())
    for config in (settings(compression_type="zstd"), settings(cleanup_policy="compact,delete")):
        assert not is_inspected(admit(plain, config)[1], config)


def test_a_log_stores_what_comes_in_its_topics_codec_with_the_brokers_time() -> None:
    log = new_log(compression_type="zstd", message_timestamp_type="LogAppendTime")
    assert append(log, b"a", b"b", now_ms=NOW_MS + 9).error == 0
    data = log.read(0, 1 << 20).records
    assert parse_header(data).codec == ZSTD
    assert [(record.value, record.timestamp_ms) for record in records(data)] == [(b"a", NOW_MS + 9), (b"b", NOW_MS + 9)]
