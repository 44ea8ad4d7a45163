"""Where rows lie is the user's choice; what readers of the table log see does not depend on it."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import duckdb
import pyarrow.dataset as ds
import pytest

from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.running import rows_of_job
from headrace.jobs.sql.query import ask
from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline, lines

EVENTS = list(lines(500, step_ms=10_000))
TOKYO = {"time_zone": "Asia/Tokyo", "path": "at/{year}/{month}-{day}/{hour}/service={service}"}
PER_TOPIC = [
    {"topics": ["tokyo"], "layout": TOKYO},
    {"topics": ["days"], "layout": {"path": "dt={date}"}, "format": "json"},
    {"topics": ["by.read"], "layout": {"by": "read_time"}},
]
TOPICS = ("plain", "tokyo", "days", "by.read")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with Pipeline(tmp_path_factory.mktemp("layout")) as running:
        for topic in TOPICS:
            running.ship(topic, EVENTS)
        running.load_once(per_topic=PER_TOPIC)
        yield running


def test_each_row_lies_where_its_topics_template_says(pipeline: Pipeline) -> None:
    hours = {datetime.fromtimestamp(event.event_time_ms / 1000, ZoneInfo("Asia/Tokyo")) for event in EVENTS}
    expected = {f"at/{at:%Y/%m-%d/%H}/service=shop" for at in hours}
    files = {topic: reader.snapshot(pipeline.root, topic).files for topic in TOPICS}
    assert {file.name.rpartition("/")[0] for file in files["tokyo"]} == expected
    assert len(files["days"]) == len(files["by.read"]) == 1
    assert files["days"][0].name.count("/") == 1
    pipeline.assert_sound()


def test_engines_that_read_the_directory_see_the_rows(pipeline: Pipeline) -> None:
    assert ds.dataset(pipeline.root / "tokyo", format="parquet").count_rows() == len(EVENTS)
    glob = f"{pipeline.root}/tokyo/at/*/*/*/service=*/*.parquet"
    assert duckdb.sql(f"SELECT count(*) FROM '{glob}' WHERE service = 'shop'").fetchall() == [(len(EVENTS),)]


@pytest.mark.parametrize("topic", TOPICS)
def test_queries_see_the_same_rows_wherever_they_lie(pipeline: Pipeline, topic: str) -> None:
    columns = "event_time, position, service, message, _offset"
    with ask(pipeline.root, f'SELECT {columns} FROM "{topic}" EXCEPT ALL SELECT {columns} FROM plain') as answer:
        assert answer.read_all().num_rows == 0
    with ask(pipeline.root, f'SELECT {columns} FROM "{topic}"') as answer:
        assert answer.read_all().num_rows == len(EVENTS)


def test_keys_of_the_path_are_columns_and_a_day_has_no_hour(pipeline: Pipeline) -> None:
    with ask(pipeline.root, "SELECT dt, count(*) AS n FROM days GROUP BY ALL") as answer:
        assert [(str(row["dt"]), row["n"]) for row in answer.read_all().to_pylist()] == [("2026-09-21", len(EVENTS))]


def test_jobs_count_by_the_hour_of_the_event_in_utc(pipeline: Pipeline) -> None:
    counted = rows_of_job(made("counts"), pipeline.root).to_pylist()
    by_topic = {topic: [{**row, "topic": None} for row in counted if row["topic"] == topic] for topic in TOPICS}
    assert by_topic["tokyo"] == by_topic["days"] == by_topic["by.read"] == by_topic["plain"]
    assert len(by_topic["plain"]) == 2


def test_a_table_whose_layout_changes_is_one_table(pipeline: Pipeline) -> None:
    pipeline.ship("plain2", EVENTS[:50])
    pipeline.load_once(topics=["plain2"])
    pipeline.ship("plain2", EVENTS[50:60])
    pipeline.load_once(topics=["plain2"], layout=TOKYO)
    with ask(pipeline.root, "SELECT count(*) AS n, count(dt) AS with_dt FROM plain2") as answer:
        assert answer.read_all().to_pylist() == [{"n": 60, "with_dt": 50}]
    pipeline.assert_sound()


@pytest.mark.slow
def test_late_data_goes_to_its_own_hour(pipeline: Pipeline) -> None:
    pipeline.ship("late", EVENTS[400:450])
    pipeline.load_once(topics=["late"])
    before = {file.name for file in reader.snapshot(pipeline.root, "late").files}
    pipeline.ship("late", EVENTS[:20])
    pipeline.load_once(topics=["late"])
    (late,) = (file for file in reader.snapshot(pipeline.root, "late").files if file.name not in before)
    at = datetime.fromtimestamp(EVENTS[0].event_time_ms / 1000, ZoneInfo("UTC"))
    assert late.name.startswith(f"dt={at:%Y-%m-%d}/hour={at:%H}/")
