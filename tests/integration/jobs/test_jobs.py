"""Batch jobs over landed tables: what they say is what DuckDB says of the same files, and a rerun replaces what was there."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.cli import main
from headrace.errors import CorruptError
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.event_rows import Span
from headrace.jobs.batch.patterns import MASKS
from headrace.jobs.batch.running import rows_of_job, run_job
from headrace.sinks.check import check_table
from headrace.sinks.derived.slices import day
from headrace.sinks.table.reader import snapshot
from tests import forks
from tests.landed_tables import TEXT, Event, TableWriter

DAY, BEFORE = "2025-11-23", "2025-11-22"
NOON = int(datetime(2025, 11, 23, 12, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000
MESSAGES = (
    "GET /a 200",
    "ERROR no route to 10.0.0.7 after 31 ms",
    "ERROR no route to 10.0.1.9 after 7 ms",
    "WARN slow",
    "[error] x",
)
HOUR_OF = "time_bucket(INTERVAL 1 hour, event_time)"


def made_up(count, seed):
    """Events of two days, so close at midnight that sessions cross it."""
    random_ = random.Random(seed)
    return [
        Event(
            "a",
            seed * 1_000_000 + n * 30,
            NOON - 12 * HOUR + random_.randrange(-8 * HOUR, 20 * HOUR) // random_.choice((1, 1, 30)),
            message=random_.choice(MESSAGES),
            host=f"web-{random_.randrange(3)}",
            fields={"user": f"u{random_.randrange(6)}", **({"status": random_.choice(("200", "503"))} if n % 3 == 0 else {})},
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    root = tmp_path_factory.mktemp("jobs")
    logs = TableWriter(root, "logs")
    logs.land_events(made_up(300, 1))
    logs.land_events(made_up(200, 2), staged=True)
    TableWriter(root, "orders", TEXT).land([{"_key": None, "value": "{}", "_timestamp": NOON + n * 900_000} for n in range(9)])
    TableWriter(root, "empty").land([], quarantined=[NOON])
    return root


@pytest.fixture
def root(landed, tmp_path):
    return shutil.copytree(landed, tmp_path / "landed")


def bare(root, sql, topic="logs"):
    """An answer of DuckDB's over the live files of a topic, as rows of `t`; times are of UTC, and have no zone."""
    connection = duckdb.connect()
    paths = [file.path for file in snapshot(root, topic).files]
    naive = "make_timestamp(epoch_us(event_time)) AS event_time"
    rows = "read_parquet($paths, union_by_name = true, hive_partitioning = false)"
    connection.execute(f"CREATE TABLE t AS SELECT * REPLACE ({naive}) FROM {rows}", {"paths": paths})
    return connection.sql(sql).to_arrow_table().to_pylist()


def table_rows(root, table, on=DAY):
    """What a job's table has of a day."""
    files = [file.path for file in snapshot(root, table).files if file.name.startswith(f"dt={on}/")]
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def alike(rows, others):
    """Equal rows, whatever their order and whether their times say that they are of UTC."""

    def plain(row):
        return repr({name: value.replace(tzinfo=None) if isinstance(value, datetime) else value for name, value in row.items()})

    return sorted(map(plain, rows)) == sorted(map(plain, others))


def faults(root, *tables):
    """What the offline check finds wrong with tables that jobs have written."""
    return [fault for table in tables for fault in check_table(root, table, deep=True).broken]


COUNTS = (
    f"SELECT 'logs' AS topic, host, {HOUR_OF} AS hour, count(*) AS events FROM t WHERE event_time::DATE = '{DAY}' GROUP BY ALL"
)
SESSIONS = f"""
WITH keyed AS (SELECT *, fields['user'] AS key FROM t WHERE fields['user'] IS NOT NULL),
gaps AS (SELECT *, event_time - lag(event_time) OVER w > INTERVAL 20 minute AS is_new FROM keyed
         WINDOW w AS (PARTITION BY key ORDER BY event_time, _partition, _offset)),
numbered AS (SELECT *, sum(coalesce(is_new, true)::INT) OVER w AS n FROM gaps
             WINDOW w AS (PARTITION BY key ORDER BY event_time, _partition, _offset))
SELECT 'logs' AS topic, key, min(event_time) AS start, max(event_time) AS end, count(*) AS events,
       arg_min(message, (event_time, _partition, _offset)) AS first,
       arg_max(message, (event_time, _partition, _offset)) AS last, false AS cut
FROM numbered GROUP BY key, n HAVING (max(event_time) + INTERVAL 20 minute)::DATE = '{DAY}'"""
TOP = f"""
WITH counted AS (SELECT {HOUR_OF} AS hour, host AS "group", fields['user'] AS value, count(*) AS events FROM t
                 WHERE event_time::DATE = '{DAY}' AND fields['user'] IS NOT NULL GROUP BY ALL),
totals AS (SELECT *, sum(events) OVER (PARTITION BY hour, "group") AS total FROM counted)
SELECT 'logs' AS topic, hour, "group", row_number() OVER (PARTITION BY hour, "group" ORDER BY events DESC, value)::INT AS rank,
       value, events, total::BIGINT AS total
FROM totals WHERE events * 4 >= total QUALIFY rank <= 2"""


def masked(expression):
    for pattern, mask in MASKS:
        quoted = pattern.replace("'", "''")
        expression = f"regexp_replace({expression}, '{quoted}', '{mask}', 'g')"
    return expression


ERRORS = f"""
WITH levels AS (
    SELECT *, {HOUR_OF} AS hour, TRY_CAST(fields['status'] AS INT) AS status,
           CASE WHEN fields['status'] = '503' THEN 'error' WHEN fields['status'] = '200' THEN 'info'
                WHEN message LIKE 'ERROR%' OR message LIKE '[error]%' THEN 'error'
                WHEN message LIKE 'WARN%' THEN 'warning' END AS level
    FROM t WHERE event_time::DATE = '{DAY}'),
patterns AS (SELECT *, CASE WHEN level = 'error' THEN {masked("message")} END AS pattern FROM levels),
counted AS (SELECT service, hour, level, status, pattern, count(*) AS events, min(event_time) AS first,
                   arg_min(message, (event_time, _offset)) AS example FROM patterns GROUP BY ALL)
SELECT 'logs' AS topic, service, hour, level, status, pattern, events,
       (sum(events) OVER (PARTITION BY service, hour))::BIGINT AS total, NULL::BOOLEAN AS new, first,
       CASE WHEN pattern IS NOT NULL THEN example END AS example
FROM counted"""
CASES = {
    "counts": ({}, COUNTS),
    "sessions": ({"by": "fields.user", "gap": "20m"}, SESSIONS),
    "top": ({"by": "fields['user']", "per": "host", "k": 2, "one_in": 4}, TOP),
    "errors": ({}, ERRORS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_days_rows_are_what_sql_says_of_the_same_files_and_a_rerun_with_late_rows_replaces_them(root, name):
    options, sql = CASES[name]
    job = made(name, options)
    first = run_job(job, root, day(DAY), topics=["logs"])
    assert alike(table_rows(root, f"job_{name}"), bare(root, sql))
    assert (first.rows, first.replaced) == (len(bare(root, sql)), None)
    TableWriter(root, "logs").land_events(made_up(100, 3))
    again = run_job(job, root, day(DAY), topics=["logs"])
    fresh = run_job(job, root, day(DAY), topics=["logs"], into="fresh")
    rows = table_rows(root, f"job_{name}")
    assert rows == table_rows(root, "fresh")
    assert alike(rows, bare(root, sql))
    assert again.replaced == first.attempt
    assert [one.topic for one in again.inputs] == ["logs"]
    assert again.inputs == fresh.inputs != first.inputs
    assert not faults(root, f"job_{name}", "fresh")


@pytest.mark.slow
def test_many_buckets_and_pieces_say_the_same_as_one(root, monkeypatch):
    from headrace.jobs.batch import running, table_scan

    whole = {name: rows_of_job(made(name, options), root, topics=["logs"]) for name, (options, _) in CASES.items()}
    monkeypatch.setattr(running, "_BUCKET_BYTES", 10_000)
    monkeypatch.setattr(table_scan, "PIECE_BYTES", 5_000)
    monkeypatch.setattr(table_scan, "BATCH_ROWS", 11)
    for name, (options, _) in CASES.items():
        assert rows_of_job(made(name, options), root, topics=["logs"]).equals(whole[name])


def test_row_groups_that_hold_no_row_of_the_time_are_not_read(root):
    TableWriter(root, "grouped").land_events([Event("a", n, NOON + n * 1000) for n in range(90)])
    (path,) = (root / "grouped").rglob("*.parquet")
    rows = pq.ParquetFile(path).read()
    pq.write_table(rows, path, row_group_size=30, compression="none", use_dictionary=False)
    landed = next((root / "grouped").rglob("*.json"))
    record = json.loads(landed.read_bytes())
    record["add"][0]["bytes"] = path.stat().st_size
    landed.write_text(json.dumps(record))
    groups = pq.ParquetFile(path).metadata
    data = bytearray(path.read_bytes())
    for group in (0, 2):
        for at in range(groups.num_columns):
            column = groups.row_group(group).column(at)
            start, size = column.data_page_offset, column.total_compressed_size
            data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    span = Span((NOON + 30_000) * 1000, (NOON + 60_000) * 1000)
    assert [row["events"] for row in rows_of_job(made("counts"), root, span, topics=["grouped"]).to_pylist()] == [30]
    with pytest.raises(CorruptError):
        rows_of_job(made("counts"), root, topics=["grouped"])


def test_a_pattern_is_new_if_none_of_the_days_before_has_it(root):
    run_job(made("errors"), root, day(BEFORE), topics=["logs"])
    outcome = run_job(made("errors"), root, day(DAY), topics=["logs"])
    known = {row["pattern"] for row in table_rows(root, "job_errors", BEFORE)} - {None}
    now = table_rows(root, "job_errors")
    assert {row["pattern"]: row["new"] for row in now if row["pattern"]} == {
        row["pattern"]: row["pattern"] not in known for row in now if row["pattern"]
    }
    assert known
    TableWriter(root, "logs").land_events([Event("a", 9_000_000, NOON, message="ERROR something else")])
    run_job(made("errors"), root, day(DAY), topics=["logs"])
    assert [row["new"] for row in table_rows(root, "job_errors") if row["pattern"] == "ERROR something else"] == [True]
    assert outcome.inputs[0].topic == "logs"


def test_lines_that_are_records_have_the_pattern_of_what_they_say(root):
    """Masked as a text, every record of as many keys would be the same."""
    said = {"msg": "took 12 ms of user 7", "message": "disk 3 is full"}
    events = [
        Event("a", n, NOON, message=json.dumps({"level": "error", key: text}), fields={"level": "error", key: text})
        for n, (key, text) in enumerate(said.items())
    ]
    TableWriter(root, "records").land_events(events)
    rows = rows_of_job(made("errors"), root, topics=["records"]).to_pylist()
    assert {row["pattern"]: row["example"] for row in rows} == {
        "took <n> ms of user <n>": events[0].message,
        "disk <n> is full": events[1].message,
    }


def test_small_files_of_many_hours_and_tables_are_merged_at_once(root, capsys):
    TableWriter(root, "other").land_events(made_up(50, 4))
    TableWriter(root, "other").land_events(made_up(50, 5))
    before = {topic: bare(root, "SELECT * FROM t ORDER BY ALL", topic) for topic in ("logs", "other")}
    files = len(snapshot(root, "logs").files)
    assert main(["job", "run", "compact", "--root", str(root), "--output", "-"]) == 0
    assert "logs" in capsys.readouterr().out
    table = snapshot(root, "logs")
    assert len(table.files) < files
    assert len(table.files) == len({file.name.rpartition("/")[0] for file in table.files})
    assert {topic: bare(root, "SELECT * FROM t ORDER BY ALL", topic) for topic in before} == before
    assert not [fault for topic in before for fault in check_table(root, topic, deep=False).broken]


def test_days_are_run_from_the_command_line_each_into_its_slice(root, capsys):
    days = ["--since", BEFORE, "--until", "2025-11-24", "--root", str(root), "--format", "json"]
    assert main(["job", "run", "sessions", "--set", "by=fields.user", "--set", "gap=5m", "--topic", "logs", *days]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["table"], each["slice"], each["replaced"]) for each in told] == [
        ("job_sessions", f"dt={on}", None) for on in (BEFORE, DAY)
    ]
    assert [each["rows"] for each in told] == [len(table_rows(root, "job_sessions", on)) for on in (BEFORE, DAY)]
    assert main(["job", "run", "counts", "--topic", "job_sessions", "--root", str(root)]) == 2
    assert "job_sessions is no landed topic's table" in capsys.readouterr().err
    assert main(["query", "SELECT count(*) AS n FROM job_sessions", "--root", str(root), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == sum(each["rows"] for each in told)


def test_a_day_without_rows_is_an_empty_slice(root):
    outcome = run_job(made("counts"), root, day("2020-01-01"))
    assert (outcome.rows, outcome.files) == (0, 0)
    assert "dt=2020-01-01" in snapshot(root, "job_counts").slices


@pytest.mark.parametrize(("job", "option"), [("sessions", "by"), ("top", "by"), ("top", "per")])
def test_a_key_that_no_row_has_is_told_with_what_the_job_has_made(root, capsys, job, option):
    read = "SELECT count(*) AS n FROM t WHERE event_time >= {} AND event_time < TIMESTAMP '2025-11-24'"
    from_ = {"sessions": "TIMESTAMP '2025-11-23' - INTERVAL 24 hour - INTERVAL 30 minute", "top": "TIMESTAMP '2025-11-23'"}
    said = f"all {bare(root, read.format(from_[job]))[0]['n']} rows that were read have no fields.nonsuch"
    asked = [job, "--set", f"{option}=fields.nonsuch", "--topic", "logs", "--root", str(root)]
    assert main(["job", "run", *asked, "--day", DAY, "--format", "json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["warnings"] == [said]
    assert told.err == f"headrace job: {job}, dt={DAY}: {said}\n"
    assert main(["job", "run", *asked, "--day", DAY, "--output", "-"]) == 0
    assert capsys.readouterr().err == f"headrace job: {job}: {said}\n"


def test_a_key_that_one_row_of_many_has_is_not_told(root, capsys):
    TableWriter(root, "logs").land_events([Event("c", 0, NOON, fields={"rare": "1"})])
    asked = ["sessions", "--set", "by=fields.rare", "--root", str(root), "--format", "json"]
    assert main(["job", "run", *asked, "--day", DAY]) == 0
    told = capsys.readouterr()
    assert (json.loads(told.out)["warnings"], json.loads(told.out)["rows"], told.err) == ([], 1, "")
    assert main(["job", "run", *asked, "--day", "2020-01-01"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [], "no row was read"


def test_durations_and_sizes_are_shown_as_they_are_written(capsys):
    assert main(["job", "show", "sessions"]) == 0
    assert main(["job", "show", "compact", "--format", "json"]) == 0
    shown, json_ = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert [line.split()[:2] for line in shown.splitlines()[3:5]] == [["by", "host"], ["gap", "30m"]]
    assert {each["option"]: each["default"] for each in json.loads(json_)["options"]} == {
        "target": "128MiB",
        "closed_for": "1h",
        "config": None,
    }


def test_columns_that_only_some_tables_have_are_null_in_the_others(root):
    rows = rows_of_job(made("top", {"by": "host"}), root).to_pylist()
    assert {row["topic"] for row in rows} == {"logs"}
    rows = rows_of_job(made("errors"), root, topics=["orders"]).to_pylist()
    assert sum(row["events"] for row in rows) == 9
    assert {(row["service"], row["level"], row["pattern"]) for row in rows} == {(None, None, None)}
    wider = pa.schema([*TEXT, ("host", pa.int64())])
    TableWriter(root, "orders", wider).land([{"_key": None, "value": "{}", "host": 7, "_timestamp": NOON}])
    rows = rows_of_job(made("counts"), root, topics=["orders"]).to_pylist()
    assert {row["host"] for row in rows} == {None, "7"}
    assert sum(row["events"] for row in rows) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sesions"], "no job 'sesions'; did you mean sessions?"),
        (["sessions", "--set", "gab=5m"], "did you mean gap?"),
        (["counts", "--set", "gap=5m"], "--set gap=5m: job counts has no options; leave it out"),
        (["sessions", "--set", "gap=soon"], "gap"),
        (["sessions", "--set", "by=fields["], "write a column as host"),
        (["sessions", "--set", "by=hosts", "--day", DAY], "no table has a column hosts; did you mean host?"),
        (["top", "--set", "by=fields", "--topic", "logs"], "name a key within"),
        (["counts", "--topic", "log"], "did you mean logs?"),
        (["counts", "--day", "2025-23-11"], "--day 2025-23-11: write a day as"),
        (["counts", "--day", "2999-01-01"], "--day 2999-01-01: that day has not begun; today is "),
        (["counts", "--since", DAY, "--until", "2999-01-01"], "--until 2999-01-01: the day before has not begun"),
        (["counts", "--day", DAY, "--until", DAY], "leave out --since and --until"),
        (["counts", "--until", DAY], "give --since, too"),
        (["counts", "--since", DAY, "--until", DAY], "there is no day"),
        (["counts", "--into", "x"], "--into names the table"),
        (["counts", "--day", DAY, "--into", "logs"], "the table is landed from a topic; name another table"),
        (["compact", "--day", DAY, "--into", "x"], "writes no table of its own"),
        (["nowhere:Job"], "there is no module nowhere"),
        (["json:JSONDecoder"], "JSONDecoder in json is no class made of"),
    ],
)
def test_usage_errors_exit_2_in_one_line(root, capsys, arguments, said):
    assert main(["job", "run", *arguments, "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_jobs_tell_what_they_do_their_options_and_their_columns(capsys):
    assert main(["job", "list", "--format", "json"]) == 0
    names = [json.loads(line)["job"] for line in capsys.readouterr().out.splitlines()]
    assert names == ["counts", "sessions", "top", "errors", "recount", "compact"]
    for name in names:
        assert main(["job", "show", name, "--format", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert all(each["means"] for each in (*told["options"], *told["columns"])), name
    assert main(["job", "show", "sessions"]) == 0
    assert "gap" in capsys.readouterr().out


def test_the_job_that_the_documentation_shows_runs(root, tmp_path, monkeypatch, capsys):
    code = (Path(__file__).parents[3] / "docs" / "jobs.md").read_text().split("```python\n")[1].split("```")[0]
    (tmp_path / "levels.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ["levels:Lengths", "--day", DAY, "--set", "step=20", "--topic", "logs", "--root", str(root), "--format", "json"]
    assert main(["job", "run", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["table"] == "job_lengths"
    step = "length(message) // 20 * 20"
    expected = bare(root, f"SELECT {step} AS step, count(*) AS events FROM t WHERE event_time::DATE = '{DAY}' GROUP BY ALL")
    assert alike(table_rows(root, "job_lengths"), expected)


KILLED = """
import os, signal
from typing import ClassVar
from headrace.jobs.batch.counts import Counts

def die(where):
    if os.environ.get("DIE_IN") == where:
        os.kill(os.getpid(), signal.SIGKILL)

class Killed(Counts):
    def partial(self, rows, given):
        die("partial")
        return super().partial(rows, given)
    def finish(self, parts, span, given):
        die("finish")
        return super().finish(parts, span, given)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_changes_nothing_or_all_and_the_next_one_is_whole(root, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    asked = ["killed:Killed", "--day", DAY, "--topic", "logs", "--root", str(root)]
    command = [*forks.PREFIX, "job", "run", *asked]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    table, expected = root / "job_counts", bare(root, COUNTS)
    for where in ("partial", "finish"):
        done = forks.run(command, env={**environment, "DIE_IN": where}, capture_output=True, check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL
        assert not (table / "_headrace" / "log").exists()
    for pattern in ("_headrace/staging/**/*.parquet", "_headrace/log/*/*.json"):
        with forks.Headrace(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            while not list(table.glob(pattern)) and running.poll() is None:
                time.sleep(0.001)
            running.kill()
        if list(table.glob("_headrace/log/*/*.json")):
            assert alike(table_rows(root, "job_counts"), expected)
    assert forks.run(command, env=environment, capture_output=True, check=False, timeout=120).returncode == 0
    assert alike(table_rows(root, "job_counts"), expected)
    assert not faults(root, "job_counts")
