"""Loaders on an HDFS of two NameNodes, of which the active one is killed, or hangs: both clients go on with the other."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.errors import StorageError
from headrace.sinks.check import check_root
from headrace.sinks.table import reader
from tests import forks, hdfs
from tests.hdfs_pair import HdfsPair
from tests.integration.sinks.pipeline import Pipeline
from tests.landed_rows import offsets
from tests.processes import Part

pytestmark = pytest.mark.slow

CLIENTS = ("native", "libhdfs")


@pytest.fixture
def pair(tmp_path: Path, missing: Callable[[str, str], NoReturn], monkeypatch: pytest.MonkeyPatch) -> Iterator[HdfsPair]:
    if not (hdfs.is_installed() and hdfs.LIBHDFS.exists()):
        missing("hdfs and libhdfs", "run make peers")
    pair = HdfsPair(tmp_path / "hdfs")
    for name, value in pair.libhdfs_environment().items():
        monkeypatch.setenv(name, value)
    with pair:
        yield pair


def wait_for_rows(pair: HdfsPair, count: int, loaders: list[Part]) -> None:
    deadline = time.monotonic() + 90
    for client in CLIENTS:
        while landed(f"{pair.url}/{client}", client) < count:
            assert time.monotonic() < deadline, [loader.log_tail() for loader in loaders]
            time.sleep(0.1)


def landed(url: str, topic: str) -> int:
    try:
        return sum(file.rows for file in reader.snapshot(url, topic).files) if topic in reader.tables(url) else 0
    except StorageError:  # a NameNode hangs, and the other one is not active yet
        return 0


def test_loaders_land_everything_once_although_the_active_name_node_dies_and_the_next_one_hangs(
    pair: HdfsPair, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as threads, Pipeline(tmp_path) as pipeline:  # processes end with the thread that started them
        for client in CLIENTS:
            pipeline.create_topic(client)
        roots = {client: f"{pair.url}/{client}?client={client}" for client in CLIENTS}
        loaders = [
            pipeline.loader(root=roots[client], topics=[client], rotate={"age": "200ms"}, name=client) for client in CLIENTS
        ]
        list(threads.map(lambda loader: loader.start(timeout_s=60), loaders))

        def produce() -> None:
            for client in CLIENTS:
                pipeline.produce(client, (b"%d" % n for n in range(200)))

        produce()
        wait_for_rows(pair, 200, loaders)
        pair.kill("nn1")
        pair.start_one("nn1")
        produce()
        time.sleep(1)  # they commit while there is no active NameNode
        pair.make_active("nn2")
        produce()
        wait_for_rows(pair, 600, loaders)
        pair.hang("nn2")
        produce()
        pair.make_active("nn1")
        wait_for_rows(pair, 800, loaders)
        assert [loader.stop() for loader in loaders] == [0, 0]
    for client in CLIENTS:
        assert offsets(f"{pair.url}/{client}", client) == Counter((0, offset) for offset in range(800))
        for report in check_root(f"{pair.url}/{client}", deep=True):
            assert not report.broken, report.broken
    for client, last in zip(CLIENTS, ("nn1", "nn2"), strict=True):  # the first command meets one that hangs yet
        pair.kill(last)
        files = [*forks.PREFIX, "files", client, "--root", roots[client]]
        done = forks.run(files, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1, done.stderr
        assert "no landed tables" not in done.stderr, "a NameNode that is away is no missing table"
        if client == "native":
            assert re.search(r"nn1 \(\S+\): Connection refused .*; nn2 \(\S+\) has not answered for 3 s", done.stderr), (
                done.stderr
            )
