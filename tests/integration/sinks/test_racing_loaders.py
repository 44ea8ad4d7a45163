"""Loaders that race for one table on HDFS, S3 and Google's store, paused and killed: other readers find every offset once."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pyarrow import fs

from headrace.sinks.check import check_root
from headrace.sinks.table.reader import snapshot
from tests.integration.sinks.pipeline import Pipeline

ROUNDS, CHUNKS, CHUNK = 2, 6, 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hdfs-native", "versitygw", "fake-gcs-server"])
def test_loaders_that_race_are_paused_and_are_killed_land_every_offset_once(
    kind: str, new_root: Callable[[str], str], tmp_path: Path
) -> None:
    url = new_root(kind)
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("blobs", 2)
        # Each in a group of its own: all read the same, and the table log alone keeps them apart.
        paused, killed, steady = (
            pipeline.loader(root=url, name=name, group=name, rotate={"age": "100ms"}) for name in ("paused", "killed", "steady")
        )
        paused.start(wait=False)
        steady.start()
        killed.start()
        for _ in range(ROUNDS):
            produce(pipeline)
            os.kill(paused.pid, signal.SIGSTOP)
            produce(pipeline)
            os.kill(paused.pid, signal.SIGCONT)
        killed.kill()
        produce(pipeline)
        assert [paused.stop(60), steady.stop(60)] == [0, 0], paused.log_tail() + steady.log_tail()
        assert any("attempt dropped" in one.log_file.read_text() for one in (paused, killed, steady)), "they have raced"
        pipeline.load_once(root=url)
    expected = Counter((partition, offset) for partition in (0, 1) for offset in range((2 * ROUNDS + 1) * CHUNKS * CHUNK))
    assert seen_by_others(url) == expected
    for report in check_root(url, deep=True):
        assert not report.broken, report.broken


def produce(pipeline: Pipeline) -> None:
    """A little at a time, so that many commits come of it."""
    for _ in range(CHUNKS):
        for partition in (0, 1):
            pipeline.produce("blobs", (b"%d" % n for n in range(CHUNK)), partition=partition)
        time.sleep(0.12)


def seen_by_others(url: str) -> Counter[tuple[int, int]]:
    """How often each (partition, offset) is in the files: on HDFS in those of its directories, else in those the log names."""
    if url.startswith("hdfs"):
        import hdfs_native

        client, root = hdfs_native.Client(url), f"/{url.split('/', 3)[3]}/blobs"
        found = [file.path for file in client.list_status(root, recursive=True) if not file.isdir]
        files = [client.read(path).read() for path in found if path.startswith(f"{root}/dt=")]
    else:
        server = url.partition("endpoint=http://")[2].partition("&")[0]
        if url.startswith("s3"):
            store = fs.S3FileSystem(endpoint_override=server, scheme="http", region="us-east-1")
        else:
            store = fs.GcsFileSystem(endpoint_override=server, scheme="http", anonymous=True)
        paths = [file.path.partition("://")[2] for file in snapshot(url, "blobs").files]
        files = [store.open_input_file(path).read() for path in paths]
    seen: Counter[tuple[int, int]] = Counter()
    for data in files:
        seen.update(pl.read_parquet(data, columns=["_partition", "_offset"]).select("_partition", "_offset").iter_rows())
    return seen
