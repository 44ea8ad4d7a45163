"""Faults planted into landed tables on disk: what no program of ours does, and the audit must find."""

import json
import re
import shutil
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.audit import AUDIT_TOPIC, HASH_MODULUS, event_hash, window_start_ms
from headrace.sinks.content_hash import content_hash
from headrace.sinks.data_file import checksum_of
from headrace.sinks.table import names

Change = Callable[[pa.Table], pa.Table]


def records(root: Path, topic: str) -> list[Path]:
    """The records of a table's first generation, in order; its checkpoints, which would hide them, are taken away."""
    shutil.rmtree(root / topic / names.CHECKPOINTS, ignore_errors=True)
    return sorted((root / topic / names.log_directory(1)).glob(f"*{names.RECORD_SUFFIX}"))


def copied(root: Path, directory: Path) -> Path:
    """Tables of one's own, to plant faults in."""
    shutil.copytree(root, directory / "landed")
    return directory / "landed"


def largest_file(root: Path, topic: str) -> tuple[Path, dict[str, Any], Path]:
    """The record that adds the file with the most rows, as JSON, and that file."""
    lists = ((path, json.loads(path.read_text())["add"]) for path in records(root, topic))
    found = [(file["rows"], path, file["path"]) for path, files in lists for file in files]
    _, path, file = max(found)
    return path, json.loads(path.read_text()), root / topic / file


def rewrite(root: Path, topic: str, change: Change, mend: Collection[str] = ()) -> Path:
    """Change the rows of a table's largest file; `mend` what its record says of the `file`, and its `sums` for the audit."""
    record_path, record, path = largest_file(root, topic)
    table = change(pq.read_table(path, partitioning=None))
    pq.write_table(table, path)
    (file,) = (file for file in record["add"] if path.match(file["path"]))
    file["bytes"] = path.stat().st_size  # else the table cannot be read at all
    if "file" in mend:
        record["ranges"][0]["rows"] += table.num_rows - file["rows"]
        _mend_file(file, path, table)
    if "sums" in mend:
        _mend_sums(root / topic, record)
    record_path.write_text(json.dumps(record))
    return path


def move_to_another_hour(root: Path, topic: str, row: int) -> Path:
    """Move a row of the largest file into one of another directory, with all that the log says of both mended; the latter."""
    moved = pq.read_table(largest_file(root, topic)[2], partitioning=None).slice(row, 1)
    source = rewrite(root, topic, without(row), ("file",))
    for path in records(root, topic):
        record = json.loads(path.read_text())
        for file in record["add"]:
            target = root / topic / file["path"]
            if target.parent != source.parent:
                table = pa.concat_tables([pq.read_table(target, partitioning=None), moved])
                pq.write_table(table, target)
                _mend_file(file, target, table)
                path.write_text(json.dumps(record))
                return target
    raise AssertionError("all files lie in one directory")


def change_record(root: Path, topic: str, change: Callable[[dict[str, Any]], None]) -> int:
    """Change the record that adds the largest file; its number."""
    path, record, _ = largest_file(root, topic)
    change(record)
    path.write_text(json.dumps(record))
    return int(record["seq"])


def _mend_file(file: dict[str, Any], path: Path, table: pa.Table) -> None:
    file["rows"], file["bytes"], file["content_hash"] = table.num_rows, path.stat().st_size, f"{content_hash(table):016x}"
    with path.open("rb") as data:
        file["checksum"] = checksum_of(data)


def _mend_sums(table: Path, record: dict[str, Any]) -> None:
    found: dict[tuple[str, int], list[int]] = {}
    for file in record["add"]:
        for row in pq.read_table(table / file["path"], partitioning=None).to_pylist():
            start_ms = window_start_ms(round(row["event_time"].timestamp() * 1000))
            message = row["message"].encode(row["encoding"])
            hashed = event_hash(row["agent_id"], row["stream_id"], row["position"], row["part"], message)
            found.setdefault((row["agent_id"], start_ms), []).append(hashed)
    record["audit"] = [
        {
            "agent": agent,
            "window_start_ms": start_ms,
            "count": len(hashes),
            "bytes": 0,
            "hash": f"{sum(hashes) % HASH_MODULUS:016x}",
            "duplicates": 0,
        }
        for (agent, start_ms), hashes in sorted(found.items())
    ]


def without(row: int) -> Change:
    return lambda table: table.take([n for n in range(table.num_rows) if n != row])


def with_again(row: int) -> Change:
    return lambda table: table.take([*range(table.num_rows), row])


def with_other_bytes(row: int) -> Change:
    def change(table: pa.Table) -> pa.Table:
        messages = table["message"].to_pylist()
        messages[row] = messages[row][:-1] + "~"
        return table.set_column(table.schema.get_field_index("message"), "message", pa.array(messages))

    return change


def with_other_number(column: str, row: int) -> Change:
    def change(table: pa.Table) -> pa.Table:
        numbers = table[column].to_pylist()
        numbers[row] += 1
        field = table.schema.field(column)
        return table.set_column(table.schema.get_field_index(column), field, pa.array(numbers, field.type))

    return change


def with_another_host(row: int) -> Change:
    def change(table: pa.Table) -> pa.Table:
        hosts = table["host"].to_pylist()
        hosts[row] = "elsewhere"
        return table.set_column(table.schema.get_field_index("host"), "host", pa.array(hosts))

    return change


def in_another_window(row: int, minutes: int = -10) -> Change:
    def change(table: pa.Table) -> pa.Table:
        times = table["event_time"].to_pylist()
        times[row] += timedelta(minutes=minutes)
        field = table.schema.field("event_time")
        return table.set_column(table.schema.get_field_index("event_time"), field, pa.array(times, field.type))

    return change


def row_of_largest(root: Path, topic: str, row: int) -> dict[str, Any]:
    """A row of the file that `rewrite` changes."""
    _, _, path = largest_file(root, topic)
    found: dict[str, Any] = pq.read_table(path, partitioning=None).to_pylist()[row]
    return found


def row_where(root: Path, topic: str, text: str) -> dict[str, Any]:
    """The one row of a table whose message has a text in it."""
    paths = (root / topic).glob("dt=*/hour=*/*.parquet")
    rows = [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]
    (found,) = (row for row in rows if text in row["message"])
    return dict(found)


def lose_messages(root: Path, key: str) -> int:
    """Take the messages of `_audit` whose key matches out of its files, with all that the log says mended; how many."""
    lost = 0
    for record_path in records(root, AUDIT_TOPIC):
        record = json.loads(record_path.read_text())
        for file in record["add"]:
            path = root / AUDIT_TOPIC / file["path"]
            table = pq.read_table(path, partitioning=None)
            kept = [n for n, one in enumerate(table["_key"].to_pylist()) if not re.fullmatch(key, (one or b"").decode())]
            lost += table.num_rows - len(kept)
            pq.write_table(table.take(kept), path)
            _mend_file(file, path, table.take(kept))
        record_path.write_text(json.dumps(record))
    return lost
