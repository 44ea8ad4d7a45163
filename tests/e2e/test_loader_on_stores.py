"""Loaders killed and paused while they land on HDFS and on S3, also with the store restarted under them: all is there once."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.sinks.check import check_root
from tests import hdfs, object_stores
from tests.e2e.sharing import Files, HdfsFiles, LocalFiles, Share, pids_of
from tests.integration.sinks.pipeline import Pipeline
from tests.landed_rows import offsets

pytestmark = pytest.mark.slow

ROUNDS = 6


@dataclass(frozen=True)
class Place:
    """A store: a root on it, what lies there, and what befalls it in a round."""

    url: str
    files: Files
    accident: Callable[[int], None]


@pytest.fixture(scope="module")
def on_hdfs(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[Place]:
    if not hdfs.is_installed():
        missing("hdfs", "run make peers")
    with hdfs.Hdfs(tmp_path_factory.mktemp("hdfs"), data_nodes=3, replication=2) as cluster:

        def accident(number: int) -> None:
            if number == 1:
                cluster.kill("data-0")
            elif number == 3:
                cluster.start_data_node("data-0")
                cluster.kill("name-node")
                cluster.start_name_node()

        url = f"{cluster.url}/landed"
        yield Place(url, HdfsFiles(url), accident)


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[Place]:
    if not object_stores.VersityGateway.is_installed():
        missing("versitygw", "run make peers")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in object_stores.VersityGateway.environment.items():
            environment.setenv(name, value)
        with object_stores.VersityGateway(tmp_path_factory.mktemp("s3")) as server:

            def accident(number: int) -> None:
                if number in (1, 3):
                    server.kill()
                    server.start()

            files = LocalFiles(server.directory / "data" / object_stores.BUCKET / "tables")  # what it serves
            yield Place(server.url, files, accident)


@pytest.mark.parametrize("store", ["on_hdfs", "on_s3"])
def test_a_loader_killed_again_and_again_lands_everything_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Place = request.getfixturevalue(store)
    url = place.url
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 2)
        loader = pipeline.loader(root=url, rotate={"age": "200ms", "rows": 300})
        for number in range(ROUNDS):
            for partition in range(2):
                pipeline.produce("blobs", (b"%d" % n for n in range(300)), partition=partition)
            loader.start()
            time.sleep(0.5)
            place.accident(number)
            time.sleep(1 + 0.2 * number)
            loader.kill()
        pipeline.load_once(root=url)
    assert offsets(url, "blobs") == Counter((partition, offset) for partition in range(2) for offset in range(300 * ROUNDS))
    for report in check_root(url, deep=True):
        assert not report.broken, report.broken


@pytest.mark.parametrize("store", ["on_hdfs", "on_s3"])
def test_loaders_that_share_are_killed_and_paused_and_each_offset_lands_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Place = request.getfixturevalue(store)
    with Pipeline(tmp_path, group_min_session_timeout_ms=500) as pipeline:
        share = Share(pipeline, "shared", url=place.url, files=place.files)
        paused, killed, third = share.add(), share.add(), share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(paused, killed, third))
        share.pause(paused)
        killed.kill()
        share.produce_until(lambda: share.who_lands() == pids_of(third))  # the others' sessions are over
        share.wake(paused)
        fourth = share.add()
        share.produce_until(lambda: share.who_lands() == pids_of(paused, third, fourth))
        share.wait_until_all_has_landed()
        assert [loader.stop() for loader in (paused, third, fourth)] == [0, 0, 0]
        assert share.landed() == share.sent
        assert "expelled from the group" in paused.log_file.read_text()
    (report,) = (report for report in check_root(place.url, deep=True) if report.topic == "shared")
    assert not report.broken, report.broken
