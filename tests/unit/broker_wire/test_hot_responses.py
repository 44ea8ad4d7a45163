"""Produce and Fetch answers packed by hand are what the general encoder makes of the same."""

import uuid

import pytest

from headrace.broker.handlers.fetch import FETCH
from headrace.broker.handlers.produce import PRODUCE
from headrace.broker.handlers.steps import at_once
from headrace.broker.wire.hot import Fetched, Produced, fetch_parts, produce_body
from headrace.broker.wire.schema import request_codec

TOPIC_ID = uuid.UUID(int=(5 << 64) + 9)
LONG_NAME = "t" * 200


@pytest.mark.parametrize("version", range(PRODUCE.min_version, PRODUCE.max_version + 1))
def test_produce(version: int) -> None:
    done = [Produced(4, 0, 71, -1, 3), Produced(5, 10, -1, -1, -1, "too large, naïvely")]
    topics = [("a", done), (LONG_NAME, [Produced(1, 0, 9, 1_700_000_000_123, 2)]), ("empty", [])]
    expected = {
        "responses": [
            {
                "name": name,
                "partition_responses": [
                    {
                        "index": each.partition,
                        "error_code": each.error,
                        "base_offset": each.base_offset,
                        "log_append_time": each.log_append_time_ms,
                        "log_start_offset": each.log_start_offset,
                        "record_errors": [],
                        "error_message": each.message,
                    }
                    for each in partitions
                ],
            }
            for name, partitions in topics
        ]
    }
    assert produce_body(version, topics) == request_codec(0, version, (3, 11)).encode_body(expected)


@pytest.mark.parametrize("read_committed", [False, True])
@pytest.mark.parametrize("version", range(FETCH.min_version, FETCH.max_version + 1))
def test_fetch(version: int, read_committed: bool) -> None:
    found = [Fetched(4, 0, 71, 3, b"r" * 300), Fetched(5, 0, 12, 2), Fetched(6, 1, -1, -1)]
    topics = [(LONG_NAME, TOPIC_ID, found), ("b", TOPIC_ID, [Fetched(7, 0, 10, 1, b"more")]), ("empty", TOPIC_ID, [])]
    expected = {
        "session_id": 0,
        "responses": [
            {
                "topic": name,
                "topic_id": topic_id,
                "partitions": [
                    {
                        "partition_index": each.partition,
                        "error_code": each.error,
                        "high_watermark": each.high_watermark,
                        "last_stable_offset": each.high_watermark,
                        "log_start_offset": each.log_start_offset,
                        "aborted_transactions": [] if read_committed else None,
                        "records": each.records,
                    }
                    for each in partitions
                ],
            }
            for name, topic_id, partitions in topics
        ],
    }
    packed = b"".join(at_once(fetch_parts(version, topics, read_committed=read_committed)))
    assert packed == request_codec(1, version, (4, 16)).encode_body(expected)


def test_fetch_error_of_the_session() -> None:
    packed = b"".join(at_once(fetch_parts(12, [], read_committed=False, error=70)))
    assert packed == request_codec(1, 12, (4, 16)).encode_body({"error_code": 70, "session_id": 0, "responses": []})
