"""DeleteRecords over the wire: where the log starts afterwards, what is refused, and that what is gone stays gone."""

from pathlib import Path

import pytest

from tests.integration.broker.requests import batch, create_topic, fetch, list_offset, produce, values
from tests.integration.groups.wire_client import WireClient
from tests.processes import broker

DELETE_RECORDS = 21
OUT_OF_RANGE, UNKNOWN_TOPIC, INVALID_TOPIC, POLICY_VIOLATION = 1, 3, 17, 44
EARLIEST = -2


def deleted(client: WireClient, topic: str, before: int, *, partition: int = 0, version: int = 2) -> tuple[int, int]:
    """(error, low watermark)."""
    wanted = [{"name": topic, "partitions": [{"partition_index": partition, "offset": before}]}]
    answer = client.call(DELETE_RECORDS, version, {"topics": wanted, "timeout": 9000})
    result = answer.topics[0].partitions[0]
    return int(result.error_code), result.low_watermark


def fill(client: WireClient, topic: str, count: int) -> None:
    for at in range(count):
        assert produce(client, topic, batch(b"%d" % at * 400)).error_code == 0


@pytest.mark.parametrize("version", [0, 1, 2])
def test_records_before_the_offset_are_gone_and_the_rest_is_there(client: WireClient, version: int) -> None:
    topic = f"cut{version}"
    create_topic(client, topic, segment_bytes="1024")
    fill(client, topic, 6)
    assert deleted(client, topic, 4, version=version) == (0, 4)
    assert list_offset(client, topic, EARLIEST)[2] == 4
    assert fetch(client, topic, 3).error_code == OUT_OF_RANGE
    assert values(fetch(client, topic, 4)) == [b"4" * 400, b"5" * 400]
    assert deleted(client, topic, 2, version=version) == (0, 4)  # never back


def test_minus_one_means_all(client: WireClient) -> None:
    create_topic(client, "all")
    fill(client, "all", 3)
    assert deleted(client, "all", -1) == (0, 3)
    assert fetch(client, "all", 2).error_code == OUT_OF_RANGE
    fill(client, "all", 1)
    assert values(fetch(client, "all", 3)) == [b"0" * 400]


def test_offsets_beyond_the_high_watermark_are_refused(client: WireClient) -> None:
    create_topic(client, "short")
    fill(client, "short", 3)
    assert deleted(client, "short", 4) == (OUT_OF_RANGE, -1)
    assert deleted(client, "short", -2) == (OUT_OF_RANGE, -1)
    assert deleted(client, "short", 3) == (0, 3)


def test_partitions_that_may_not_be_cut_are_refused(client: WireClient) -> None:
    create_topic(client, "compacted", cleanup_policy="compact")
    assert deleted(client, "compacted", 0) == (POLICY_VIOLATION, -1)
    create_topic(client, "both", cleanup_policy="compact,delete")
    assert deleted(client, "both", 0) == (0, 0)
    assert deleted(client, "both", 0, partition=1) == (UNKNOWN_TOPIC, -1)
    assert deleted(client, "absent", 0) == (UNKNOWN_TOPIC, -1)
    client.call(10, 4, {"key_type": 0, "coordinator_keys": ["g"]})  # makes the offsets' topic
    assert deleted(client, "__consumer_offsets", 0) == (INVALID_TOPIC, -1)


def test_what_was_deleted_stays_so_after_kill_9_and_its_files_are_removed(tmp_path: Path) -> None:
    with broker(tmp_path) as part:
        directory = tmp_path / "broker" / "t-0"
        with WireClient(part.ports["kafka"]) as client:
            create_topic(client, "t", segment_bytes="1024", file_delete_delay_ms="0")
            fill(client, "t", 6)
            assert deleted(client, "t", 5) == (0, 5)
        part.kill()
        assert [file.name for file in sorted(directory.glob("*.log"))] == [f"{4:020d}.log"]
        part.start()
        with WireClient(part.ports["kafka"]) as client:
            assert list_offset(client, "t", EARLIEST)[2] == 5
            assert fetch(client, "t", 4).error_code == OUT_OF_RANGE
            assert values(fetch(client, "t", 5)) == [b"5" * 400]
        assert not list(directory.glob("*.deleted"))
