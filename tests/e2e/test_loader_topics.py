"""Topics that appear, lose their oldest records, and are created again."""

import time
from pathlib import Path

import pytest

from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline, records_of


def wait_until_retained_from(pipeline: Pipeline, topic: str, offset: int) -> int:
    """The log start offset, once retention has moved it past `offset`."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": "look"})
    deadline = time.monotonic() + 30
    try:
        while True:
            low, _ = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
            if low > offset:
                return int(low)
            assert time.monotonic() < deadline, f"retention has not moved past {offset}"
            time.sleep(0.1)
    finally:
        consumer.close()


@pytest.mark.slow
def test_offsets_that_retention_took_before_they_landed_are_a_lost_gap(tmp_path: Path) -> None:
    with Pipeline(tmp_path, log_retention_check_interval_ms=200) as pipeline:
        pipeline.create_topic("blobs", segment_bytes="20000", retention_bytes="40000")
        pipeline.produce("blobs", (b"x" * 100 for _ in range(100)))
        pipeline.load_once()
        for _ in range(20):
            pipeline.produce("blobs", (b"y" * 1000 for _ in range(20)))
        start = wait_until_retained_from(pipeline, "blobs", 100)
        pipeline.load_once()
        snapshot = reader.snapshot(pipeline.root, "blobs")
        (lost,) = snapshot.lost
        assert (lost.start, lost.partition) == (100, 0)
        assert lost.end >= start
        assert lost.after_ms is not None
        assert snapshot.ends[0, 0].offset == 500
        assert sum(file.rows for file in snapshot.files) == 500 - (lost.end - lost.start)
        pipeline.assert_sound()


def test_a_partition_new_to_the_table_begins_with_a_gap_up_to_its_first_record(tmp_path: Path) -> None:
    with Pipeline(tmp_path, log_retention_check_interval_ms=200) as pipeline:
        pipeline.create_topic("blobs", segment_bytes="20000", retention_bytes="40000")
        for _ in range(20):
            pipeline.produce("blobs", (b"y" * 1000 for _ in range(20)))
        wait_until_retained_from(pipeline, "blobs", 0)
        pipeline.load_once()
        (record,) = records_of(pipeline.root, "blobs")
        (gap,) = record["ranges"][0]["gaps"]
        assert (gap["from"], gap["why"]) == (0, "before")
        assert not reader.snapshot(pipeline.root, "blobs").lost
        pipeline.assert_sound()


@pytest.mark.slow
def test_a_topic_created_again_goes_on_under_the_next_incarnation_from_zero(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs")
        pipeline.produce("blobs", (b"old %d" % n for n in range(7)))
        pipeline.load_once()
        pipeline.delete_topic("blobs")
        pipeline.create_topic("blobs")
        pipeline.produce("blobs", (b"new %d" % n for n in range(9)))
        pipeline.load_once()
        landed = [(row["_incarnation"], row["_offset"], row["value"]) for row in pipeline.rows("blobs")]
        assert landed == [(0, n, b"old %d" % n) for n in range(7)] + [(1, n, b"new %d" % n) for n in range(9)]
        assert "created again" in pipeline.parts[-1].log()
        pipeline.assert_sound()


def test_a_running_loader_notices_new_topics_and_topics_created_again(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        loader = pipeline.loader(rotate={"age": "200ms"}).start()
        pipeline.produce("blobs", (b"old %d" % n for n in range(7)))
        pipeline.wait_for_rows("blobs", 7)
        pipeline.delete_topic("blobs")
        time.sleep(0.5)
        pipeline.create_topic("blobs", 2)
        pipeline.produce("blobs", (b"new %d" % n for n in range(9)), partition=1)
        pipeline.produce("blobs", (b"new %d" % n for n in range(3)), partition=0)
        pipeline.wait_for_rows("blobs", 19)
        assert loader.stop() == 0
        ends = {key: end.offset for key, end in reader.snapshot(pipeline.root, "blobs").ends.items()}
        assert ends == {(0, 0): 7, (1, 0): 3, (0, 1): 9}
        pipeline.assert_sound()


def test_internal_topics_are_skipped_except_the_audit(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        pipeline.produce("_audit", [b'{"version": 1}'], key=b"agent/a/r")
        pipeline.produce("_private", [b"1"])
        pipeline.produce("blobs", [b"1"])
        pipeline.produce("other", [b"1"])
        pipeline.load_once(topics=["bl.*"])
        assert reader.tables(pipeline.root) == ["_audit", "blobs"]
        assert [(row["_key"], row["value"]) for row in pipeline.rows("_audit")] == [(b"agent/a/r", '{"version": 1}')]
        pipeline.assert_sound()
