"""Loaders of one root that share partitions, a producer that never rests, and what an independent reader finds.

Its eyes are apart from headrace's reader: the table's records as JSON, and the files that they name through pyarrow.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

PARTITIONS = 4
SESSION = {"session.timeout.ms": 2500, "heartbeat.interval.ms": 300}


class Files(Protocol):
    """What lies in a root."""

    def names(self, directory: str) -> list[str]:
        """Of the files in a directory; none if it is not there."""
        ...

    def read(self, path: str) -> bytes | None:
        """None if it is not there."""
        ...


class LocalFiles:
    """Of a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, directory: str) -> list[str]:
        return sorted(path.name for path in (self._root / directory).glob("*"))

    def read(self, path: str) -> bytes | None:
        place = self._root / path
        return place.read_bytes() if place.exists() else None


class HdfsFiles:
    """Of an HDFS directory, by hdfs-native."""

    def __init__(self, url: str) -> None:
        import hdfs_native

        server, _, root = url.removeprefix("hdfs://").partition("/")
        self._client, self._root = hdfs_native.Client(f"hdfs://{server}"), f"/{root}"

    def names(self, directory: str) -> list[str]:
        try:
            return sorted(status.path.rpartition("/")[2] for status in self._client.list_status(f"{self._root}/{directory}"))
        except FileNotFoundError:
            return []

    def read(self, path: str) -> bytes | None:
        try:
            return bytes(self._client.read(f"{self._root}/{path}").read())
        except FileNotFoundError:
            return None


class Share:
    """Loaders that share some topics."""

    def __init__(self, pipeline: Pipeline, *topics: str, url: str, files: Files) -> None:
        self.pipeline, self.topics, self._url, self._files = pipeline, topics, url, files
        self.loaders, self.pids = list[Part](), set[str]()
        self.sent = dict.fromkeys(((topic, partition) for topic in topics for partition in range(PARTITIONS)), 0)
        self._read: dict[str, dict[str, Any]] = {}
        for topic in topics:
            pipeline.create_topic(topic, PARTITIONS)

    def add(self) -> Part:
        number = len(self.loaders)
        loader = self.pipeline.loader(name=f"loader-{number}", kafka=SESSION, root=self._url, rotate={"age": "300ms"})
        self.loaders.append(loader)
        return self.start(loader)

    def start(self, loader: Part) -> Part:
        loader.start(wait=False)  # so that several start at once; who waits for what they land waits for them
        self.pids.add(str(loader.pid))
        return loader

    def pause(self, loader: Part) -> None:
        """It holds rows that it has not committed, and will believe in its partitions when it wakes up."""
        assert loader.process
        loader.process.send_signal(signal.SIGSTOP)

    def wake(self, loader: Part) -> None:
        assert loader.process
        loader.process.send_signal(signal.SIGCONT)

    def produce_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for topic, partition in self.sent:
                self.sent[topic, partition] += self.pipeline.produce(topic, [b"a record"] * 20, partition=partition)
            time.sleep(0.05)

    def produce_until(self, what: Callable[[], bool], timeout_s: float = 180) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, [loader.log_tail() for loader in self.loaders]
            self.produce_for(0.1)

    def wait_until_all_has_landed(self, timeout_s: float = 180) -> None:
        deadline = time.monotonic() + timeout_s
        while self._ends() != self.sent:
            assert time.monotonic() < deadline, [loader.log_tail() for loader in self.loaders]
            time.sleep(0.1)

    def _ends(self) -> dict[tuple[str, int], int]:
        ends = dict.fromkeys(self.sent, 0)
        for topic, record in self._records():
            for one in record["ranges"]:
                ends[topic, one["partition"]] = one["end"]
        return ends

    def _records(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """All commit records, by topic and number."""
        found = []
        for topic in self.topics:
            log = f"{topic}/_headrace/log/g000001"
            for name in self._files.names(log):
                path = f"{log}/{name}"
                if path not in self._read and name.endswith(".json"):
                    self._read[path] = json.loads(self._files.read(path) or b"{}")
                if name.endswith(".json"):
                    found.append((topic, self._read[path]))
        return found

    def landed(self) -> dict[tuple[str, int], int]:
        """Per partition how many offsets are in the files that the log names, each once from 0 on."""
        found: Counter[tuple[str, int, int]] = Counter()
        for topic, record in self._records():
            assert not record["remove"], "nobody has compacted"
            for file in record["add"]:
                data = self._files.read(f"{topic}/{file['path']}")
                assert data is not None, f"{topic}: {file['path']} is not in its place"
                rows = pq.read_table(pa.BufferReader(data), columns=["_partition", "_offset"])
                found.update(zip([topic] * len(rows), *(column.to_pylist() for column in rows.columns), strict=True))
        assert set(found.values()) == {1}, [offset for offset, times in found.items() if times > 1][:9]
        counts = Counter((topic, partition) for topic, partition, _ in found)
        assert all(offset < counts[topic, partition] for topic, partition, offset in found), "an offset is missing"
        return dict(counts)

    def who_has_landed(self) -> set[str]:
        """The processes that have committed anything."""
        return {record["loader"].rpartition(":")[2] for _, record in self._records()}

    def who_lands(self) -> set[str]:
        """The processes that have landed what was newest at the end of each partition."""
        last = {}
        for topic, record in self._records():
            for one in record["ranges"]:
                last[topic, one["partition"]] = record["loader"].rpartition(":")[2]
        return set(last.values()) if len(last) == len(self.sent) else set()


def pids_of(*loaders: Part) -> set[str]:
    return {str(loader.pid) for loader in loaders}
