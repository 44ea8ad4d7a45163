"""A topic's own codec over the wire: what is fetched has it, in the order of requests, for every client's codec."""

import os
from pathlib import Path

import pytest
from crc32c import crc32c

from headrace.broker.log.batch import CRC_START, HEADER, parse_header
from headrace.broker.log.record import Record, batches, build_batch, records
from tests.integration.broker.requests import PRODUCE, create_topic, fetch, list_offset, new_producer_id, produce, produce_body
from tests.integration.groups.wire_client import WireClient
from tests.processes import broker

CODECS = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
INVALID_RECORD = 87
NOW_MS = 1_700_000_000_000


def batch_of(count: int, size: int, *, codec: int = 0, producer_id: int = -1, sequence: int = -1) -> bytes:
    content = [Record(b"k", os.urandom(size // 2).hex().encode(), NOW_MS + at) for at in range(count)]
    epoch = 0 if producer_id >= 0 else -1
    return build_batch(content, codec=codec, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)


@pytest.mark.parametrize("wanted", CODECS)
def test_large_and_small_batches_of_every_codec_are_kept_in_the_topics(client: WireClient, wanted: str) -> None:
    create_topic(client, wanted, compression_type=wanted)
    sent = [batch_of(*shape, codec=codec) for codec in CODECS.values() for shape in ((300, 1000), (2, 50))]
    offset = 0
    for batch in sent:
        answer = produce(client, wanted, batch)
        assert (answer.error_code, answer.base_offset) == (0, offset)
        offset += parse_header(batch).record_count
    stored = fetch(client, wanted, 0, max_bytes=1 << 24, partition_max_bytes=1 << 24).records
    assert {header.codec for header, _ in batches(stored)} == {CODECS[wanted]}
    kept = [(record.offset, record.value) for record in records(bytes(stored))]
    assert kept == list(enumerate(record.value for batch in sent for record in records(batch)))


def test_requests_sent_ahead_keep_their_order_and_sequences(client: WireClient) -> None:
    create_topic(client, "ahead", compression_type="gzip")
    producer_id = new_producer_id(client)
    shapes = [(400, 1000), (1, 10), (300, 1000), (2, 10), (1, 10)]
    sequence, sent = 0, []
    for count, size in shapes:
        sent.append(batch_of(count, size, codec=3, producer_id=producer_id, sequence=sequence))
        client.send(PRODUCE, 9, produce_body("ahead", sent[-1], acks=-1))
        sequence += count
    answers = [client.receive().responses[0].partition_responses[0] for _ in sent]
    assert [(each.error_code, each.base_offset) for each in answers] == [(0, 0), (0, 400), (0, 401), (0, 701), (0, 703)]
    again = produce(client, "ahead", sent[2], acks=-1)
    assert (again.error_code, again.base_offset) == (0, 401)


def test_a_compressed_batch_that_lies_about_its_count_is_refused(client: WireClient) -> None:
    create_topic(client, "liar")
    for shape in ((300, 1000), (3, 10)):
        lie = bytearray(batch_of(*shape, codec=4))
        header = parse_header(lie)._replace(record_count=shape[0] + 1, last_offset_delta=shape[0])
        HEADER.pack_into(lie, 0, *header)
        HEADER.pack_into(lie, 0, *header._replace(crc=crc32c(memoryview(lie)[CRC_START:])))
        assert produce(client, "liar", bytes(lie)).error_code == INVALID_RECORD
    client.send(PRODUCE, 9, produce_body("liar", bytes(lie), acks=0), answered=False)  # acks=0 has no other way to say it
    with pytest.raises((AssertionError, ConnectionError), match=r"closed the connection|reset by peer|Broken pipe"):
        client.call(18, 0, {})


def test_a_batch_without_an_answer_is_in_its_place_too(client: WireClient) -> None:
    create_topic(client, "unanswered", compression_type="zstd")
    client.send(PRODUCE, 9, produce_body("unanswered", batch_of(400, 1000), acks=0), answered=False)
    assert produce(client, "unanswered", batch_of(1, 10)).base_offset == 400


def test_a_time_is_found_among_records_that_must_be_inflated(client: WireClient) -> None:
    create_topic(client, "timed", compression_type="zstd")
    for start in (0, 10_000):
        content = [Record(b"k", b"%d" % at * 100, NOW_MS + start + at) for at in range(400)]
        assert produce(client, "timed", build_batch(content, codec=3)).error_code == 0
    assert list_offset(client, "timed", NOW_MS + 123) == (0, NOW_MS + 123, 123)
    assert list_offset(client, "timed", NOW_MS + 400) == (0, NOW_MS + 10_000, 400)
    assert list_offset(client, "timed", NOW_MS + 10_400) == (0, -1, -1)
    assert list_offset(client, "timed", -3) == (0, NOW_MS + 10_399, 799)


def test_what_was_acknowledged_is_there_after_kill_9_amid_batches_that_are_compressed_anew(tmp_path: Path) -> None:
    with broker(tmp_path) as part:
        with WireClient(part.ports["kafka"]) as client:
            create_topic(client, "t", compression_type="gzip")
            producer_id = new_producer_id(client)
            batches_ = [batch_of(200, 1000, producer_id=producer_id, sequence=200 * at) for at in range(12)]
            for batch in batches_:
                client.send(PRODUCE, 9, produce_body("t", batch))
            acknowledged = [client.receive().responses[0].partition_responses[0].base_offset for _ in range(5)]
            part.kill()
        assert acknowledged == [0, 200, 400, 600, 800]
        part.start()
        with WireClient(part.ports["kafka"]) as client:
            stored = fetch(client, "t", 0, max_bytes=1 << 24, partition_max_bytes=1 << 24).records
            kept = [record.value for record in records(bytes(stored))]
            sent = [record.value for batch in batches_ for record in records(batch)]
            assert len(kept) >= 1000
            assert kept == sent[: len(kept)]
            following = batches_[len(kept) // 200 - 1]  # the last that is there, sent again: not appended twice
            assert produce(client, "t", following).base_offset == len(kept) - 200
