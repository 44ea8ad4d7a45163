"""Random tables, random statements, and an answer by hand: the log's own JSON, the files by other readers, and plain Python.

Tables come from columns that come, grow and go over records, in three formats, with and without what the log says of files;
records bring quarantined rows, a topic made anew, and take files out; jobs' tables are replaced slice by slice. The reader by
hand shares nothing with ours but pyarrow's Parquet: Avro is read by fastavro, JSON by zstandard and json.
"""

import io
import json
import math
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from headrace.clock import SystemClock
from headrace.jobs.sql.session import Session
from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.derived.slices import day
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.formats.catalog import SUFFIXES
from headrace.sinks.table.commit import commit, read_head
from headrace.sinks.table.record import CommitRecord, DataFile, Job, OffsetRange
from headrace.sinks.table.store import carry_out
from tests.landed_tables import ENVELOPE, TableWriter

T0, HOUR, DAY = 1_763_856_000_000, 3_600_000, 86_400_000  # 2025-11-23 00:00 UTC
Row = dict[str, Any]
OWN = [column for column in ENVELOPE if column.name[0] == "_"]
COLUMNS = [
    pa.field("event_time", pa.timestamp("us", tz="UTC")),
    pa.field("host", pa.string()),
    pa.field("n", pa.int32()),
    pa.field("ratio", pa.float64()),
    pa.field("ok", pa.bool_()),
    pa.field("fields", pa.map_(pa.string(), pa.string())),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("place", pa.struct([("x", pa.int64()), ("name", pa.string())])),
]
MOST_DAYS = 3


class Writer(TableWriter):
    """Lands in any format, as a loader would write it."""

    output = Output()
    is_older = False
    """Whether an earlier headrace writes, whose records say nothing of columns and bounds."""

    def _write(self, attempt: str, n: int, rows: list[Row], schema: pa.Schema) -> DataFile:
        times = [int(row["_event_ms"]) for row in rows]
        hour = datetime.fromtimestamp(times[0] / 1000, UTC)
        path = f"dt={hour:%Y-%m-%d}/hour={hour:%H}/{attempt}-{n}{SUFFIXES[self.output.format]}"
        file = LandingFile(self.store, path, schema, self.output)
        offsets = OffsetRange(rows[0]["_incarnation"], rows[0]["_partition"], rows[0]["_offset"], rows[-1]["_offset"] + 1)
        file.append(pa.Table.from_pylist(rows, schema=schema), pa.chunked_array([pa.array(times)]), [offsets])
        done = file.close([])
        return replace(done, columns=None, bounds=None, ranges=()) if self.is_older else done

    def expire(self, paths: tuple[str, ...]) -> None:
        fold, clock = carry_out(read_head(), self.store), SystemClock()
        draft = CommitRecord("expire", str(uuid.uuid4()), "test:1", clock.wall_ms(), remove=paths)
        carry_out(commit(draft, fold, started_ms=clock.monotonic_ms()), self.store, clock)


def random_rows(rng: random.Random, schema: pa.Schema, count: int) -> list[Row]:
    return [_row(rng, schema) for _ in range(count)]


def _row(rng: random.Random, schema: pa.Schema) -> Row:
    event_ms = T0 + rng.randrange(MOST_DAYS) * DAY + rng.choice([0, 7, 13]) * HOUR + rng.randrange(HOUR)
    values: Row = {
        "event_time": event_ms * 1000 + rng.randrange(1000),
        "host": rng.choice(["web-1", "web-2", "grüße'", ""]),
        "n": rng.randrange(-20, 20),
        "ratio": rng.choice([math.nan, math.inf, *(number / 4 for number in range(-8, 8))]),
        "ok": rng.random() < 0.5,
        "fields": [(key, rng.choice("xyz")) for key in rng.sample(["user", "status", "a b"], rng.randrange(4))],
        "tags": [rng.choice(["t", None, ""]) for _ in range(rng.randrange(3))],
        "place": {"x": rng.choice([None, 1, 2**40]), "name": rng.choice([None, "here"])},
    }
    wide = "n" in schema.names and schema.field("n").type == pa.int64()
    values["n"] += (1 << 40) if wide and rng.random() < 0.3 else 0
    kept = {name: None if name != "event_time" and rng.random() < 0.15 else values[name] for name in values}
    return {**{name: kept[name] for name in kept if name in schema.names}, "_timestamp": event_ms + 5, "_event_ms": event_ms}


def schemas(rng: random.Random) -> Iterator[pa.Schema]:
    """The columns of record after record: new ones come, old ones go, and `n` grows once."""
    others, is_wide = COLUMNS[1:], False
    while True:
        is_wide = is_wide or rng.random() < 0.3
        chosen = [column for column in others if rng.random() < 0.75]
        chosen = [column.with_type(pa.int64()) if column.name == "n" and is_wide else column for column in chosen]
        yield pa.schema([COLUMNS[0], *chosen, *OWN])


@dataclass
class History:
    """A root with tables `a`, `b` and `job`, and which records there are."""

    root: Path
    rng: random.Random
    records: dict[str, int] = field(default_factory=dict)

    def make(self) -> None:
        for topic in ("a", "b"):
            self._land(topic)
        self._replace()

    def _land(self, topic: str) -> None:
        rng, writer = self.rng, Writer(self.root, topic, says_columns=True)
        incarnation, shapes = 0, schemas(rng)
        for _ in range(rng.randrange(3, 7)):
            writer.output = Output(format=rng.choice(["parquet", "parquet", "avro", "json"]))
            writer.is_older = writer.output.format == "parquet" and rng.random() < 0.2
            incarnation += rng.random() < 0.2  # the topic was deleted, and made again
            schema = next(shapes)
            rows = random_rows(rng, schema, rng.randrange(1, 12))
            quarantined = [T0] * rng.choice([0, 0, 2])
            writer.land(rows, schema=schema, incarnation=incarnation, partition=rng.randrange(2), quarantined=quarantined)
        live = sorted(carry_out(read_head(), writer.store).files)
        if len(live) > 2 and rng.random() < 0.7:
            writer.expire(tuple(rng.sample(live, len(live) // 3)))
        self.records[topic] = carry_out(read_head(), writer.store).seq

    def _replace(self) -> None:
        """Each slice is written up to twice; the second replaces the first, and may be empty."""
        table, schema = DerivedTable(self.root, "job", SystemClock()), pa.schema([("host", pa.string()), ("n", pa.int64())])
        for number in range(MOST_DAYS):
            for _ in range(self.rng.randrange(1, 3)):
                run = table.begin(day(date(2025, 11, 23 + number)), schema)
                rows = random_rows(self.rng, schema, self.rng.randrange(6))
                plain = [{"host": row["host"], "n": row["n"]} for row in rows]
                file = run.staging.write([pa.Table.from_pylist(plain, schema=schema)])
                run.commit([file] if file else [], Job("job", "1"))


def by_hand(root: Path, topic: str, upto: int | None = None) -> list[Row]:
    """The rows of a table after a record of its log, by the log's JSON and other readers."""
    live: dict[str, str] = {}
    for path in sorted((root / topic / "_headrace/log/g000001").glob("*.json")):
        record = json.loads(path.read_bytes())
        if upto is None or record["seq"] <= upto:
            for name in record["remove"]:
                live.pop(name)
            live |= {file["path"]: file["format"] for file in record["add"]}
    return [row for name, kind in live.items() for row in _rows_of(root / topic, name, kind)]


def _rows_of(table: Path, name: str, kind: str) -> Iterator[Row]:
    places = [table / folder / name for folder in ("_headrace/staging", "", "_headrace/removed")]
    data = next(path for path in places if path.exists()).read_bytes()
    keys = dict(part.split("=") for part in name.split("/")[:-1])
    match kind:
        case "parquet":
            rows = pq.ParquetFile(io.BytesIO(data)).read().to_pylist()
        case "avro":
            rows = list(fastavro.reader(io.BytesIO(data)))
        case _:
            text = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read().decode()
            rows = [json.loads(line) for line in text.split("\n") if line]
    for row in rows:
        hour = {"hour": int(keys["hour"])} if "hour" in keys else {}
        yield {**{name: _plain(name, value) for name, value in row.items()}, "dt": date.fromisoformat(keys["dt"]), **hour}


def _plain(name: str, value: Any) -> Any:
    """A value as Python has it, whichever format it was in."""
    if name in ("event_time", "_timestamp") and isinstance(value, str):
        return datetime.fromisoformat(value)
    if name == "fields" and value is not None:
        return dict(value)
    return float(value) if name == "ratio" and value is not None else value


@dataclass(frozen=True)
class Condition:
    """In SQL, and in Python of values that are there: where a column is null, the condition is not true."""

    sql: str
    column: str
    holds: Callable[[Any], bool]

    def keeps(self, row: Row) -> bool:
        return row.get(self.column) is not None and self.holds(row[self.column])


def condition(rng: random.Random, columns: Sequence[str]) -> Condition:
    n, day_, hour = rng.randrange(-20, 20), date(2025, 11, 23 + rng.randrange(MOST_DAYS)), rng.choice([0, 7, 13])
    at = datetime.fromtimestamp((T0 + rng.randrange(MOST_DAYS * DAY)) / 1000, UTC)
    every = [
        Condition(f"event_time >= '{at.isoformat()}'", "event_time", lambda value: value >= at),
        Condition(f"event_time < TIMESTAMPTZ '{at.isoformat()}'", "event_time", lambda value: value < at),
        Condition(f"date_trunc('day', event_time) = '{day_}'", "event_time", lambda value: value.date() == day_),
        Condition(f"_timestamp > '{at.isoformat()}'", "_timestamp", lambda value: value > at),
        Condition(f"dt = '{day_}'", "dt", lambda value: value == day_),
        Condition(f"dt > '{day_}'", "dt", lambda value: value > day_),
        Condition(f"hour IN ({hour}, 23)", "hour", lambda value: value in (hour, 23)),
        Condition("_incarnation = 0", "_incarnation", lambda value: value == 0),
        Condition(f"_offset BETWEEN 2 AND {abs(n)}", "_offset", lambda value: 2 <= value <= abs(n)),
        Condition(f"n <= {n}", "n", lambda value: value <= n),
        Condition(f"n <> {n}", "n", lambda value: value != n),
        Condition("host LIKE 'web-%'", "host", lambda value: value.startswith("web-")),
        Condition("host = 'grüße'''", "host", lambda value: value == "grüße'"),
        Condition("NOT ok", "ok", lambda value: not value),
        Condition("ratio > 0.5", "ratio", lambda value: value > 0.5 or math.isnan(value)),  # NaN is the greatest
        Condition("isnan(ratio)", "ratio", math.isnan),
        Condition("ratio IN (-2, 'nan')", "ratio", lambda value: value == -2 or math.isnan(value)),
        Condition("fields['user'] = 'x'", "fields", lambda value: value.get("user") == "x"),
        Condition("len(tags) = 1", "tags", lambda value: len(value) == 1),
        Condition("place.x = 1", "place", lambda value: value["x"] == 1),
    ]
    return rng.choice([one for one in every if one.column in columns])


def where(rng: random.Random, columns: Sequence[str]) -> tuple[str, Callable[[Row], bool]]:
    """Conditions of which all or any must hold."""
    found = [condition(rng, columns) for _ in range(rng.randrange(1, 4))]
    word, together = rng.choice([("AND", all), ("OR", any)])
    return f"({f' {word} '.join(one.sql for one in found)})", lambda row: together(one.keeps(row) for one in found)


Question = tuple[str, list[tuple[Any, ...]], bool]
"""A statement, its rows by hand, and whether their order counts."""


def filtered(rng: random.Random, topic: str, rows: list[Row], columns: Sequence[str]) -> Question:
    text, keeps = where(rng, columns)
    shown = rng.sample(sorted(columns), min(3, len(columns)))
    found = [tuple(row.get(name) for name in shown) for row in rows if keeps(row)]
    return f"SELECT {', '.join(shown)} FROM {topic} WHERE {text}", found, False


def grouped(rng: random.Random, topic: str, rows: list[Row], columns: Sequence[str]) -> Question:
    key, (text, keeps) = rng.choice([name for name in ("host", "dt", "hour", "ok") if name in columns]), where(rng, columns)
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in filter(keeps, rows):
        groups[row.get(key)].append(row)
    answer = []
    for value, them in groups.items():
        numbers = [row["n"] for row in them if row.get("n") is not None]
        answer.append((value, len(them), sum(numbers) if numbers else None, max(numbers, default=None)))
    return f"SELECT {key}, count(*), sum(n)::BIGINT, max(n) FROM {topic} WHERE {text} GROUP BY {key}", answer, False


def ordered(rng: random.Random, topic: str, rows: list[Row], columns: Sequence[str]) -> Question:
    (text, keeps), most = where(rng, columns), rng.randrange(1, 8)
    place = ["dt", "host", "n"] if "_offset" not in columns else ["_incarnation", "_partition", "_offset"]

    def sort_key(row: Row) -> tuple[Any, ...]:
        return tuple((row.get(name) is None, row.get(name) if row.get(name) is not None else 0) for name in ["n", *place])

    found = [(row.get("n"), *(row.get(name) for name in place)) for row in sorted(filter(keeps, rows), key=sort_key)]
    order = ", ".join(f"{name} NULLS LAST" for name in ["n", *place])
    shown = ", ".join(["n", *(f"{name} AS p{number}" for number, name in enumerate(place))])
    return f"SELECT {shown} FROM {topic} WHERE {text} ORDER BY {order} LIMIT {most}", found[:most], True


def by_map_key(rng: random.Random, topic: str, rows: list[Row], columns: Sequence[str]) -> Question:
    text, keeps = where(rng, columns)
    counts: dict[Any, int] = defaultdict(int)
    for row in filter(keeps, rows):
        counts[(row.get("fields") or {}).get("user")] += 1
    return f"SELECT fields['user'] AS user, count(*) FROM {topic} WHERE {text} GROUP BY 1", list(counts.items()), False


def joined(rng: random.Random, tables: Mapping[str, list[Row]], columns: Mapping[str, Sequence[str]]) -> Question:
    (text, keeps), other = where(rng, columns["a"]), rng.choice(["b", "job"])
    pairs = [
        (one.get("host"), two.get("n"))
        for one in filter(keeps, tables["a"])
        for two in tables[other]
        if one["dt"] == two["dt"] and one.get("host") is not None and one.get("host") == two.get("host")
    ]
    sql = f"SELECT x.host, y.n FROM (FROM a WHERE {text}) x JOIN {other} y ON x.dt = y.dt AND x.host = y.host"
    return sql, pairs, False


def comparable(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """Rows that compare whatever their readers call UTC, and in whatever order they have a map's pairs."""
    return [repr([_same(value) for value in row]) for row in rows]


def _same(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    pairs = list(value.items()) if isinstance(value, dict) else value
    return sorted(pairs) if isinstance(pairs, list) and pairs and isinstance(pairs[0], tuple) else pairs


def answer(session: Session, sql: str) -> list[tuple[Any, ...]]:
    with session.ask(sql) as reader:
        return [tuple(row.values()) for row in reader.read_all().to_pylist()]


def columns_of(session: Session, topic: str) -> list[str]:
    return [str(name) for (name,) in answer(session, f"SELECT column_name FROM (DESCRIBE {topic})")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_statements_over_random_tables_are_what_other_readers_say(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    history = History(tmp_path, rng)
    history.make()
    tables = {topic: by_hand(tmp_path, topic) for topic in ("a", "b", "job")}
    with Session.open(tmp_path) as session:
        columns = {topic: columns_of(session, topic) for topic in tables}
        for number in range(40):
            topic = rng.choice(["a", "b", "job"])
            ways = [filtered]
            ways += [grouped, ordered] if "n" in columns[topic] else []
            ways += [by_map_key] if "fields" in columns[topic] else []
            if number % 5 == 0 and "host" in columns["a"] and {"host", "n"} <= {*columns["b"]}:
                question = joined(rng, tables, columns)
            elif topic != "job" and number % 5 == 1:
                record = rng.randrange(history.records[topic] + 1)
                past = by_hand(tmp_path, topic, record)
                named = [name for name in columns[topic] if name in columns_of(session, f'"{topic}@{record}"')]
                question = filtered(rng, f"{topic} AT (VERSION => {record})", past, named)
            else:
                question = rng.choice(ways)(rng, topic, tables[topic], columns[topic])
            sql, expected, is_ordered = question
            found, wanted = comparable(answer(session, sql)), comparable(expected)
            if not is_ordered:
                found, wanted = sorted(found), sorted(wanted)
            assert found == wanted, (seed, sql)
