"""Which files a statement opens: those that the table log cannot leave out, and an answer that does not depend on it."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.errors import StorageError
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.session import Session
from headrace.jobs.sql.tables import LandedTables, OpenTable
from headrace.sinks.table.reader import LiveFile, snapshot
from headrace.sinks.table.record import DataFile
from tests.landed_tables import ENVELOPE, Event, TableWriter

YEAR = 1_735_689_600_000  # 2025-01-01 00:00:00 UTC
HOUR = 3_600_000
Row = dict[str, Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table `year` with some hours of each month, four events an hour, and a small one, `other`."""
    root = tmp_path_factory.mktemp("landed")
    table = TableWriter(root, "year", says_columns=True)
    hours = [day * 24 + hour for day in range(0, 365, 30) for hour in (0, 7, 13, 14, 23)]
    table.land_events(
        [
            Event(
                f"agent-{hour % 3}",
                hour * 100 + n,
                YEAR + hour * HOUR + n * HOUR // 4,
                message=f"GET /{n} {hour}",
                read_ms=YEAR + (hour + 1) * HOUR,
                fields={"user": f"u{n}", "status": str(200 + n)},
            )
            for hour in hours
            for n in range(4)
        ]
    )
    TableWriter(root, "other", says_columns=True).land_events([Event("b", n, YEAR + n * HOUR) for n in range(8)])
    return root


@pytest.fixture(scope="module")
def session(root: Path) -> Iterator[Session]:
    with Session.open(root) as session:
        yield session


def ask(session: Session, sql: str) -> tuple[list[Row], int]:
    """The rows, and how many files were opened for them."""
    with session.ask(sql) as reader:
        rows = reader.read_all().to_pylist()
    return rows, session.progress.needed


@pytest.mark.parametrize(
    ("where", "files"),
    [
        ("event_time >= '2025-01-31 13:00' AND event_time < '2025-01-31 14:00'", 1),
        ("event_time BETWEEN '2025-01-31 13:00' AND '2025-01-31 14:00'", 2),
        ("event_time > TIMESTAMPTZ '2025-01-31 13:46:00+00' AND event_time < '2025-01-31 23:59'", 2),
        ("date_trunc('hour', event_time) = '2025-01-31 13:00'", 1),
        ("date_trunc('day', event_time) = '2025-01-31'", 5),
        ("event_time::DATE = '2025-01-31' AND message LIKE '%1%'", 5),
        ("event_time::DATE = '2025-01-31'", 5),
        ("event_time::TIMESTAMP >= '2025-01-31' AND dt::TIMESTAMP < '2025-02-01'", 5),
        ("dt >= now()", 0),
        ("dt = '2025-01-31' AND hour = 13", 1),
        ("dt = DATE '2025-01-31' AND hour IN (7, 13, 14)", 3),
        ("dt = '2025-01-31' AND hour IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)", 2),
        ("dt BETWEEN '2025-01-31' AND '2025-03-02' AND hour = 7", 2),
        ("(dt = '2025-01-31' AND hour = 23) OR (dt = '2025-03-02' AND hour = 0)", 2),
        ("NOT (dt > '2025-01-01' OR hour <> 7)", 1),
        ("year(dt) = 2024", 0),
        ("_timestamp < '2025-01-01 01:30'", 1),
        ("_offset < 4", 1),
        ("_offset BETWEEN 4 AND 11 AND _partition = 0", 2),
        ("_partition = 3", 0),
        ("fields['user'] = 'u1' AND hour = 7", 13),
        ("hour = 7 AND dt::VARCHAR LIKE '2025-01%'", 13),
        ("event_time > now()", 0),
        ("event_time IS NOT NULL", 65),
        ("hour = 7 OR message = 'x'", 65),
        ("event_time::VARCHAR > '2025-06'", 65),
        ("extract(minute FROM event_time) = 3", 65),
        ("dt = (SELECT max(dt) FROM other)", 65),
        ("dt = (SELECT max(dt) FROM other WHERE message = 'x')", 65 + 8),
        ("message = 'a'' AND hour = 7'", 65),
    ],
)
def test_what_a_filter_leaves_out_is_not_opened(session: Session, where: str, files: int) -> None:
    assert ask(session, f"SELECT count(*) AS n FROM year WHERE {where}")[1] == files


@pytest.mark.parametrize(
    ("sql", "files"),
    [
        ("SELECT count(*) FROM year a JOIN other b USING (dt, hour) WHERE b.dt = '2025-01-01' AND b.hour = 7", 1 + 1),
        ("WITH x AS (FROM year WHERE hour = 7) SELECT count(*) FROM x WHERE dt = '2025-01-01'", 1),
        ("SELECT count(*) FROM (SELECT dt AS day, hour AS h FROM year) WHERE day = '2025-01-01' AND h = 7", 1),
        ("SELECT * FROM year WHERE dt = '2025-01-01' AND hour = 7 UNION ALL FROM year WHERE dt = '2025-01-31' AND hour = 0", 2),
        ("SELECT (SELECT count(*) FROM other WHERE hour = 3), count(*) FROM year WHERE dt = '2025-01-01'", 1 + 5),
        ("SELECT count(*) FROM year LEFT JOIN other USING (position) WHERE other.hour = 3 OR year.hour = 7", 65 + 8),
        ("FROM (FROM year LIMIT 3) WHERE hour = 7", 65),
        ("SELECT count(*) FILTER (WHERE hour = 7) FROM year", 65),
        ("SELECT hour FROM (SELECT read_time AS event_time, message, hour FROM year) WHERE event_time < '2025-01-01 01:30'", 1),
        ("SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY dt ORDER BY event_time) AS r FROM year) WHERE r = 1", 65),
        ("SELECT * FROM year WHERE false", 0),
        ("SUMMARIZE year", 65),
        (
            "SELECT sum(b.position) FROM year a JOIN year b USING (dt) WHERE a.hour = 7 AND b.hour = 13 AND dt = '2025-01-31'",
            2,
        ),
        ("SELECT max(dt) FROM year", 0),
        ("SELECT count(DISTINCT dt) FROM year WHERE dt > '2025-03-01'", 0),
        ("SELECT DISTINCT dt, hour FROM year WHERE hour + 1 = 8 ORDER BY ALL DESC LIMIT 3", 0),
        ("SELECT dt FROM year GROUP BY dt HAVING max(hour) > 3", 0),
        ("SELECT count(message) FROM year WHERE dt = '2025-01-31' AND hour = (SELECT max(hour) FROM year)", 5),
        ("SELECT max(dt), max(position) FROM year", 65),
        ("SELECT dt, count(*) FROM year GROUP BY dt", 65),
        ("SELECT max(dt) FROM (FROM year LIMIT 3)", 65),
        ("SELECT max(dt) FROM year TABLESAMPLE 10 ROWS", 65),
        ("WITH x AS MATERIALIZED (FROM year) SELECT max(dt) FROM x", 65),
    ],
)
def test_filters_count_wherever_they_stand(session: Session, sql: str, files: int) -> None:
    assert ask(session, sql)[1] == files


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(message) AS n FROM logs WHERE dt = (SELECT max(dt) FROM logs)",
        "SELECT count(message) AS n FROM logs WHERE dt IN (SELECT DISTINCT dt FROM logs ORDER BY dt DESC LIMIT 1)",
        "SELECT count(logs.message) AS n FROM logs JOIN alarms USING (dt) WHERE alarms.message = 'fire'",
        "SELECT count(message) AS n FROM logs WHERE dt IN (SELECT dt FROM alarms WHERE message = 'fire')",
        "WITH last AS (SELECT max(dt) AS day FROM logs) SELECT count(message) AS n FROM logs, last WHERE dt = day",
    ],
)
def test_days_that_a_join_leaves_out_are_not_read(tmp_path: Path, sql: str) -> None:
    """All files between the first, which tells the columns, and the last day's are damaged: to open one is an error."""
    days = [Event("a", n, YEAR + n * 24 * HOUR) for n in range(30)]
    paths = TableWriter(tmp_path, "logs", says_columns=True).land_events(days)
    alarms = [replace(days[n], message="fire" if n == 29 else "smoke") for n in (3, 17, 29)]
    TableWriter(tmp_path, "alarms", says_columns=True).land_events(alarms)
    for path in paths[1:-1]:
        path.write_bytes(b"x" * path.stat().st_size)
    with Session.open(tmp_path) as session:
        assert ask(session, sql)[0] == [{"n": 1}]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT year.dt AS d FROM year JOIN year AS b USING (position) ORDER BY ALL LIMIT 1", date(2025, 1, 1)),
        ("SELECT main.year.dt AS d FROM year WHERE dt = (SELECT max(dt) FROM main.year) LIMIT 1", date(2025, 12, 27)),
        (
            "WITH year AS (SELECT dt FROM main.year WHERE hour = 7) SELECT max(year.dt) AS d FROM year, main.year AS other",
            date(2025, 12, 27),
        ),
        ("SELECT max(dt) AS d FROM year WHERE hour > 23", None),
    ],
)
def test_a_table_that_is_named_twice_is_called_as_it_was(session: Session, sql: str, expected: date | None) -> None:
    assert ask(session, sql)[0] == [{"d": expected}]


def test_a_damaged_file_that_is_left_out_is_not_noticed(tmp_path: Path) -> None:
    paths = TableWriter(tmp_path, "logs", says_columns=True).land_events([Event("a", n, YEAR + n * HOUR) for n in range(5)])
    paths[2].write_bytes(b"x" * paths[2].stat().st_size)
    with Session.open(tmp_path) as session:
        assert ask(session, "SELECT count(*) AS n FROM logs WHERE event_time < '2025-01-01 02:00'") == ([{"n": 2}], 2)


def test_rows_without_a_calendars_time_are_found_by_it(tmp_path: Path) -> None:
    """Their files lie by the time of their record, which is not in the column that a statement asks."""
    table = TableWriter(tmp_path, "logs", says_columns=True)
    rows = [{**Event("a", n, YEAR).row(), "event_time": at} for n, at in enumerate([None, -(1 << 60), YEAR * 1000])]
    table.land(rows)
    with Session.open(tmp_path) as session:
        assert ask(session, "SELECT position AS p FROM logs WHERE event_time < '1000-01-01'")[0] == [{"p": 1}]
        assert ask(session, "SELECT position AS p FROM logs WHERE event_time IS NULL")[0] == [{"p": 0}]


def test_files_of_an_earlier_headrace_are_never_left_out(tmp_path: Path) -> None:
    TableWriter(tmp_path, "logs").land_events([Event("a", 1, YEAR)])
    TableWriter(tmp_path, "logs", says_columns=True).land_events([Event("a", n, YEAR + n * HOUR) for n in range(5, 9)])
    with Session.open(tmp_path) as session:
        assert ask(session, "SELECT count(*) AS n FROM logs WHERE hour = 5") == ([{"n": 1}], 2)


def test_now_is_one_moment_for_the_plan_and_the_rows(tmp_path: Path) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    table = TableWriter(tmp_path, "logs", says_columns=True)
    table.land_events([Event("a", 1, now_ms - HOUR), Event("a", 2, now_ms + 100 * HOUR)])
    with Session.open(tmp_path) as session:
        assert ask(session, "SELECT position FROM logs WHERE event_time < now()") == ([{"position": 1}], 1)
        assert ask(session, "SELECT position FROM logs WHERE event_time > now() + INTERVAL 1 DAY") == ([{"position": 2}], 1)


@dataclass(frozen=True)
class Condition:
    """A condition in SQL, and in Python over a row; None: unknown, as in SQL."""

    sql: str
    holds: Callable[[Row], bool | None]


def random_condition(rng: random.Random, depth: int = 0) -> Condition:
    if depth < 3 and rng.random() < 0.5:
        one, other = random_condition(rng, depth + 1), random_condition(rng, depth + 1)
        match rng.choice(["AND", "OR", "NOT"]):
            case "AND":
                return Condition(f"({one.sql} AND {other.sql})", lambda row: conjunction(one.holds(row), other.holds(row)))
            case "OR":
                negated = lambda value: None if value is None else not value  # noqa: E731
                return Condition(
                    f"({one.sql} OR {other.sql})",
                    lambda row: negated(conjunction(negated(one.holds(row)), negated(other.holds(row)))),
                )
            case _:
                return Condition(f"(NOT {one.sql})", lambda row: None if (value := one.holds(row)) is None else not value)
    return random_comparison(rng)


def conjunction(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
}


def random_comparison(rng: random.Random) -> Condition:
    hour_ms = YEAR + rng.choice([0, 30, 60, 180, 330]) * 24 * HOUR + rng.choice([0, 6, 7, 13, 14, 15, 23]) * HOUR
    moment = datetime.fromtimestamp((hour_ms + rng.choice([0, 0, 1, HOUR // 4])) / 1000, UTC)
    column, value, text = rng.choice(
        [
            ("event_time", moment, f"TIMESTAMPTZ '{moment.isoformat()}'"),
            ("event_time", moment, f"'{moment.isoformat()}'"),
            ("_timestamp", moment, f"TIMESTAMPTZ '{moment.isoformat()}'"),
            ("dt", moment.date(), f"DATE '{moment.date()}'"),
            ("hour", moment.hour, str(moment.hour)),
            ("_offset", offset := rng.randrange(270), str(offset)),
            ("position", position := rng.randrange(100_000), str(position)),
        ]
    )
    match rng.randrange(8):
        case 0:
            high = value if not isinstance(value, int) else value + 5
            text_high = text if not isinstance(value, int) else str(high)
            return Condition(f"{column} BETWEEN {text} AND {text_high}", lambda row: value <= row[column] <= high)
        case 1:
            return Condition(f"{column} IN ({text}, {text})", lambda row: row[column] == value)
        case 2:
            floored = moment.replace(minute=0, second=0, microsecond=0)
            sign = rng.choice(list(COMPARE))
            return Condition(
                f"date_trunc('hour', event_time) {sign} TIMESTAMPTZ '{floored.isoformat()}'",
                lambda row: COMPARE[sign](row["event_time"].replace(minute=0, second=0, microsecond=0), floored),
            )
        case 3:
            sign = rng.choice(list(COMPARE))
            return Condition(
                f"event_time::DATE {sign} '{moment.date()}'", lambda row: COMPARE[sign](row["event_time"].date(), moment.date())
            )
        case 4:
            return Condition(f"{column} IS NULL", lambda _: False)
    sign = rng.choice(list(COMPARE))
    if rng.random() < 0.3:
        return Condition(f"{text} {sign} {column}", lambda row: COMPARE[sign](value, row[column]))
    return Condition(f"{column} {sign} {text}", lambda row: COMPARE[sign](row[column], value))


def rows_by_hand(root: Path, topic: str) -> list[Row]:
    """The rows of a table by its log and pyarrow alone."""
    return [
        {**row, "dt": date.fromisoformat(file.dt), "hour": int(file.hour)}
        for file in snapshot(root, topic).files
        for row in pq.ParquetFile(file.path).read().to_pylist()
    ]


@pytest.mark.parametrize("seed", range(8))
def test_random_filters_give_what_a_reader_by_hand_gives(root: Path, session: Session, seed: int) -> None:
    rng, rows = random.Random(seed), rows_by_hand(root, "year")
    for _ in range(12):
        condition = random_condition(rng)
        answer, _ = ask(session, f"SELECT position FROM year WHERE {condition.sql} ORDER BY position")
        expected = sorted(row["position"] for row in rows if condition.holds(row))
        assert [row["position"] for row in answer] == expected, condition.sql


class Unpruned(LandedTables):
    """Tables whose log says nothing of their files."""

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        table = super().open(topic, as_of)
        return replace(table, files=tuple(replace(file, bounds=None, columns=None) for file in table.files))


def test_random_statements_give_the_same_without_the_log(root: Path, session: Session) -> None:
    rng = random.Random(5)
    with Session(Unpruned(str(root)), Options()) as unpruned:
        for _ in range(12):
            one, other = random_condition(rng).sql, random_condition(rng, 2).sql
            where = one.replace("position", "a.position").replace("event_time", "a.event_time")
            for column in ("dt", "hour", "_offset", "_timestamp"):
                where = where.replace(f" {column} ", f" a.{column} ").replace(f"({column} ", f"(a.{column} ")
            sql = rng.choice(
                [
                    f"SELECT count(*), sum(position) FROM year WHERE {one}",
                    f"SELECT hour, count(*) FROM year WHERE {one} GROUP BY ALL ORDER BY ALL",
                    f"WITH x AS (FROM year WHERE {one}) SELECT count(*), max(event_time) FROM x WHERE {other}",
                    f"SELECT count(*) FROM (FROM year WHERE {one} UNION ALL FROM year WHERE {other})",
                    f"SELECT count(*) FROM year WHERE {one} AND dt IN (SELECT dt FROM other)",
                    f"SELECT count(*), min(position) FROM year WHERE dt >= (SELECT min(dt) FROM year WHERE {other})",
                    f"SELECT max(dt), min(hour) FROM year WHERE {other}",
                    f"SELECT count(*) FROM (FROM year WHERE {one}) a LEFT JOIN (FROM other WHERE {other}) b USING (hour)",
                    f"SELECT count(*), min(h) FROM (SELECT hour + 1 AS h, * FROM year) WHERE {one} AND h < 20",
                ]
            )
            assert ask(session, sql)[0] == ask(unpruned, sql)[0], sql
            assert unpruned.progress.needed == unpruned.progress.files


def test_columns_that_changed_inside_of_columns_are_whole(tmp_path: Path) -> None:
    own = [field for field in ENVELOPE if field.name[0] == "_"]
    first = pa.schema([("n", pa.int32()), ("s", pa.struct([("x", pa.int32())])), *own])
    inner = pa.struct([("x", pa.int64()), ("y", pa.string())])
    then = pa.schema([("n", pa.int64()), ("s", inner), ("l", pa.list_(inner)), *own])
    table = TableWriter(tmp_path, "t", first, says_columns=True)
    table.land([{"n": 1, "s": {"x": 1}, "_timestamp": YEAR}])
    table.land([{"n": 2**40, "s": {"x": 2, "y": "b"}, "l": [{"x": 3}], "_timestamp": YEAR + HOUR}], schema=then)
    with Session.open(tmp_path) as session:
        rows = [
            {"n": 1, "s": {"x": 1, "y": None}, "l": None},
            {"n": 2**40, "s": {"x": 2, "y": "b"}, "l": [{"x": 3, "y": None}]},
        ]
        assert ask(session, "SELECT n, s, l FROM t ORDER BY n") == (rows, 2)
        assert ask(session, "SELECT n, s, l FROM t WHERE hour = 0") == (rows[:1], 1)
        assert ask(session, "SELECT l FROM t WHERE hour = 9") == ([], 0)


class TablesOfALoader(LandedTables):
    """A file is taken out as soon as it is found, so many times."""

    def __init__(self, root: Path, writer: TableWriter, times: int) -> None:
        super().__init__(str(root))
        self.writer, self.times = writer, times

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        table = super().open(topic, as_of)

        def locate(files: Sequence[DataFile]) -> list[LiveFile]:
            found = table.locate(files)
            if self.times:
                self.times -= 1
                self.writer.take_out(files[-1].path)
            return found

        return replace(table, locate=locate)


@pytest.mark.parametrize("sql", ["SELECT count(*) AS n FROM t", "FROM t ORDER BY position", "SELECT max(message) FROM t"])
def test_a_file_that_is_taken_out_while_it_is_asked_begins_the_statement_anew(tmp_path: Path, sql: str) -> None:
    writer = TableWriter(tmp_path, "t", says_columns=True)
    writer.land_events([Event("a", n, YEAR + n * HOUR) for n in range(9)])
    with Session(TablesOfALoader(tmp_path, writer, 2)) as session, session.ask(sql) as reader:
        assert reader.read_all().num_rows == (7 if sql.startswith("FROM") else 1)
        assert session.progress.files == 7
    with (
        Session(TablesOfALoader(tmp_path, writer, 3)) as session,
        pytest.raises(StorageError, match="taken out meanwhile, or is lost: ask again"),
        session.ask(sql),
    ):
        pass
