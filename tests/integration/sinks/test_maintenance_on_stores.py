"""Every command that keeps tables, once on HDFS and once on S3, as a user calls it."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyiceberg.catalog import load_catalog

from headrace.cli import main
from headrace.clock import SystemClock, WallMs
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.sinks.check import check_root
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names, reader
from headrace.sinks.table.upkeep import DAY_MS
from tests.integration.sinks.pipeline import Pipeline, lines
from tests.landed_rows import offsets

STEP_MS = 200_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("maintenance")) as running:
        yield running


@pytest.fixture(params=["hdfs-native", "versitygw", "fake-gcs-server"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Tables:
    """A root on some store, and the commands that are given it."""

    def __init__(self, pipeline: Pipeline, url: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.pipeline, self.url, self._capsys = pipeline, url, capsys
        self.topic = url.partition("?")[0].rpartition("/")[2]
        self.config = directory / "load.yaml"
        load = {"root": url, "topics": [self.topic]}
        kafka = {"bootstrap.servers": pipeline.bootstrap}
        self.config.write_text(yaml.safe_dump({"load": load, "kafka": kafka, "registry": pipeline.registry_url}))
        self.store = open_root(url).table(self.topic)
        pipeline.create_topic(self.topic, partitions=2)

    def load(self) -> None:
        assert main(["load", "--once", "--config", str(self.config)]) == 0

    def land(self, loads: int, *, each: int) -> None:
        """So many loads of `each` lines a partition, 200 s apart from 14:13 on."""
        for number in range(loads):
            for partition in (0, 1):
                stream = f"{partition}9999999-8888-7777-6666-555555555555"
                events = lines(each, stream=stream, start=number * each, step_ms=STEP_MS)
                self.pipeline.ship(self.topic, events, partition=partition)
            self.load()

    def told(self, *arguments: str) -> list[dict[str, Any]]:
        """What a command says in JSON."""
        self._capsys.readouterr()
        assert main([*arguments]) == 0
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def offsets(self) -> Counter[tuple[int, int]]:
        return offsets(self.url, self.topic)

    def quarantine_files_a_day(self) -> list[int]:
        """How many were written on each day, by the store's clock."""
        written = self.store.list(names.QUARANTINE, after="", recursive=False)
        return list(Counter(entry.changed_ms // DAY_MS for entry in written).values())

    def is_sound(self) -> None:
        (report,) = check_root(self.url, deep=True)
        assert report.broken == []


@pytest.fixture
def tables(
    pipeline: Pipeline, kind: str, new_root: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Tables:
    return Tables(pipeline, new_root(kind), tmp_path, capsys)


def each_once(*spans: range) -> Counter[tuple[int, int]]:
    return Counter((partition, offset) for partition in (0, 1) for span in spans for offset in span)


def test_small_files_are_merged_and_old_hours_expire(tables: Tables) -> None:
    tables.land(3, each=12)  # from 14:13 to 16:10: the files of two hours are in two loads each
    (done,) = tables.told("compact", "--root", tables.url, "--format", "json")
    assert (done["files_before"], done["files_after"], done["rows"]) == (4, 2, 64)
    assert tables.offsets() == each_once(range(36))
    tables.is_sound()
    before_ms = max(file.max_event_time_ms for file in reader.snapshot(tables.url, tables.topic).files if file.hour == "14") + 1
    age_s = int(time.time()) - before_ms // 1000
    (gone,) = tables.told("expire", "--root", tables.url, "--older-than", f"{age_s}s", "--format", "json")
    assert (gone["files"], gone["rows"]) == (1, 28)
    assert tables.offsets() == each_once(range(14, 36))
    assert len(tables.store.list(names.REMOVED, after="", recursive=True)) == 5
    tables.is_sound()


def test_what_a_crash_left_halfway_is_repaired(tables: Tables) -> None:
    tables.land(2, each=2)
    tables.told("compact", "--root", tables.url, "--format", "json")
    (live,) = reader.snapshot(tables.url, tables.topic).files
    gone = tables.store.list(names.REMOVED, after="", recursive=True)
    if tables.store.stages:
        tables.store.move(live.name, names.staged(live.name))
    for file in gone:
        tables.store.move(names.removed(file.name), file.name)
    (report,) = tables.told("check", tables.url, "--repair", "--deep", "--format", "json")
    assert report["broken"] == []
    assert f"{len(gone)} files taken out, moved to removed/" in report["repaired"]
    assert ("1 files live, moved from staging to their place" in report["repaired"]) == tables.store.stages
    assert tables.store.sizes((live.name, *(file.name for file in gone))) == (live.bytes, None, None)
    assert tables.offsets() == each_once(range(4))


def test_a_table_is_landed_again_from_earlier_offsets(tables: Tables) -> None:
    tables.land(2, each=10)
    assert main(["load", "--rewind", tables.topic, "--to", "0:5,1:9", "--config", str(tables.config)]) == 0
    snapshot = reader.snapshot(tables.url, tables.topic)
    assert snapshot.generation == 2
    assert tables.offsets() == each_once(range(20))
    tables.is_sound()


class Later(SystemClock):
    """Three hours on."""

    def wall_ms(self) -> WallMs:
        return WallMs(super().wall_ms() + 3 * 3_600_000)


def test_quarantined_records_are_listed_shown_replayed_merged_and_expire(tables: Tables) -> None:
    tables.land(1, each=2)
    cut_off = next(lines(1)).encode(tables.pipeline.client.register(f"{tables.topic}-value", ENVELOPE_JSON))[:20]
    tables.pipeline.produce(tables.topic, [cut_off], partition=1, key=b"k")
    tables.load()
    (row,) = tables.told("quarantine", "list", "--root", tables.url, "--format", "json")
    assert (row["topic"], row["count"]) == (tables.topic, 1)
    (shown,) = tables.told("quarantine", "show", tables.topic, "--root", tables.url)
    assert (shown["key_text"], shown["partition"], shown["offset"]) == ("k", 1, 2)
    show = ["quarantine", "show", tables.topic, "--root", tables.url]
    while 2 not in tables.quarantine_files_a_day():  # once, or again if midnight has come between: each day's are merged alone
        replay = ["--partition", "1", "--offset", "2", "--config", str(tables.config)]
        assert main(["quarantine", "replay", tables.topic, "--root", tables.url, *replay]) == 0
        tables.load()
    every = tables.told(*show)
    assert [entry["offset"] for entry in every][:2] == [2, 3]
    assert compact_table(tables.url, tables.topic, Limits(), Later(), progress=int).quarantine_before == 2
    assert tables.told(*show) == every
    assert len(tables.store.list(f"{names.REMOVED}/{names.QUARANTINE}", after="", recursive=True)) == 2
    tables.is_sound()
    expire_table(tables.url, tables.topic, Ages(quarantined=Later().wall_ms()), SystemClock(), dry_run=False)
    assert tables.told(*show) == []
    tables.is_sound()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["libhdfs", "versitygw"], indirect=True)
def test_iceberg_tables_show_what_is_landed_and_compacted(tables: Tables, kind: str, tmp_path: Path) -> None:
    properties = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": f"file://{tmp_path}"}
    if kind == "versitygw":
        properties |= {"s3.endpoint": tables.url.partition("endpoint=")[2].partition("&")[0], "s3.region": "us-east-1"}
    sync = ["iceberg", "sync", tables.url, *(f"--property={key}={value}" for key, value in properties.items())]
    tables.land(2, each=4)
    (row,) = tables.told(*sync, "--format", "json")
    assert (row["rows"], row["behind"], row["error"]) == (16, 0, None)
    tables.told("compact", "--root", tables.url, "--format", "json")
    (row,) = tables.told(*sync, "--format", "json")
    assert (row["rows"], row["files"], row["error"]) == (16, 1, None)
    shown = load_catalog("headrace", **properties).load_table(("landed", tables.topic)).scan().to_arrow()
    rows = zip(shown["_kafka_partition"].to_pylist(), shown["_offset"].to_pylist(), strict=True)
    assert Counter(rows) == each_once(range(8))
