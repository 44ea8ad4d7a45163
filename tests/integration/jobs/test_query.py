"""SQL over real landed tables: the committed rows and no others, pruned by hour, and nothing but reading."""

import csv
import io
import json
import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.cli import main
from headrace.errors import UsageError
from headrace.jobs.sql.query import ask
from headrace.jobs.sql.session import Session
from headrace.jobs.sql.tables import LandedTables
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table import names
from tests.landed_tables import ENVELOPE, TEXT, Event, TableWriter

T0 = 1_763_900_400_000  # 2025-11-23 12:20:00 UTC
HOUR = 3_600_000
EVENTS = [Event("a", n * 30, T0 + n * HOUR // 4, fields={"status": str(200 + n % 3)}) for n in range(12)]


@pytest.fixture(params=[True, False], ids=["columns in the log", "columns in footers only"], scope="module")
def says_columns(request):
    return request.param


@pytest.fixture
def root(tmp_path, says_columns):
    root = tmp_path / "data" / "landed"
    root.mkdir(parents=True)
    table = TableWriter(root, "my-topic", says_columns=says_columns)
    table.land_events(EVENTS[:8])
    table.land_events(EVENTS[8:], staged=True)
    TableWriter(root, "logs", says_columns=says_columns).land_events(EVENTS[:3])
    return root


def rows(root, sql):
    with ask(root, sql) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


def query(root, sql, *arguments):
    return main(["query", sql, "--root", str(root), *arguments])


def test_a_topic_is_a_table_whatever_letters_its_name_has(root):
    assert rows(root, 'SELECT count(*) FROM "my-topic"') == [(12,)]


def test_names_have_no_case_where_only_one_topic_fits(root):
    TableWriter(root, "Logs").land_events(EVENTS[:1])
    assert rows(root, 'SELECT count(*) FROM "MY-Topic"') == [(12,)]
    assert rows(root, 'SELECT count(*) FROM "Logs"') == [(1,)]
    assert rows(root, "SELECT count(*) FROM logs") == [(3,)]


def test_files_that_no_record_names_are_not_read(root):
    stranger = next((root / "my-topic").glob("dt=*/hour=*/*.parquet"))
    for directory in (stranger.parent, root / "my-topic" / names.STAGING / "dt=2025-11-23" / "hour=13"):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "stranger-0.parquet").write_bytes(stranger.read_bytes())
    assert rows(root, 'SELECT count(*) FROM "my-topic"') == [(12,)]


def test_dt_and_hour_come_from_the_path_with_their_types(root):
    sql = 'SELECT typeof(dt), typeof(hour), dt::VARCHAR, hour, count(*) FROM "my-topic" GROUP BY ALL ORDER BY hour'
    assert rows(root, sql) == [("DATE", "INTEGER", "2025-11-23", hour, n) for hour, n in [(12, 3), (13, 4), (14, 4), (15, 1)]]


def test_a_filter_on_the_hour_reads_that_hours_files_only(root):
    sql = "EXPLAIN ANALYZE SELECT max(position) FROM \"my-topic\" WHERE dt = '2025-11-23' AND hour = 13"
    ((_, plan),) = rows(root, sql)
    assert "hour=13" in plan
    assert not any(f"hour={hour}" in plan for hour in (12, 14, 15))


def test_damaged_rows_of_another_hour_do_not_matter_to_a_filtered_query(root, capsys):
    for file in (root / "my-topic").glob("dt=*/hour=12/*.parquet"):
        content = bytearray(file.read_bytes())
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        content[4:footer] = b"\xff" * (footer - 4)
        file.write_bytes(content)
    assert rows(root, 'SELECT count(DISTINCT message), max(position) FROM "my-topic" WHERE hour = 13') == [(1, 180)]
    assert query(root, 'SELECT count(DISTINCT message), max(position), max(host), max(stream_id) FROM "my-topic"') == 1
    assert f"verify the tables: headrace check --deep {root}\n" in capsys.readouterr().err


def test_maps_are_asked_by_key(root):
    assert rows(root, "SELECT fields['status'], count(*) FROM \"my-topic\" GROUP BY 1 ORDER BY 1") == [
        ("200", 4), ("201", 4), ("202", 4),
    ]  # fmt: skip


def test_schemas_are_united_by_name(root, says_columns):
    wider = ENVELOPE.append(pa.field("region", pa.string()))
    row = {**Event("a", 900, T0).row(), "region": "eu"}
    TableWriter(root, "my-topic", says_columns=says_columns).land([row], schema=wider)
    assert rows(root, 'SELECT region, count(*) FROM "my-topic" GROUP BY 1 ORDER BY 1') == [("eu", 1), (None, 12)]


def test_internal_tables_can_be_asked(root):
    TableWriter(root, "_audit", TEXT).land([{"_key": b"agent/a/r", "value": "{}", "_timestamp": T0}])
    assert rows(root, "SELECT _key, value FROM _audit") == [(b"agent/a/r", "{}")]


def test_a_table_without_files_is_empty(root):
    TableWriter(root, "nothing").land([], quarantined=[T0])
    assert rows(root, "SELECT count(*) FROM nothing") == [(0,)]


def test_tables_can_be_listed_and_described(root):
    assert rows(root, "SHOW TABLES") == [("logs",), ("my-topic",)]
    assert ("fields", "MAP(VARCHAR, VARCHAR)") in [row[:2] for row in rows(root, "DESCRIBE logs")]


def test_joins_subqueries_and_common_table_expressions_work(root):
    sql = 'WITH x AS (FROM logs) SELECT count(*) FROM x JOIN "my-topic" USING (position) WHERE position IN (FROM (SELECT 30))'
    assert rows(root, sql) == [(1,)]
    assert len(rows(root, 'PIVOT "my-topic" ON hour USING count(*) GROUP BY host')) == 1


@pytest.mark.parametrize("folder", ["env=prod", "it's [a] *?", "ä%20b"])
def test_the_folder_above_may_have_any_name(tmp_path, folder):
    root = tmp_path / folder
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    assert rows(root, "SELECT count(*) FROM logs WHERE hour = 13") == [(4,)]
    assert "env" not in [name for name, *_ in rows(root, "DESCRIBE logs")]


def test_a_folder_above_that_would_hide_the_hours_is_refused(tmp_path, capsys):
    root = tmp_path / "dt=1"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    assert query(root, "FROM logs") == 2
    assert "a folder named dt=… above the tables" in capsys.readouterr().err


@pytest.mark.parametrize(
    "sql",
    [
        "COPY logs TO '{out}'",
        "COPY logs TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE COPY logs TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
        "COPY (PIVOT logs ON hour USING count(*)) TO '{live}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}' AS x",
        "CREATE TABLE x AS FROM logs",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM glob('/*')",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_it_only_reads_and_only_the_tables(root, tmp_path, capsys, sql):
    live = next((root / "logs").glob("dt=*/hour=*/*.parquet"))
    before, out, secret = live.read_bytes(), tmp_path / "out", tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    assert query(root, sql.format(out=out, live=live, secret=secret)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()
    assert live.read_bytes() == before


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM lgos", "no table 'lgos'; did you mean logs? (tables: logs, my-topic)"),
        ("SELEC 1", 'SQL: Parser Error: syntax error at or near "SELEC"'),
        ("SELECT * FROM my-topic", 'SQL: my-topic is not a plain name: write it in double quotes, as FROM "my-topic"'),
        ("SELECT nope FROM logs", 'Referenced column "nope" not found'),
        ("SELECT message::INT FROM logs", "Could not convert string 'GET / 200'"),
    ],
)
def test_a_mistake_in_the_sql_exits_2_in_one_line(root, capsys, sql, said):
    assert query(root, sql) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_name_with_a_dot_that_was_not_quoted_is_explained(root, capsys):
    TableWriter(root, "shop.orders").land_events(EVENTS[:1])
    assert query(root, "SELECT * FROM shop.orders") == 2
    assert 'write it in double quotes, as FROM "shop.orders"' in capsys.readouterr().err
    assert rows(root, 'SELECT count(*) FROM "shop.orders"') == [(1,)]


def test_json_is_one_object_a_line(root, capsys):
    sql = (
        "SELECT min(event_time) AS at, min(dt) AS dt, first(fields) AS fields, 'ä\x1b' AS t, 1.5 AS f, sum(position) AS s, "
        "NULL AS z, 1 AS z, 'nan'::FLOAT AS n, '\\xFFa'::BLOB AS b, [1, NULL] AS l FROM logs"
    )
    assert query(root, sql, "--format", "json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "at": "2025-11-23T12:20:00Z", "dt": "2025-11-23", "fields": {"status": "200"}, "t": "ä\x1b", "f": 1.5, "s": 90,
        "z": None, "z_1": 1, "n": None, "b": "\\xFFa", "l": [1, None],
    }  # fmt: skip


def test_decimals_keep_every_digit(root, capsys):
    digits = "1234567890123456789012345678.9012345670"
    for format_, said in (("json", f'{{"d": {digits}}}'), ("csv", f"d\n{digits}")):
        assert query(root, f"SELECT {digits}::DECIMAL(38,10) AS d", "--format", format_) == 0
        assert capsys.readouterr().out == said + "\n"


def test_csv_quotes_what_needs_it(root, capsys):
    assert query(root, "SELECT 'a,\"b\"\nc' AS x, true AS y, fields AS z FROM logs LIMIT 1", "--format", "csv") == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["x", "y", "z"],
        ['a,"b"\nc', "true", '{"status": "200"}'],
    ]


def test_parquet_goes_to_a_file_with_its_types(root, tmp_path, capsys):
    assert query(root, "FROM logs", "--format", "parquet") == 2
    assert "add --output FILE.parquet" in capsys.readouterr().err
    file = tmp_path / "out.parquet"
    assert query(root, "FROM logs", "--format", "parquet", "--output", str(file)) == 0
    table = pq.read_table(file)
    assert (table.num_rows, table.schema.field("fields").type) == (3, pa.map_(pa.string(), pa.string()))
    assert sorted(os.listdir(tmp_path)) == ["data", "out.parquet"]


def test_the_table_for_people_counts_rows_and_shows_control_characters(root, capsys):
    assert query(root, "SELECT 'a\x1b[31m' || repeat('x', 200) AS x FROM logs") == 0
    out = capsys.readouterr().out
    assert "a\\x1b[31mxxx" in out
    assert "…" in out
    assert out.splitlines()[-1] == "3 rows"


def test_an_output_that_cannot_be_is_refused_before_anything_is_read(root, tmp_path, capsys):
    assert query(root, "FROM logs", "--output", str(tmp_path)) == 2
    assert query(root, "FROM logs", "--output", str(tmp_path / "no" / "file.csv"), "--format", "csv") == 2
    assert "make it first" in capsys.readouterr().err


def test_the_place_is_data_or_its_landed_root_or_the_environments(root, capsys, monkeypatch):
    assert main(["query", "SELECT count(*) AS n FROM logs", "--data", str(root.parent), "--format", "csv"]) == 0
    monkeypatch.setenv("HEADRACE_DATA", str(root.parent))
    assert main(["query", "SELECT count(*) AS n FROM logs", "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["n", "3", "n", "3"]
    assert main(["query", "SELECT 1", "--root", "ftp://bucket/landed"]) == 2
    assert main(["query", "SELECT 1", "--data", str(root / "missing")]) == 2
    assert "no landed tables there; name a data directory" in capsys.readouterr().err


class TablesWhoseFilesMove(LandedTables):
    """Something happens after a table's files were found, and before DuckDB opens them."""

    def __init__(self, root, meanwhile):
        super().__init__(str(root))
        self._meanwhile = meanwhile

    def open(self, topic, as_of):
        table = super().open(topic, as_of)

        def locate(files):
            found = table.locate(files)
            self._meanwhile()
            return found

        return replace(table, locate=locate)


def test_a_file_that_moves_into_place_after_it_was_found_is_read(root):
    staged = root / "my-topic" / names.STAGING

    def move():
        for file in list(staged.rglob("*.parquet")):
            LocalStore(root / "my-topic").move(names.staged(str(file.relative_to(staged))), str(file.relative_to(staged)))

    with Session(TablesWhoseFilesMove(root, move)) as session, session.ask('SELECT count(*) FROM "my-topic"') as reader:
        assert reader.read_all().to_pylist() == [{"count_star()": 12}]
    assert not list(staged.rglob("*.parquet"))


def test_a_session_sees_what_lands_between_its_statements(root):
    with Session.open(root) as session:
        for more in range(3):
            with session.ask("SELECT count(*) AS n, max(dt) FILTER (false) AS none FROM logs") as reader:
                assert reader.read_all().to_pylist() == [{"n": 3 + more, "none": None}]
            TableWriter(root, "logs").land_events([Event("a", 900 + more, T0)])
        with pytest.raises(UsageError), session.ask("SELECT nothing FROM logs"):
            pass
        with session.ask("SHOW TABLES") as reader:
            assert reader.read_all().column(0).to_pylist() == session.tables == ["logs", "my-topic"]


@pytest.fixture(params=["root", "a link to root"])
def root_of_many_staged_files(tmp_path, request):
    """More rows than are read ahead, over many files that still lie in staging."""
    root = tmp_path / "data" / "landed"
    root.mkdir(parents=True)
    events = [Event("a", n * 30, T0 + n // 8 * HOUR, message=f"{n}" * 6_000) for n in range(800)]
    TableWriter(root, "logs").land_events(events, staged=True)
    if request.param == "root":
        return root
    (tmp_path / "link").symlink_to(root)
    return tmp_path / "link"


def test_files_may_move_on_while_the_answer_is_read(root_of_many_staged_files):
    root = root_of_many_staged_files
    staged = root / "logs" / names.STAGING
    with ask(root, "SELECT position, hour, message FROM logs") as reader:
        first = next(iter(reader))
        for file in list(staged.rglob("*.parquet")):
            LocalStore(root / "logs").move(names.staged(str(file.relative_to(staged))), str(file.relative_to(staged)))
        rest = reader.read_all()
    assert sorted([*first["position"].to_pylist(), *rest["position"].to_pylist()]) == [n * 30 for n in range(800)]
    assert set(rest["hour"].to_pylist()) == set(range(24))
