"""A run with `--once` beside a partition whose log its broker cannot read: all else lands, and the run says what does not."""

from pathlib import Path
from threading import Event

import pytest

from headrace.clock import SystemClock
from headrace.errors import TableError
from headrace.sinks import goals
from headrace.sinks.config import LoadConfig
from headrace.sinks.loader import Loader
from tests.integration.sinks.pipeline import Pipeline


def test_one_partition_that_cannot_be_read_keeps_no_other_from_landing_and_the_run_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(tmp_path, group_initial_rebalance_delay_ms=0) as pipeline:
        for topic, partitions in (("hurt", 2), ("sound", 1)):
            pipeline.create_topic(topic, partitions)
            for partition in range(partitions):
                pipeline.produce(topic, [b"one", b"two"], partition=partition)
        pipeline.broker.stop()
        segment = tmp_path / "broker" / "hurt-1" / "00000000000000000000.log"
        segment.rename(tmp_path / "aside")
        segment.symlink_to(tmp_path / "nowhere")
        pipeline.broker.start()
        monkeypatch.setattr(goals, "PATIENCE_MS", 500)
        load = {"root": str(pipeline.root)}
        body = {"load": load, "kafka": {"bootstrap.servers": pipeline.bootstrap}, "registry": pipeline.registry_url}
        loader = Loader(LoadConfig.model_validate(body), SystemClock(), once=True, landed=str, rewind=None)
        with pytest.raises(TableError, match=r"not landed: table .*/hurt: kafka: partition 1 does not answer"):
            loader.run(Event())
        assert [(row["_partition"], row["_offset"]) for row in pipeline.rows("hurt")] == [(0, 0), (0, 1)]
        assert len(pipeline.rows("sound")) == 2
