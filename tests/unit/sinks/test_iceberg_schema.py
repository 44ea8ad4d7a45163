"""How columns of landed files appear in Iceberg, and which time a file's partition is."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.schema import Schema
from pyiceberg.table.name_mapping import NameMapping
from pyiceberg.types import NestedField, StringType, StructType

from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.data_files import Partitioning, coarser, every_partitioning, fitting
from headrace.sinks.iceberg.schema import hidden_columns, left_out, name_mapping, shown_schema

HOUR_S = 3_600


def test_every_column_is_optional_down_to_the_last_item() -> None:
    inner = pa.struct([pa.field("id", pa.int32(), nullable=False)])
    schema = pa.schema(
        [pa.field("a", pa.int64(), nullable=False), pa.field("l", pa.list_(pa.field("item", inner, nullable=False)))]
    )
    shown = shown_schema(schema)
    assert shown.field("a").nullable
    assert shown.field("l").type.value_field.nullable
    assert shown.field("l").type.value_type.field("id").nullable


@pytest.mark.parametrize(
    "type_",
    [
        pa.null(),
        pa.time32("ms"),
        pa.time64("ns"),
        pa.timestamp("ns", "UTC"),
        pa.timestamp("us", "Europe/Zurich"),
        pa.decimal256(50, 2),
        pa.uint32(),
        pa.uint64(),
        pa.binary(0),
        pa.struct([]),
        pa.struct([("deep", pa.list_(pa.map_(pa.string(), pa.timestamp("ns"))))]),
    ],
    ids=str,
)
def test_what_iceberg_has_no_type_for_is_left_out_wherever_it_stands(type_: pa.DataType) -> None:
    schema = pa.schema([("kept", pa.string()), ("gone", type_), ("in", pa.struct([("gone", type_), ("kept", pa.string())]))])
    assert shown_schema(schema) == pa.schema([("kept", pa.string()), ("in", pa.struct([("kept", pa.string())]))])
    assert {path[:2] for path in left_out(schema) if path[0] == "in"} == {("in", "gone")}
    assert {path[0] for path in left_out(schema)} == {"in", "gone"}


def test_what_was_left_out_of_older_files_and_has_got_a_type_is_the_tables() -> None:
    older = left_out(pa.schema([("n", pa.null()), ("s", pa.struct([("t", pa.null())]))]))
    inner = StructType(NestedField(3, "t", StringType()), NestedField(4, "u", StringType()))
    mapping = NameMapping.model_validate_json(
        name_mapping(Schema(NestedField(1, "n", StringType()), NestedField(2, "s", inner)), older)
    )
    assert hidden_columns(mapping) == frozenset()
    assert [(field.field_id, [inner.field_id for inner in field.fields]) for field in mapping.root] == [(1, []), (2, [3, 4])]


def test_what_is_in_a_column_that_is_left_out_has_ids_too_as_pyiceberg_asks_of_files() -> None:
    moment = pa.timestamp("ns", "UTC")
    inner = pa.struct([("t", moment), ("l", pa.list_(pa.struct([("t", moment)]))), ("m", pa.map_(pa.string(), moment))])
    file = pa.schema([("kept", pa.string()), ("gone", inner)])
    shown = Schema(NestedField(1, "kept", StringType()))
    mapping = NameMapping.model_validate_json(name_mapping(shown, left_out(file)))
    assert hidden_columns(mapping) == left_out(file)
    read = pyarrow_to_schema(file, mapping, downcast_ns_timestamp_to_us=True)  # as pyiceberg's scans do
    assert read.find_field("gone.m.value").field_id > 2_000_000_000 > read.find_field("kept").field_id


def test_names_that_iceberg_keeps_for_itself_are_shown_as_others() -> None:
    assert shown_schema(pa.schema([("_partition", pa.int32()), ("_pos", pa.int64())])).names == ["_kafka_partition", "_pos_"]


def footer(path: Path, times_s: list[int | None], unit: str = "ms", **options: bool) -> pq.FileMetaData:
    scale = {"ms": 1_000, "us": 1_000_000}[unit]
    column = pa.array([None if time is None else time * scale for time in times_s], pa.timestamp(unit, "UTC"))
    pq.write_table(pa.table({"event_time": column}), path / "f.parquet", row_group_size=2, **options)
    return pq.read_metadata(path / "f.parquet")


@pytest.mark.parametrize(
    ("times_s", "hour"),
    [
        ([5 * HOUR_S, 6 * HOUR_S - 1, 5 * HOUR_S + 7], 5),
        ([-1, -HOUR_S], -1),
        ([5 * HOUR_S, 6 * HOUR_S], None),
        ([5 * HOUR_S, None, 5 * HOUR_S], None),
        ([None], None),
        ([10**13], None),
    ],
)
def test_a_file_has_an_hour_only_if_all_its_rows_do(tmp_path: Path, times_s: list[int | None], hour: int | None) -> None:
    assert Partitioning("event_time", "hour").value("", footer(tmp_path, times_s, "ms")) == hour


def test_without_statistics_nobody_can_tell(tmp_path: Path) -> None:
    assert Partitioning("event_time", "hour").value("", footer(tmp_path, [1, 2], write_statistics=False)) is None


def test_hours_become_days_and_never_hours_again(tmp_path: Path) -> None:
    two_hours = footer(tmp_path, [5 * HOUR_S, 6 * HOUR_S])
    assert fitting("", two_hours, every_partitioning(())) == (Partitioning("event_time", "day"),)
    assert coarser(Partitioning("event_time", "day")) == (Partitioning("event_time", "day"),)
    assert fitting("", footer(tmp_path, [1, None]), every_partitioning(())) == ()


@pytest.mark.parametrize("type_", ["in-memory", "hadoop", "nessie"])
def test_a_catalog_of_no_lasting_or_known_type_is_refused(type_: str) -> None:
    with pytest.raises(ValidationError, match="catalog"):
        Iceberg.model_validate({"catalog": {"type": type_}})
