"""Engines read what has landed, as files and by Iceberg: other implementations than the one that wrote it.

Spark reads Iceberg tables by way of a REST catalog; it takes long to start, so that all tests which ask it are here.
"""

import base64
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from pyiceberg.catalog import load_catalog
from pyiceberg.table import Table

from headrace.clock import SystemClock
from headrace.schemas.framing import frame
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.integration.sinks import types_of_schemas as types
from tests.integration.sinks.engines import DuckDB, Spark
from tests.integration.sinks.pipeline import Pipeline
from tests.integration.sinks.plain_values import plain
from tests.integration.sinks.test_iceberg import compact, events, landed, offsets, opened, sync
from tests.landed_tables import TableWriter

HOUR_14 = "event_time >= timestamp '2025-11-22 14:00:00' and event_time < timestamp '2025-11-22 15:00:00'"


@pytest.fixture(scope="module")
def spark(
    tmp_path_factory: pytest.TempPathFactory,
    iceberg_catalog: Callable[[str], dict[str, str]],
    missing: Callable[[str, str], NoReturn],
) -> Iterator[Spark]:
    if not Spark.is_installed():
        missing("spark", "run make peers")
    with Spark(tmp_path_factory.mktemp("spark"), iceberg_catalog("rest")["uri"]) as session:
        yield session


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory, iceberg_catalog: Callable[[str], dict[str, str]]
) -> tuple[Path, dict[str, Any]]:
    """A table in a REST catalog: compacted, then with a column widened, one added, and one that Iceberg has no type for."""
    root = tmp_path_factory.mktemp("shown")
    config = {"catalog": iceberg_catalog("rest"), "namespace": f"n{uuid.uuid4().hex}"}
    logs = TableWriter(root, "logs")
    for first in (0, 20, 40):
        logs.land_events(events(first, 20))
    sync(root, **config)
    compact(root)
    newer = pa.schema(
        [
            *[field for field in logs.schema if field.name != "part"],
            pa.field("part", pa.int64()),
            pa.field("at", pa.timestamp("ns", "UTC")),
            pa.field("order", pa.struct([("id", pa.int32())])),
        ]
    )
    logs.land([{**event.row(), "order": {"id": 1}, "at": 1000} for event in events(60, 30)], schema=newer)
    sync(root, **config)
    return root, config


def directory_with_leftovers(root: Path) -> Path:
    """A landed table, compacted, with files that were taken out, one that nobody committed, and `_SUCCESS`."""
    logs = TableWriter(root, "logs")
    for first in (0, 30, 60):
        logs.land_events(events(first, 30))
    compact(root)
    assert list((logs.directory / names.REMOVED).rglob("*.parquet"))
    live = Path(snapshot(root, "logs").files[0].path)
    left = logs.directory / names.staged(f"{live.parent.relative_to(logs.directory)}/{uuid.uuid4()}-0.parquet")
    left.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(live, left)
    mark_hours(logs.directory)
    return logs.directory


def mark_hours(table: Path) -> None:
    """Put `_SUCCESS` into each hour's directory, as the audit does."""
    for directory in table.glob("dt=*/hour=*"):
        (directory / names.SUCCESS).write_text('{"version": 1}\n')


def test_spark_sees_exactly_the_committed_rows_of_old_and_new_columns(
    tmp_path: Path, shown: tuple[Path, dict[str, Any]], spark: Spark
) -> None:
    root, config = shown
    table = f"rest.{config['namespace']}.logs"
    offsets_of = ["_incarnation", "_kafka_partition", "_offset"]
    assert places(spark.rows("iceberg", table, select=offsets_of)) == landed(root)
    assert [len(spark.rows("iceberg", table, where=one)) for one in (HOUR_14, "order.id = 1", "part = 0")] == [30, 30, 90]
    (first,) = spark.rows("iceberg", table, where="_offset = 0")
    assert first["fields"] == {"k": "0"}
    assert first["event_time"] == {"time": "2025-11-22T13:00:00"}

    directory = directory_with_leftovers(tmp_path)
    files = [file.path for file in snapshot(tmp_path, "logs").files]
    offsets_of = ["_incarnation", "_partition", "_offset"]
    assert places(spark.rows("parquet", str(directory), select=offsets_of)) == landed(tmp_path)
    assert places(spark.rows("parquet", files, select=offsets_of, options={"basePath": str(directory)})) == landed(tmp_path)
    hour = spark.rows("parquet", str(directory), select=offsets_of, where="dt = '2025-11-22' and hour = 13")
    assert places(hour) == landed(tmp_path)[:60]
    assert spark.rows("hive", f"{directory}/dt=*/hour=*") == [{"count": len(landed(tmp_path))}]
    stray = next(directory.glob("dt=*/hour=*/*.parquet"))
    shutil.copy(stray, stray.with_name("stray.parquet"))
    assert spark.rows("hive", f"{directory}/dt=*/hour=*")[0]["count"] > len(landed(tmp_path)), (
        "what has no such name is counted"
    )


def places(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted(tuple(row.values()) for row in rows)


def test_duckdb_sees_exactly_the_committed_rows_of_old_and_new_columns(
    shown: tuple[Path, dict[str, Any]], missing: Callable[[str, str], NoReturn]
) -> None:
    if not DuckDB.is_installed():
        missing("duckdb", "run make peers")
    root, config = shown
    metadata = opened(root, namespace=config["namespace"], **config["catalog"]).metadata_location
    table = f"iceberg_scan('{metadata.removeprefix('file://')}')"
    assert places(DuckDB.rows(f"SELECT _incarnation, _kafka_partition, _offset FROM {table}")) == landed(root)
    filters = (HOUR_14, '"order".id = 1', "part = 0")
    counts = DuckDB.answers(*(f"SELECT count(*) AS n FROM {table} WHERE {one}" for one in filters))
    assert [answer["rows"][0]["n"] for answer in counts] == [30, 30, 90]


def test_polars_and_pyiceberg_see_exactly_the_committed_rows_of_old_and_new_columns(
    shown: tuple[Path, dict[str, Any]],
) -> None:
    root, config = shown
    table = opened(root, namespace=config["namespace"], **config["catalog"])
    found = pl.scan_iceberg(table).collect()
    assert sorted(found.select("_incarnation", "_kafka_partition", "_offset").rows()) == landed(root)
    assert found.filter(pl.col("order").struct.field("id") == 1).height == 30
    assert offsets(table.scan().to_arrow()) == landed(root)
    assert table.scan("order.id = 1").to_arrow().num_rows == 30


# Every type, in every format, to every reader.

TABLES = {
    "types_avro": types.landed(types.AVRO),
    "types_json_schema": [types.JSON_LANDED],
    "types_protobuf": [types.PROTOBUF_LANDED],
    "types_local": types.landed(types.LOCAL),
    "types_names": [
        {types.NAMES_LANDED.get(name, name): value for name, value in row.items()} for row in types.landed(types.NAMES)
    ],
    "types_times": types.landed(types.TIMES),
    "types_nanos": types.landed(types.NANOS),
}
SHARED = ("types_avro", "types_json_schema", "types_protobuf", "types_local", "types_names")


@pytest.fixture(scope="module")
def typed(
    tmp_path_factory: pytest.TempPathFactory, iceberg_catalog: Callable[[str], dict[str, str]]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Topics of every type, landed by a loader; those of Avro in the other formats as well. Each hour has its `_SUCCESS`."""
    iceberg = {"catalog": iceberg_catalog("rest"), "namespace": f"n{uuid.uuid4().hex}"}
    with Pipeline(tmp_path_factory.mktemp("types")) as pipeline:
        registry = SchemaRegistryClient({"url": pipeline.registry_url})

        def produce(topic: str, kind: str, schema: str, payloads: list[bytes]) -> None:
            schema_id = registry.register_schema(f"{topic}-value", Schema(schema, kind))
            pipeline.produce(topic, (frame(schema_id, payload) for payload in payloads))

        nulls = {"none": [None, None], "record_with_none": [{"a": 1, "n": None}] * 2}
        avro = json.dumps(types.avro_schema(types.AVRO, **types.NULLS)), types.avro_values(types.AVRO, **nulls)
        for topic in ("types_avro", "types_as_avro", "types_as_json"):
            produce(topic, "AVRO", *avro)
        for name, cases in (("local", types.LOCAL), ("names", types.NAMES), ("times", types.TIMES), ("nanos", types.NANOS)):
            produce(f"types_{name}", "AVRO", json.dumps(types.avro_schema(cases)), types.avro_values(cases))
        produce("types_json_schema", "JSON", json.dumps(types.JSON_SCHEMA), [types.JSON_VALUE])
        produce("types_protobuf", "PROTOBUF", types.PROTOBUF_SCHEMA, [types.protobuf_value()])
        formats = [{"topics": [f"types_as_{name}"], "format": name} for name in ("avro", "json")]
        pipeline.load_once(iceberg=iceberg, per_topic=formats)
        for topic in pipeline.root.iterdir():
            mark_hours(topic)
        pipeline.assert_sound()
        yield pipeline.root, iceberg


def seen(rows: list[dict[str, Any]], topic: str, *without: str) -> None:
    """See that a reader has seen just what was sent."""
    assert_seen(rows, TABLES[topic], *without)


def assert_seen(rows: list[dict[str, Any]], expected: list[dict[str, Any]], *without: str) -> None:
    found = sorted((plain(row) for row in rows), key=lambda row: row["number"])
    for row, sent in zip(found, expected, strict=True):
        wanted = {name: _present(value) for name, value in plain(sent).items() if name not in without}
        row = {name: _present(value) for name, value in row.items()}
        assert {
            name: (row.get(name, "absent"), value) for name, value in wanted.items() if row.get(name, "absent") != value
        } == {}


def _present(value: Any) -> Any:
    """Without members that are null: a record of an older version has no other for what came later."""
    if isinstance(value, dict):
        return {name: _present(member) for name, member in value.items() if member is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def parquet(root: Path, topic: str) -> str:
    return f"{root}/{topic}/dt=*/hour=*/*.parquet"


@pytest.mark.parametrize("topic", TABLES)
def test_duckdb_polars_and_pyarrow_read_every_type_from_parquet(typed: tuple[Path, dict[str, Any]], topic: str) -> None:
    root, _ = typed
    found = duckdb.sql(f"SELECT * FROM '{parquet(root, topic)}'")
    seen([dict(zip(found.columns, row, strict=True)) for row in found.fetchall()], topic)
    seen(pl.scan_parquet(parquet(root, topic)).collect().to_dicts(), topic)
    seen(pa.parquet.read_table(root / topic).to_pylist(), topic)


@pytest.mark.parametrize("topic", SHARED)
def test_spark_reads_every_type_from_parquet(typed: tuple[Path, dict[str, Any]], spark: Spark, topic: str) -> None:
    seen(spark.rows("parquet", str(typed[0] / topic)), topic)
    seen(spark.rows("iceberg", f"rest.{typed[1]['namespace']}.{topic}"), topic)


def test_spark_has_no_time_of_day_and_nanoseconds_as_numbers_alone(typed: tuple[Path, dict[str, Any]], spark: Spark) -> None:
    """What the guide says that Spark 3.5 cannot read, and what helps."""
    root, config = typed
    for topic in ("types_times", "types_nanos"):
        assert "error" in spark.answer("parquet", str(root / topic))
    assert spark.rows("parquet", str(root / "types_times"), schema="number int", select=["number"]) == [
        {"number": 0},
        {"number": 1},
    ]
    refused = spark.answer("iceberg", f"rest.{config['namespace']}.types_times")
    assert refused == {"error": "Spark does not support time fields"}
    seen(spark.rows("iceberg", f"rest.{config['namespace']}.types_nanos"), "types_nanos", *types.NANOS)


@pytest.mark.parametrize("topic", TABLES)
def test_pyiceberg_polars_and_duckdb_read_every_type_by_iceberg(typed: tuple[Path, dict[str, Any]], topic: str) -> None:
    root, config = typed
    table = opened_table(root, config, topic)
    without = tuple(types.NANOS) if topic == "types_nanos" else ()
    seen(table.scan().to_arrow().to_pylist(), topic, *without)
    seen(pl.scan_iceberg(table).collect().to_dicts(), topic, *without)
    if DuckDB.is_installed():  # else the test of rows above is skipped, and says so
        where = table.metadata_location.removeprefix("file://")
        seen(DuckDB.rows(f"SELECT * FROM iceberg_scan('{where}')"), topic, *without)


def opened_table(root: Path, config: dict[str, Any], topic: str) -> Table:
    return load_catalog("rest", **config["catalog"]).load_table((config["namespace"], topic))


def test_spark_reads_every_type_from_avro_and_duckdb_all_but_decimals_which_it_takes_for_bytes(
    typed: tuple[Path, dict[str, Any]], spark: Spark, missing: Callable[[str, str], NoReturn]
) -> None:
    root, _ = typed
    seen(spark.rows("avro", str(root / "types_as_avro")), "types_avro")
    if not DuckDB.is_installed():
        missing("duckdb", "run make peers")
    decimals = [name for name, case in types.AVRO.items() if isinstance(case.lands[0], Decimal)]
    rows = DuckDB.rows(f"SELECT * FROM read_avro('{root}/types_as_avro/dt=*/hour=*/*.avro')")
    seen(rows, "types_avro", *decimals)
    assert {row["decimal_small"]["bytes"][-4:] for row in rows} == {"cfc7", "0001"}


def test_duckdb_and_polars_read_every_type_from_json_where_what_it_has_no_word_for_is_text(
    typed: tuple[Path, dict[str, Any]],
) -> None:
    files = sorted((typed[0] / "types_as_json").glob("dt=*/hour=*/*.json.zst"))
    found = duckdb.sql(f"SELECT * FROM read_json({[str(file) for file in files]})")
    expected = [{name: as_text(value) for name, value in plain(row).items()} for row in TABLES["types_avro"]]
    by_duckdb = [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    by_polars = pl.concat([pl.read_ndjson(file) for file in files]).to_dicts()
    for rows in (by_duckdb, by_polars):
        read = sorted((plain(row) for row in rows), key=lambda row: row["number"])
        texts = [{name: as_text(row[name]) for name in want} for row, want in zip(read, expected, strict=True)]
        assert texts == expected


def as_text(value: Any) -> Any:
    """Bytes, decimals and times as the texts that JSON has for them; a time as readers guess it from its text, or leave it."""
    match value:
        case {"bytes": text}:
            return base64.b64encode(bytes.fromhex(text)).decode()
        case {"decimal": text} | {"time": text}:
            return text
        case dict():
            return {name: as_text(member) for name, member in value.items()}
        case list():
            return [as_text(item) for item in value]
        case str() if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z?", value):
            return datetime.fromisoformat(value).replace(tzinfo=None).isoformat()
    return value


# Columns that change.

POINT = pa.struct([pa.field("x", pa.int32(), nullable=False)])
WIDER_POINT = pa.struct([("x", pa.int64()), ("y", pa.struct([("z", pa.string())]))])
AT_X, AT_Y = {"x": 1}, {"x": 2**40, "y": {"z": "new"}}
UTC_MS, UTC_US = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")
GROWN: dict[str, tuple[pa.DataType, Any, pa.DataType, Any]] = {
    "long": (pa.int32(), 2**31 - 1, pa.int64(), 2**40),
    "double": (pa.float32(), 1.5, pa.float64(), 0.1),
    "decimal": (pa.decimal128(9, 2), Decimal("1234567.89"), pa.decimal128(38, 2), Decimal(f"1{10**12:0>30}.25")),
    "micros": (UTC_MS, types.instant(types.NOW_MS * 1000), UTC_US, types.instant(types.NOW_US)),
    "optional": (pa.string(), "once", pa.string(), None),
    "record": (POINT, AT_X, WIDER_POINT, AT_Y),
    "optional_record": (POINT, AT_X, WIDER_POINT, None),
    "list": (pa.list_(POINT), [AT_X], pa.list_(WIDER_POINT), [AT_Y, AT_X]),
    "map": (pa.map_(pa.string(), POINT), [("k", AT_X)], pa.map_(pa.string(), WIDER_POINT), [("k", AT_Y)]),
    "numbers": (pa.list_(pa.int32()), [1], pa.list_(pa.int64()), [2**40, None]),
}


@pytest.mark.slow
def test_a_snapshot_before_columns_changed_and_one_after_it_are_read_by_every_reader(
    tmp_path: Path, iceberg_catalog: Callable[[str], dict[str, str]], spark: Spark
) -> None:
    """Widened, made optional, with fields more in records, lists and maps, and columns more."""
    config = {"catalog": iceberg_catalog("rest"), "namespace": f"n{uuid.uuid4().hex}"}
    table = TableWriter(tmp_path, "grown")
    for at in (0, 1):
        fields = [pa.field(name, case[2 * at], nullable=case[2 * at + 1] is None) for name, case in GROWN.items()]
        fields += [pa.field("number", pa.int32()), *([pa.field("added", pa.string())] if at else [])]
        schema = pa.schema([*fields, *(field for field in table.schema if field.name.startswith("_"))])
        row = {name: case[2 * at + 1] for name, case in GROWN.items()}
        table.land([{**row, "number": at, "added": "now", "_timestamp": types.NOW_MS}], schema=schema)
        Projection(Iceberg(**config), tmp_path, SystemClock()).sync("grown")
    iceberg = opened_table(tmp_path, config, "grown")
    old, new = iceberg.snapshots()
    name = f"rest.{config['namespace']}.grown"
    before = [{"number": 0, **{column: case[1] for column, case in GROWN.items()}}]
    after = [{**before[0], "added": None}, {"number": 1, "added": "now", **{column: case[3] for column, case in GROWN.items()}}]
    assert_seen(iceberg.scan(snapshot_id=old.snapshot_id).to_arrow().to_pylist(), before)
    assert_seen(spark.rows("iceberg", name, options={"snapshot-id": str(old.snapshot_id)}), before)
    assert_seen(pl.scan_iceberg(iceberg, snapshot_id=old.snapshot_id).collect().to_dicts(), before)
    assert_seen(iceberg.scan(snapshot_id=new.snapshot_id).to_arrow().to_pylist(), after)
    assert_seen(spark.rows("iceberg", name), after)
    assert_seen(pl.scan_iceberg(iceberg).collect().to_dicts(), after)
    if DuckDB.is_installed():
        scan = f"iceberg_scan('{iceberg.metadata_location.removeprefix('file://')}'"
        assert_seen(DuckDB.rows(f"SELECT * FROM {scan}, snapshot_from_id = {old.snapshot_id})"), before)
        assert_seen(DuckDB.rows(f"SELECT * FROM {scan})"), after)
