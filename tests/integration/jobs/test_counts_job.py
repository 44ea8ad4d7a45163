"""The Beam job `counts` over real landed tables says the same as SQL."""

import json

import pyarrow.parquet as pq
import pytest

from headrace.cli import main
from headrace.jobs.sql.query import ask
from tests.landed_tables import TEXT, AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000
EVENTS = [Event("a", n * 30, T0 + n * 700_000, host=f"web-{n % 3}") for n in range(40)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("jobs") / "landed"
    root.mkdir()
    logs = TableWriter(root, "logs")
    logs.land_events(EVENTS[:25])
    logs.land_events(EVENTS[25:], staged=True)
    TableWriter(root, "orders", TEXT).land([{"_key": None, "value": "{}", "_timestamp": T0 + n * 900_000} for n in range(9)])
    TableWriter(root, "empty").land([], quarantined=[T0])
    AuditWriter(root).land(*announce("logs", EVENTS, T0, acked={0: 40}))
    stranger = next((root / "logs").glob("dt=*/hour=*/*.parquet"))
    stranger.with_name("stranger-0.parquet").write_bytes(stranger.read_bytes())
    return root


def test_counts_are_those_of_sql_and_of_user_topics_only(root, tmp_path, capsys):
    file = tmp_path / "counts.json"
    assert main(["job", "run", "counts", "--root", str(root), "--output", str(file)]) == 0
    counted = [tuple(json.loads(line).values()) for line in file.read_text().splitlines()]
    hour = "strftime(dt, '%Y-%m-%d') || format('T{:02d}:00:00Z', hour)"
    sql = (
        f"SELECT 'logs' AS topic, host, {hour} AS h, count(*) AS n FROM logs GROUP BY ALL UNION ALL "
        f"SELECT 'orders', NULL, {hour} AS h, count(*) FROM orders GROUP BY ALL ORDER BY 1, 3, 2"
    )
    with ask(root, sql) as reader:
        assert counted == [tuple(row.values()) for row in reader.read_all().to_pylist()]
    assert sum(events for *_, events in counted) == 49
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_counts_as_parquet_have_a_time_for_their_hour(root, tmp_path):
    file = tmp_path / "counts.parquet"
    assert main(["job", "run", "counts", "--root", str(root), "--output", str(file)]) == 0
    table = pq.read_table(file)
    assert str(table.schema.field("hour").type).startswith("timestamp")
    assert sum(table["events"].to_pylist()) == 49


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["count"], "no job 'count'; did you mean counts? (jobs: counts,"),
        (["counts", "--output", "counts.xls"], "--output counts.xls: end its name in .parquet"),
        (["counts", "--output", "{root}/logs/counts.csv"], "lies among the landed tables"),
        (["counts", "--runner", "Nope"], "--runner Nope: there is no such runner (Unexpected pipeline runner"),
    ],
)
def test_usage_errors_exit_2_in_one_line(root, capsys, arguments, said):
    assert main(["job", "run", *(each.format(root=root) for each in arguments), "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
