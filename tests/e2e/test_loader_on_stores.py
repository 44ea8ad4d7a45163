"""Loaders killed while they land on HDFS and on S3, with the store itself restarted under them: every record is there once."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.sinks.check import check_root
from tests import hdfs, object_stores
from tests.integration.sinks.pipeline import Pipeline
from tests.landed_rows import offsets

Killed = Callable[[int], None]
ROUNDS = 6


@pytest.fixture
def on_hdfs(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Iterator[tuple[str, Killed]]:
    if not hdfs.is_installed():
        missing("hdfs", "run make peers")
    with hdfs.Hdfs(tmp_path / "hdfs", data_nodes=3, replication=2) as cluster:

        def accident(number: int) -> None:
            if number == 1:
                cluster.kill("data-0")
            elif number == 3:
                cluster.start_data_node("data-0")
                cluster.kill("name-node")
                cluster.start_name_node()

        yield f"{cluster.url}/landed", accident


@pytest.fixture
def on_s3(
    tmp_path: Path, missing: Callable[[str, str], NoReturn], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Killed]]:
    if not object_stores.VersityGateway.is_installed():
        missing("versitygw", "run make peers")
    for name, value in object_stores.VersityGateway.environment.items():
        monkeypatch.setenv(name, value)
    with object_stores.VersityGateway(tmp_path / "s3") as server:

        def accident(number: int) -> None:
            if number in (1, 3):
                server.kill()
                server.start()

        yield server.url, accident


@pytest.mark.parametrize("store", ["on_hdfs", "on_s3"])
def test_a_loader_killed_again_and_again_lands_everything_once(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url, accident = request.getfixturevalue(store)
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 2)
        loader = pipeline.loader(root=url, rotate={"age": "200ms", "rows": 300})
        for number in range(ROUNDS):
            for partition in range(2):
                pipeline.produce("blobs", (b"%d" % n for n in range(300)), partition=partition)
            loader.start()
            time.sleep(0.5)
            accident(number)
            time.sleep(1 + 0.2 * number)
            loader.kill()
        pipeline.load_once(root=url)
    assert offsets(url, "blobs") == Counter((partition, offset) for partition in range(2) for offset in range(300 * ROUNDS))
    for report in check_root(url, deep=True):
        assert not report.broken, report.broken
