"""Loaders of one root that share partitions through a group, while they are killed, paused, added and stopped."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.sinks.membership import group_of
from tests.apache_kafka import ApacheKafka, is_installed
from tests.e2e.sharing import LocalFiles, Share, pids_of
from tests.integration.sinks.pipeline import Pipeline


def shared(pipeline: Pipeline) -> Share:
    return Share(pipeline, "clicks", "orders", url=str(pipeline.root), files=LocalFiles(pipeline.root))


@pytest.mark.slow
def test_loaders_killed_paused_added_and_stopped_land_each_offset_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    with Pipeline(tmp_path, group_min_session_timeout_ms=500) as pipeline:
        share = shared(pipeline)
        first, second, third = share.add(), share.add(), share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(first, second, third))
        paused, killed = rng.sample([first, second], 2)
        share.pause(paused)
        share.produce_for(rng.uniform(0, 1))
        killed.kill()
        share.produce_until(lambda: share.who_lands() == pids_of(third))  # its session and the killed one's are over
        share.wake(paused)
        fourth = share.add()
        share.produce_for(rng.uniform(0, 1))
        share.start(killed)
        share.produce_until(lambda: share.who_lands() == pids_of(*share.loaders))
        assert third.stop() == 0
        share.produce_until(lambda: share.who_lands() == pids_of(paused, killed, fourth))
        share.wait_until_all_has_landed()
        assert [loader.stop() for loader in (paused, killed, fourth)] == [0, 0, 0]
        assert share.landed() == share.sent
        assert share.who_has_landed() == share.pids
        assert "expelled from the group" in paused.log_file.read_text()
        pipeline.assert_sound(was_killed=True)


@pytest.mark.slow
def test_no_loader_waits_for_the_session_of_one_that_was_killed_here_or_told_to_stop(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as pipeline:
        loader = pipeline.loader(kafka={"session.timeout.ms": 120_000}, rotate={"age": "100ms"})
        for count in (1, 2):
            pipeline.produce("blobs", [b"a record"])
            loader.start()
            pipeline.wait_for_rows("blobs", count)
            assert loader.kill() if count == 1 else loader.stop() == 0
        (pid,) = pids_of(loader)
        (future,) = pipeline.admin.describe_consumer_groups([group_of(str(pipeline.root))]).values()
        assert not [member for member in future.result(10).members if f".{pid}@" in member.client_id]
        pipeline.assert_sound(was_killed=True)


@pytest.mark.slow
def test_loaders_share_partitions_of_apache_kafka(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not is_installed():
        missing("kafka", "run make peers")
    with (
        ApacheKafka(tmp_path / "server", group_min_session_timeout_ms="500") as kafka,
        Pipeline(tmp_path, on=kafka.bootstrap) as pipeline,
    ):
        share = shared(pipeline)
        one, other = share.add(), share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(one, other))
        share.pause(one)
        share.produce_until(lambda: share.who_lands() == pids_of(other))
        share.wake(one)
        share.produce_until(lambda: share.who_lands() == pids_of(one, other))
        assert other.stop() == 0
        share.produce_until(lambda: share.who_lands() == pids_of(one))
        share.wait_until_all_has_landed()
        assert one.stop() == 0
        assert share.landed() == share.sent
        pipeline.assert_sound()
