"""The format of landed files is the user's choice, by topic; every reader finds exactly the committed rows in each."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import polars
import pyarrow.parquet as pq
import pytest

from headrace.audit import window_start_ms
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.running import rows_of_job
from headrace.jobs.landed_rows import recounts, rows_by_window, rows_of_agents
from headrace.jobs.sql.query import ask
from headrace.sinks.check import check_root
from headrace.sinks.table import names, reader
from tests.integration.sinks.pipeline import AGENT, Pipeline, lines

EVENTS = list(lines(500, step_ms=10_000))
TOPICS = ("in.avro", "in.json", "in.parquet")
PER_TOPIC = [
    {"topics": [r"in\.avro"], "format": "avro"},
    {"topics": [r"in\.(json|clicks)"], "format": "json", "json_lines": {"compression_level": 3}},
    {"topics": [r"in\.parquet"], "parquet": {"row_group_rows": 50, "statistics": False}},
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("formats")) as running:
        for topic in TOPICS:
            running.ship(topic, EVENTS)
        running.produce("in.clicks", (json.dumps({"click": n, "say": '"\n'}).encode() for n in range(20)), key=b"\xffk")
        running.load_once(per_topic=PER_TOPIC)
        for topic in TOPICS:  # what a loader that died has left must not be seen by anyone
            for file in reader.snapshot(running.root, topic).files:
                left = running.root / topic / names.staged(file.name.replace("-0.", "-99."))
                left.parent.mkdir(parents=True, exist_ok=True)
                left.write_bytes(Path(file.path).read_bytes())
        yield running


def expected() -> list[tuple[int, str]]:
    return [(event.position, event.message) for event in EVENTS]


def paths(pipeline: Pipeline, topic: str, suffix: str) -> list[Path]:
    """As a reader of the directory finds them."""
    found = sorted((pipeline.root / topic).glob(f"dt=*/hour=*/*{suffix}"))
    assert found
    return found


def test_fastavro_and_polars_read_what_landed_as_avro(pipeline: Pipeline) -> None:
    rows: list[Any] = []
    for path in paths(pipeline, "in.avro", ".avro"):
        with path.open("rb") as file:
            rows += fastavro.reader(file)
    rows.sort(key=lambda row: row["_offset"])
    assert [(row["position"], row["message"]) for row in rows] == expected()
    assert rows[7]["event_time"].timestamp() == EVENTS[7].event_time_ms / 1000
    assert rows[7]["fields"] == {"status": "200"}
    with pytest.raises(BaseException, match="Map"):  # polars' Avro knows no maps, and says so: it does not misread
        polars.read_avro(paths(pipeline, "in.avro", ".avro")[0])


def test_duckdb_and_polars_read_what_landed_as_json(pipeline: Pipeline) -> None:
    glob = f"{pipeline.root}/in.json/dt=*/hour=*/*.json.zst"
    sql = f"SELECT position, message FROM read_json('{glob}') ORDER BY _offset"
    assert duckdb.sql(sql).fetchall() == expected()
    hours = f"SELECT dt, hour, count(*) FROM read_json('{glob}', hive_partitioning = true) GROUP BY ALL"
    assert len(duckdb.sql(hours).fetchall()) == 2
    by_polars = polars.concat([polars.read_ndjson(path) for path in paths(pipeline, "in.json", ".json.zst")]).sort("_offset")
    assert list(by_polars.select("position", "message").iter_rows()) == expected()


def test_duckdb_polars_and_pyarrow_read_what_landed_as_parquet(pipeline: Pipeline) -> None:
    glob = f"{pipeline.root}/in.parquet/dt=*/hour=*/*.parquet"
    assert duckdb.sql(f"SELECT position, message FROM '{glob}' ORDER BY _offset").fetchall() == expected()
    by_polars = polars.scan_parquet(glob).sort("_offset").select("position", "message").collect()
    assert list(by_polars.iter_rows()) == expected()
    by_pyarrow = pq.read_table(pipeline.root / "in.parquet").sort_by("_offset")
    assert list(zip(by_pyarrow["position"].to_pylist(), by_pyarrow["message"].to_pylist(), strict=True)) == expected()
    group = pq.ParquetFile(paths(pipeline, "in.parquet", ".parquet")[0]).metadata.row_group(0)
    assert group.num_rows == 50
    assert group.column(0).statistics is None


@pytest.mark.parametrize("topic", TOPICS)
def test_queries_see_the_same_rows_and_types_in_every_format(pipeline: Pipeline, topic: str) -> None:
    with ask(pipeline.root, f'SELECT position, message FROM "{topic}" ORDER BY _offset') as answer:
        assert [tuple(row.values()) for row in answer.read_all().to_pylist()] == expected()
    columns = "event_time, read_time, fields['status'], _incarnation, _partition, _offset, typeof(_timestamp), dt, hour"
    with ask(pipeline.root, f'SELECT {columns} FROM "{topic}" EXCEPT ALL SELECT {columns} FROM "in.parquet"') as answer:
        assert answer.read_all().num_rows == 0


def test_bytes_survive_json_in_a_query(pipeline: Pipeline) -> None:
    with ask(pipeline.root, "SELECT _key, value->>'$.say' AS say FROM \"in.clicks\" LIMIT 1") as answer:
        assert answer.read_all().to_pylist() == [{"_key": b"\xffk", "say": '"\n'}]


@pytest.mark.parametrize("topic", TOPICS)
def test_the_audit_counts_the_rows_of_every_format(pipeline: Pipeline, topic: str) -> None:
    files = reader.snapshot(pipeline.root, topic).files
    windows: dict[int, int] = {}
    for event in EVENTS:
        start_ms = window_start_ms(event.event_time_ms)
        windows[start_ms] = windows.get(start_ms, 0) + 1
    found: dict[int, int] = {}
    for file in files:
        for start_ms, count in rows_by_window(pipeline.root, topic, file).items():
            found[start_ms] = found.get(start_ms, 0) + count
    assert found == windows
    keys = {(AGENT, start_ms) for start_ms in windows}
    recounted = recounts((rows_of_agents(pipeline.root, topic, file, keys) for file in files), {0: 0, 1: 0})
    assert {start: (each.rows, each.distinct) for (_, start), each in recounted.items()} == {
        start: (count, count) for start, count in windows.items()
    }


def test_jobs_count_the_rows_of_every_format_by_hour(pipeline: Pipeline) -> None:
    counted = rows_of_job(made("counts"), pipeline.root, topics=TOPICS).to_pylist()
    by_topic = {topic: [{**row, "topic": None} for row in counted if row["topic"] == topic] for topic in TOPICS}
    assert by_topic["in.avro"] == by_topic["in.json"] == by_topic["in.parquet"]
    assert sum(row["events"] for row in by_topic["in.avro"]) == len(EVENTS)
    assert len(by_topic["in.avro"]) == 2


def test_check_reads_every_format(pipeline: Pipeline) -> None:
    reports = list(check_root(str(pipeline.root), deep=True))
    assert [report.broken for report in reports] == [[]] * len(reports)
    assert {report.topic for report in reports} >= {*TOPICS, "in.clicks"}


@pytest.mark.slow
def test_a_table_whose_format_changes_is_one_table(tmp_path: Path) -> None:
    with Pipeline(tmp_path) as changing:
        for number, format_ in enumerate(("json", "avro", "parquet")):
            changing.ship("logs", EVENTS[number * 10 : number * 10 + 10])
            changing.load_once(format=format_)
        with ask(changing.root, "SELECT position, message FROM logs ORDER BY _offset") as answer:
            assert [tuple(row.values()) for row in answer.read_all().to_pylist()] == expected()[:30]
        changing.assert_sound()
