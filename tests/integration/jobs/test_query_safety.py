"""Statements that would do more than read the tables: each is refused, and nothing has been read, written or changed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from headrace.errors import HeadraceError, UsageError
from headrace.jobs.sql import walls
from headrace.jobs.sql.allowed import refused_function
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.session import Session
from tests import forks
from tests.landed_tables import Event, TableWriter

CANARY = "canary-7f3a"
T0 = 1_763_900_400_000
OUT, SECRET, LIVE, ROOT, LOG = "{out}", "{secret}", "{live}", "{root}", "{log}"

_READERS = (  # noqa: SIM905 - a list of a line each is no list to read
    "read_csv read_csv_auto read_text read_blob read_json read_json_auto read_json_objects read_json_objects_auto"
    " read_ndjson read_ndjson_auto read_ndjson_objects read_parquet parquet_scan parquet_metadata parquet_schema"
    " parquet_file_metadata parquet_kv_metadata parquet_full_metadata sniff_csv glob read_duckdb"
    " read_single_csv_file read_single_json_file read_single_parquet_file"
).split()
HOSTILE = [
    *(f"SELECT * FROM {name}('{SECRET}')" for name in _READERS),
    *(f"SELECT * FROM {name}('{LIVE}')" for name in _READERS),
    *(f"SELECT * FROM {name}('{LOG}')" for name in ("read_text", "read_blob", "read_json", "read_csv")),
    f"SELECT * FROM parquet_bloom_probe('{LIVE}', 'message', 'x')",
    f"SELECT * FROM '{SECRET}'",
    f'SELECT * FROM "{SECRET}"',
    f"SELECT * FROM '{LIVE}'",
    f'FROM "{LIVE}"',
    f"DESCRIBE '{SECRET}'",
    f"SUMMARIZE '{LIVE}'",
    f"SELECT * FROM logs, '{SECRET}'",
    f"SELECT * FROM logs JOIN '{SECRET}' ON true",
    f"SELECT (SELECT max(content) FROM read_text('{SECRET}'))",
    f"WITH x AS (FROM read_text('{SECRET}')) FROM x",
    f"WITH x AS MATERIALIZED (FROM '{SECRET}') FROM x",
    f"""WITH a AS (WITH "{SECRET}" AS (SELECT 1) SELECT 1) SELECT * FROM "{SECRET}" """,
    f"SELECT * FROM logs WHERE position IN (SELECT 1 FROM read_text('{SECRET}'))",
    f"SELECT list_transform([1], x -> (SELECT content FROM read_text('{SECRET}')))",
    f"SELECT * FROM logs UNION ALL BY NAME FROM read_csv('{SECRET}')",
    f"SELECT * FROM logs ORDER BY (SELECT count(*) FROM read_text('{SECRET}'))",
    f"SELECT * FROM logs LIMIT (SELECT count(*) FROM read_text('{SECRET}'))",
    f"SELECT * FROM main.read_text('{SECRET}')",
    f"SELECT * FROM system.main.read_text('{SECRET}')",
    f"""SELECT * FROM "READ_TEXT"('{SECRET}')""",
    f"SELECT * FROM /* x */ ReAd_TeXt /* y */ ('{SECRET}')",
    f"FROM read_text(['{SECRET}'])",
    f"FROM (VALUES ('{SECRET}')) t(f), LATERAL read_text(f)",
    f"PIVOT (FROM read_text('{SECRET}')) ON filename USING count(*)",
    f"PIVOT '{SECRET}' ON a USING count(*)",
    f"""PIVOT (FROM "read_text"('{SECRET}')) ON filename USING count(*)""",
    f"UNPIVOT (FROM read_csv('{SECRET}')) ON a, b",
    f"EXPLAIN ANALYZE SELECT * FROM read_text('{SECRET}')",
    f"EXPLAIN SELECT * FROM read_csv('{SECRET}')",
    f"EXPLAIN (FORMAT json) SELECT * FROM read_csv('{SECRET}')",
    f"EXPLAIN (ANALYZE, FORMAT json) FROM read_text('{SECRET}')",
    f"SELECT * FROM query('SELECT * FROM read_text(''{SECRET}'')')",
    "SELECT * FROM query('SELECT 1')",
    f"SELECT * FROM query_table('{SECRET}')",
    "SELECT * FROM query_table('logs')",
    "SELECT * FROM query_table(['logs', 'logs'])",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "PRAGMA json_execute_serialized_sql('{{}}')",
    f"SELECT json_serialize_plan('FROM read_csv(''{SECRET}'')')",
    f"COPY logs TO '{OUT}'",
    f"COPY logs TO '{OUT}' (FORMAT parquet)",
    f"COPY (SELECT 1) TO '{LIVE}' (FORMAT parquet, USE_TMP_FILE false)",
    f"COPY (SELECT 1) TO '{ROOT}/logs/dt=2025-11-23/hour=12/x.parquet'",
    f"COPY logs FROM '{SECRET}'",
    f"COPY FROM DATABASE memory TO '{OUT}'",
    f"EXPLAIN ANALYZE COPY logs TO '{LIVE}' (FORMAT parquet, USE_TMP_FILE false)",
    f"EXPLAIN COPY logs TO '{OUT}'",
    f"COPY (PIVOT logs ON hour USING count(*)) TO '{LIVE}' (FORMAT parquet, USE_TMP_FILE false)",
    f"EXPORT DATABASE '{OUT}'",
    f"IMPORT DATABASE '{ROOT}'",
    f"ATTACH '{OUT}' AS x",
    f"ATTACH '{OUT}'",
    f"ATTACH IF NOT EXISTS '{OUT}' AS x (TYPE sqlite)",
    "ATTACH ':memory:' AS x",
    "DETACH memory",
    "USE memory",
    "CREATE TABLE x AS FROM logs",
    "CREATE TEMP TABLE x AS FROM logs",
    "CREATE VIEW x AS FROM logs",
    "CREATE OR REPLACE VIEW logs AS SELECT 1",
    f"CREATE MACRO x() AS TABLE FROM read_text('{SECRET}')",
    f"CREATE MACRO x() AS (SELECT content FROM read_text('{SECRET}'))",
    "CREATE FUNCTION x() AS 1",
    "CREATE SCHEMA x",
    "CREATE SEQUENCE x",
    "CREATE TYPE x AS ENUM ('a')",
    "CREATE SECRET x (TYPE s3)",
    f"CREATE PERSISTENT SECRET x IN '{OUT}' (TYPE s3)",
    "CREATE INDEX x ON logs (position)",
    "DROP VIEW logs",
    "DROP SCHEMA main CASCADE",
    "DROP SECRET x",
    "ALTER VIEW logs RENAME TO x",
    "INSERT INTO logs SELECT * FROM logs",
    "UPDATE logs SET position = 0",
    "DELETE FROM logs",
    "MERGE INTO logs USING logs AS x ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE logs",
    "VACUUM",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "CALL force_checkpoint()",
    "ANALYZE",
    "SET enable_external_access = true",
    "SET GLOBAL enable_external_access = true",
    "SET lock_configuration = false",
    f"SET allowed_directories = ['{OUT}']",
    f"SET temp_directory = '{OUT}'",
    f"SET home_directory = '{OUT}'",
    f"SET log_query_path = '{OUT}'",
    f"SET profiling_output = '{OUT}'",
    f"SET secret_directory = '{OUT}'",
    f"SET extension_directory = '{OUT}'",
    "SET memory_limit = '100GB'",
    "SET threads = 64",
    "SET VARIABLE x = 1",
    "RESET memory_limit",
    "RESET ALL",
    "PRAGMA enable_profiling",
    f"PRAGMA profiling_output = '{OUT}'",
    "PRAGMA database_list",
    "PRAGMA table_info('logs')",
    "PRAGMA version",
    f"PRAGMA import_database('{ROOT}')",
    "CALL pragma_version()",
    f"CALL read_text('{SECRET}')",
    "CALL enable_logging()",
    f"CALL enable_logging('QueryLog', storage => 'file', storage_path => '{OUT}')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM disable_logging()",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM disable_profiling()",
    "SELECT * FROM truncate_duckdb_logs()",
    "SELECT write_log('x')",
    "SELECT write_log('x', level := 'error')",
    "SELECT list_transform(['x'], lambda y: write_log(y))",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_logs",
    "SELECT * FROM duckdb_log_contexts()",
    "SELECT * FROM duckdb_logs_parsed('QueryLog')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM pg_settings",
    "SELECT * FROM duckdb_variables()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM duckdb_temporary_files()",
    "SELECT * FROM duckdb_memory()",
    "SELECT * FROM duckdb_external_file_cache()",
    "SELECT * FROM duckdb_prepared_statements()",
    "SELECT * FROM duckdb_databases()",
    "SELECT current_setting('home_directory')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "SELECT setseed(0.5)",
    "SELECT nextval('x')",
    "SELECT sleep_ms(10)",
    "SELECT pg_sleep(1)",
    "SHOW memory_limit",
    "INSTALL httpfs",
    f"INSTALL '{SECRET}'",
    "FORCE INSTALL spatial FROM community",
    "LOAD httpfs",
    f"LOAD '{SECRET}'",
    "UPDATE EXTENSIONS",
    "SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT * FROM sqlite_scan('x', 'y')",
    "SELECT * FROM postgres_query('x', 'y')",
    "SELECT * FROM arrow_scan(0, 0, 0)",
    "SELECT * FROM arrow_scan_dumb(1, 2, 3)",
    "SELECT * FROM python_arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(4096)",
    "SELECT * FROM python_map_function(1, 2)",
    "SELECT * FROM seq_scan('logs')",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM register_external_resource('x')",
    "SELECT * FROM test_vector_types(NULL)",
    "PREPARE x AS SELECT 1",
    f"PREPARE x AS SELECT * FROM read_text('{SECRET}')",
    "EXECUTE x",
    "DEALLOCATE x",
    "BEGIN TRANSACTION",
    "COMMIT",
    "ROLLBACK",
    "SELECT 1; SELECT 2",
    f"SELECT 1; COPY logs TO '{OUT}'",
    "SELECT ?",
    "",
    ";",
    "-- nothing",
]
assert len(HOSTILE) > 150


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("place")
    root = place / "landed"
    root.mkdir()
    (live,) = TableWriter(root, "logs", says_columns=True).land_events([Event("a", n, T0 + n) for n in range(3)])
    secret = place / "secret.csv"
    secret.write_text(f"a,b\n{CANARY},2\n")
    (log,) = (root / "logs" / "_headrace" / "log").rglob("*.json")
    return {"root": root, "live": live, "secret": secret, "out": place / "out", "log": log}


@pytest.fixture(scope="module")
def session(places: dict[str, Path]) -> Iterator[Session]:
    with Session.open(places["root"]) as session:
        yield session


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def before(places: dict[str, Path]) -> dict[str, bytes]:
    return contents(places["root"].parent)


@pytest.mark.parametrize("sql", HOSTILE)
def test_it_is_refused_and_nothing_has_happened(
    session: Session, places: dict[str, Path], before: dict[str, bytes], sql: str
) -> None:
    with pytest.raises(HeadraceError) as refused, session.ask(sql.format(**places)) as reader:
        reader.read_all()
    assert CANARY not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert contents(places["root"].parent) == before
    with session.ask("SELECT count(*) AS n FROM logs") as reader:
        assert reader.read_all().to_pylist() == [{"n": 3}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT fields['status'], count(*) FILTER (WHERE hour = 3), sum(position) OVER () FROM logs GROUP BY fields, position",
        "SELECT [x * 2 FOR x IN [1, 2] IF x > 1], {'a': 1}.a, '{\"a\": 1}'::JSON ->> 'a', CASE WHEN true THEN 1 END",
        "SELECT * FROM range(3), unnest([1, 2]), (VALUES (1)) t(x), generate_series(1, 2) WHERE 'a' LIKE '%a' AND 1 IN (1, 2)",
        "SELECT regexp_extract(message, '(\\d+)', 1), strftime(event_time, '%H') FROM logs",
        "SELECT time_bucket(INTERVAL 5 MINUTE, event_time), date_trunc('hour', event_time) FROM logs",
        "FROM logs SELECT upper(message).lower()[1:2], message.split(' ')[1], epoch_ms(event_time), CAST(dt AS VARCHAR) || 'x'",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
        "SELECT quantile_cont(position, 0.9), approx_count_distinct(host), mode(host) FROM logs",
        "SELECT histogram(hour), arg_max(message, position) FROM logs",
        "SELECT * FROM json_each('{\"a\": 1}')",
        "PIVOT logs ON hour USING count(*) GROUP BY host",
        "UNPIVOT (SELECT position, since FROM logs) ON position, since",
        "SUMMARIZE logs",
        "DESCRIBE logs",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SELECT table_name FROM information_schema.tables",
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'logs'",
        "EXPLAIN SELECT * FROM logs",
        "EXPLAIN ANALYZE SELECT count(*) FROM logs",
        "SELECT now(), current_date, version(), uuid(), random() FROM logs USING SAMPLE 2",
        "SELECT row_number() OVER (PARTITION BY host ORDER BY position), lag(position) OVER (ORDER BY position) FROM logs",
        "SELECT * EXCLUDE (fields) REPLACE (upper(host) AS host) FROM logs QUALIFY rank() OVER (ORDER BY position) = 1",
        "SELECT COLUMNS('^e.*') FROM logs",
    ],
)  # fmt: skip
def test_what_only_reads_runs(session: Session, sql: str) -> None:
    with session.ask(sql) as reader:
        reader.read_all()


def test_every_function_that_touches_files_or_the_connection_is_refused() -> None:
    """Of the DuckDB that is installed: what is new and not on the list is refused, and what must never be is not on it."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("SELECT DISTINCT function_name, function_type FROM duckdb_functions()").fetchall()
    tables = {name for name, kind in rows if kind in ("table", "table_macro", "pragma") and not refused_function(name)}
    assert tables <= {
        "range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "icu_calendar_names",
        "pg_timezone_names", "duckdb_columns", "duckdb_functions", "duckdb_keywords", "duckdb_tables", "duckdb_types",
        "duckdb_views", "duckdb_schemas", "pragma_version", "pragma_table_info", "pragma_show", "histogram", "histogram_values",
        "version",
    }  # fmt: skip
    assert refused_function("a_function_of_tomorrow")


@pytest.mark.skipif(not walls.version(), reason="this kernel has no Landlock")
def test_the_commands_process_can_read_and_write_nothing_else(places: dict[str, Path]) -> None:
    """Whatever the list of functions misses: the process itself has no right any more."""
    program = (
        "import sys; from pathlib import Path; from headrace.jobs.sql.session import Session;"
        " from headrace.jobs.sql.options import Options\n"
        f"with Session.open({str(places['root'])!r}, Options(confine=True)) as session:\n"
        "  for path, mode in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try: open(path, mode).close(); print('may')\n"
        "    except PermissionError: print('may not')\n"
        "  with session.ask('SELECT count(*) AS n FROM logs') as reader: print(reader.read_all().to_pylist())\n"
    )
    tried = [places["secret"], "r", places["out"], "w", places["live"], "r", places["live"], "a", "/etc/passwd", "r"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, tried)],
        capture_output=True,
        text=True,
        check=False,
        cwd=places["root"].parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.stdout.split("\n")[:6] == ["may not", "may not", "may", "may not", "may not", "[{'n': 3}]"], done.stderr


@pytest.mark.skipif(not walls.version(), reason="this kernel has no Landlock")
def test_unsafe_sql_reads_and_writes_files_but_never_the_tables(places: dict[str, Path], tmp_path: Path) -> None:
    def unsafe(sql: str) -> subprocess.CompletedProcess[str]:
        command = [*forks.PREFIX, "query", sql, "--root", str(places["root"]), "--unsafe", "--format", "csv"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert CANARY in unsafe(f"SELECT a FROM read_csv('{places['secret']}')").stdout
    assert unsafe(f"COPY (SELECT 1 AS x) TO '{tmp_path}/out.csv'").returncode == 0
    assert (tmp_path / "out.csv").read_text() == "x\n1\n"
    before = contents(places["root"])
    walled = (
        "--unsafe writes neither to the tables nor directly into the folders above them: name a subfolder, or another folder"
    )
    above = places["root"].parent / "x.parquet"
    for target in (places["live"], places["root"] / "logs" / "x.parquet", places["log"], above):
        done = unsafe(f"COPY (SELECT 1 AS x) TO '{target}' (FORMAT parquet, USE_TMP_FILE false)")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.endswith(f"Permission denied; {walled}\n")
    missing = unsafe(f"COPY (SELECT 1 AS x) TO '{tmp_path}/none/x.csv'").stderr
    assert missing.endswith(f'Cannot open file "{tmp_path}/none/x.csv": No such file or directory\n')
    assert contents(places["root"]) == before


def test_unsafe_in_a_program_is_what_the_program_may_do(places: dict[str, Path]) -> None:
    with Session.open(places["root"], Options(unsafe=True)) as session:
        with session.ask(f"SELECT a FROM read_csv('{places['secret']}') JOIN logs ON true LIMIT 1") as reader:
            assert reader.read_all().to_pylist() == [{"a": CANARY}]
        with pytest.raises(UsageError), session.ask("SELECT 1; SELECT 2"):
            pass
