"""What has landed, read by pyarrow from the files that a table names: the tests' own eyes, apart from `headrace query`."""

import collections
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.sinks.table import reader

IDENTITY = ("agent_id", "stream_id", "position", "part")


def rows(files: Iterable[str | Path]) -> list[dict[str, object]]:
    """All rows of the files."""
    tables = [pq.ParquetFile(file).read() for file in files]
    return pa.concat_tables(tables, promote_options="permissive").to_pylist() if tables else []


def offsets(url: str, topic: str) -> collections.Counter[tuple[int, int]]:
    """How often each (partition, offset) has landed in a table of Parquet files, wherever it is."""
    found: collections.Counter[tuple[int, int]] = collections.Counter()
    for file in reader.snapshot(url, topic).files:
        with reader.open_live(url, topic, file.name) as data:
            read = pq.ParquetFile(data).read(["_partition", "_offset"])
        found.update(zip(read["_partition"].to_pylist(), read["_offset"].to_pylist(), strict=True))
    return found


def repeated_identities(landed: list[dict[str, object]]) -> list[tuple[object, ...]]:
    """Identities that more than one row bears: there may be none."""
    seen = collections.Counter(tuple(row[name] for name in IDENTITY) for row in landed)
    return [identity for identity, times in seen.items() if times > 1]


def lines_of(landed: list[dict[str, object]]) -> dict[str, list[bytes]]:
    """Per source path the landed lines in order, parts joined, as their original bytes."""
    streams: dict[tuple[str, str], dict[int, bytes]] = collections.defaultdict(dict)
    for row in sorted(landed, key=lambda row: (str(row["source"]), str(row["stream_id"]), int(str(row["position"])))):
        stream = streams[str(row["source"]), str(row["stream_id"])]
        text = str(row["message"]).encode(str(row["encoding"]))
        if row["part"] == 0:
            stream[int(str(row["position"]))] = text
        else:
            begun = max(stream)
            stream[begun] += text
    result: dict[str, list[bytes]] = collections.defaultdict(list)
    for (source, _), stream in streams.items():
        result[source] += [stream[position] for position in sorted(stream)]
    return dict(result)


def expected_lines(content: bytes) -> list[bytes]:
    """The lines of a file that has an end: each without its newline, an unterminated tail included."""
    lines = content.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines
