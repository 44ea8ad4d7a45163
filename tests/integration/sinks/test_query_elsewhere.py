"""SQL over tables on HDFS, S3 and Google's store: read where they lie, the columns and hours that a statement needs."""

import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.clock import SystemClock
from headrace.errors import StorageError, UsageError
from headrace.jobs.sql.query import ask
from headrace.jobs.sql.session import Session
from headrace.sinks.config import FormatName, Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.formats.catalog import SUFFIXES
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.arrow_schema import encode_schema
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.record import CommitRecord, LandedRange, OffsetRange
from headrace.sinks.table.store import Store, carry_out
from tests.landed_tables import ENVELOPE, Event, TableWriter
from tests.object_stores import ObjectStoreServer
from tests.store_proxy import Fate, StoreProxy
from tests.terminal import PROMPT, Terminal

T0, HOUR = 1_763_900_400_000, 3_600_000


def land(root: str, tmp_path: Path, rows: int, *, text: int = 10) -> None:
    """A table `logs` of two hours, made on the local disk and put elsewhere."""
    table = TableWriter(tmp_path, "logs")
    for hour in (0, 1):
        start = hour * rows
        table.land_events([Event("a", n, T0 + hour * HOUR, message=noise(n, text)) for n in range(start, start + rows)])
    store: Store = open_root(root).table("logs")
    for path in sorted((tmp_path / "logs").rglob("*")):
        if path.is_file():
            file = store.create(str(path.relative_to(tmp_path / "logs")))
            file.write(path.read_bytes())
            file.finish()


def land_hours(root: str, kind: FormatName, hours: int) -> list[str]:
    """A table `logs` with a file of ten events an hour, as a loader lands it there; the files, hour by hour."""
    store, clock, files = open_root(root).table("logs"), SystemClock(), []
    for hour in range(hours):
        rows = [
            {**Event("a", n, T0 + hour * HOUR + n).row(), "_incarnation": 0, "_partition": 0, "_offset": n}
            for n in range(hour * 10, hour * 10 + 10)
        ]
        path = f"dt=2025-11-23/hour={12 + hour}/{uuid.uuid4()}-0{SUFFIXES[kind]}"
        file = LandingFile(store, path, ENVELOPE, Output(format=kind))
        times = pa.chunked_array([pa.array([row["_event_ms"] for row in rows])])
        file.append(pa.Table.from_pylist(rows, schema=ENVELOPE), times, [OffsetRange(0, 0, hour * 10, hour * 10 + 10)])
        files.append(file.close([]))
    end = hours * 10
    landed = LandedRange(0, 0, 0, end, end, 0, 0, (), end - 1, 0, T0, "f")
    columns = encode_schema(ENVELOPE)
    draft = CommitRecord("load", str(uuid.uuid4()), "test:1", T0, (landed,), tuple(files), arrow_schema=columns)
    carry_out(commit(draft, carry_out(read_head(), store), started_ms=clock.monotonic_ms()), store, clock)
    return [file.path for file in files]


def noise(n: int, size: int) -> str:
    return random.Random(n).randbytes(size // 2).hex()


def rows(root: str, sql: str) -> list[tuple[Any, ...]]:
    with ask(root, sql) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


@pytest.mark.parametrize("kind", ["hdfs-native", "versitygw", "fake-gcs-server"])
def test_tables_elsewhere_are_asked_as_those_here(kind: str, new_root: Callable[[str], str], tmp_path: Path) -> None:
    url = new_root(kind)
    land(url, tmp_path, 50)
    assert rows(url, "SELECT count(*), count(DISTINCT position), min(hour), max(hour) FROM logs") == [(100, 100, 12, 13)]
    assert rows(url, "SELECT min(position) FROM logs WHERE hour = 13 AND dt = DATE '2025-11-23'") == [(50,)]
    with pytest.raises(UsageError):
        rows(url, "SELECT nothing FROM logs")
    (live, *_) = open_root(url).table("logs").list("dt=2025-11-23/hour=12", after="", recursive=False)
    open_root(url).table("logs").delete(f"dt=2025-11-23/hour=12/{live.name}")
    with pytest.raises(StorageError, match="missing"):
        rows(url, "SELECT max(position) FROM logs")


def test_a_query_of_one_column_reads_a_small_part_of_the_table(
    new_root: Callable[[str], str],
    object_store: Callable[[str], ObjectStoreServer],
    tmp_path: Path,
) -> None:
    url, port = new_root("versitygw"), object_store("versitygw").port
    land(url, tmp_path, 3_000, text=4_000)
    size = sum(path.stat().st_size for path in (tmp_path / "logs").rglob("*.parquet"))
    with StoreProxy(port) as proxy:
        through = url.replace(f":{port}", f":{proxy.port}")
        assert rows(through, "SELECT sum(position) FROM logs") == [(sum(range(6_000)),)]
        one_column = proxy.answered_bytes
        assert rows(through, "SELECT max(message) FROM logs WHERE hour = 13")[0][0]
        one_hour = proxy.answered_bytes - one_column
    assert (one_column < size / 4, one_hour < size * 0.8) == (True, True), (one_column, one_hour, size)


@pytest.mark.parametrize("format_", ["parquet", "avro", "json"])
@pytest.mark.parametrize("kind", ["hdfs-native", "versitygw"])
def test_a_filter_on_time_opens_that_hours_file_and_looks_for_no_other(
    kind: str, format_: FormatName, new_root: Callable[[str], str]
) -> None:
    """The others are gone: who as much as looked for them would say so."""
    url = new_root(kind)
    files = land_hours(url, format_, 4)
    for path in [*files[:2], files[3]]:
        open_root(url).table("logs").delete(path)
    of_an_hour = "event_time >= '2025-11-23 14:00' AND event_time < '2025-11-23 15:00'"
    with Session.open(url) as session:
        for condition in (of_an_hour, "dt = '2025-11-23' AND hour = 14", "_offset BETWEEN 20 AND 29"):
            with session.ask(f"SELECT count(*), min(position), max(position) FROM logs WHERE {condition}") as reader:
                assert [tuple(row.values()) for row in reader.read_all().to_pylist()] == [(10, 20, 29)]
            assert (session.progress.needed, session.progress.files) == (1, 4)
        with pytest.raises(StorageError, match="missing"), session.ask("SELECT max(position) FROM logs"):
            pass


def test_a_shell_goes_on_and_ends_while_the_store_hangs(
    new_root: Callable[[str], str], object_store: Callable[[str], ObjectStoreServer], tmp_path: Path
) -> None:
    url, port = new_root("versitygw"), object_store("versitygw").port
    land(url, tmp_path / "made", 50)
    (tmp_path / "tmp").mkdir()
    with StoreProxy(port) as proxy:
        through = url.replace(f":{port}", f":{proxy.port}")
        with Terminal(through, tmp_path / "state", TMPDIR=str(tmp_path / "tmp")) as terminal:
            terminal.until(PROMPT)
            proxy.rule = lambda _: Fate.HANG
            terminal.type("SELECT mess\t")
            terminal.until("mess")
            terminal.type("\x03")  # what is typed is cleared, although nobody has answered
            terminal.until(PROMPT)
            terminal.type("SELECT min(position) + 4700 + 11 AS n FROM logs;\r")
            terminal.until(r"\d s")
            terminal.type("\x03\x03")  # the second: it is left behind at once
            terminal.until("interrupted(?s:.*)" + PROMPT)
            proxy.rule = lambda _: Fate.PASS
            terminal.type("SELECT max(position) AS n FROM logs;\r")
            terminal.until(r"99\s*\r\n1 row(?s:.*)" + PROMPT)
            proxy.rule = lambda _: Fate.HANG
            terminal.type("SELECT max(position) AS n FROM logs;\r")
            terminal.until(r"\d s")
            terminal.type("\x03")
            terminal.until("interrupted(?s:.*)" + PROMPT)
            terminal.type(".quit\r")
            assert terminal.ends(10) == 0
        assert "4711" not in terminal.said  # what was left behind
    assert not list((tmp_path / "tmp").iterdir())
