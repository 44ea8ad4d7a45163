"""Every format gives back the rows that were written, in every type that lands, and says them to other readers alike."""

import io
import random
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import fastavro
import numpy as np
import polars
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from headrace.errors import CorruptError
from headrace.sinks.config import Output
from headrace.sinks.content_hash import content_hash
from headrace.sinks.formats.catalog import SUFFIXES, LandedRows, encoder

OUTPUTS = [
    Output.model_validate({"format": "parquet", "parquet": {"row_group_rows": 7}}),
    *(Output.model_validate({"format": "avro", "avro": {"codec": codec}}) for codec in ("deflate", "zstandard", "null")),
    Output.model_validate({"format": "json"}),
]
TEXTS = ["", "plain", 'say "hi"\\', "two\nlines\t\x00\x1f", "grüezi \U0001f600", "\u2028", "x" * 300, "null", "1"]
UTC_US = pa.timestamp("us", "UTC")
SCALARS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.bool_(), [True, False]),
    (pa.int8(), [-128, 127]),
    (pa.uint16(), [0, 65535]),
    (pa.int32(), [-(2**31), 2**31 - 1]),
    (pa.uint32(), [2**32 - 1, 7]),
    (pa.int64(), [-(2**63), 2**63 - 1, 2**53 + 1]),
    (pa.uint64(), [2**64 - 1, 3]),
    (pa.float32(), [0.1, -1e20, float("inf"), -0.0]),
    (pa.float64(), [0.1, 1e300, -5e-324, 1.0, float("-inf"), -0.0]),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.binary(), [b"", b"\xff\x00\n", b"abc"]),
    (pa.binary(3), [b"\xff\x00\n", b"abc"]),
    (pa.timestamp("s"), [0, 1_790_000_000]),
    (pa.timestamp("ms", "UTC"), [-1, 1_790_000_000_123, 253_402_300_799_999, 253_402_300_800_000, 2**62]),
    (UTC_US, [1_790_000_000_123_456, -62_135_596_800_000_000, -62_135_596_800_000_001, -(2**63)]),
    (pa.timestamp("us"), [1_790_000_000_123_456, 5]),
    (pa.timestamp("ns", "UTC"), [1_790_000_000_123_456_789, -(2**63) + 1, 2**63 - 1]),
    (pa.date32(), [0, -719_162, 2_932_896, 2**31 - 1]),
    (pa.time32("ms"), [time(13, 0, 0, 250_000), time(0)]),
    (pa.time64("us"), [time(23, 59, 59, 999_999), time(0, 0, 0, 1)]),
    (pa.decimal128(5, 2), [Decimal("-999.99"), Decimal("0.10")]),
    (pa.decimal256(60, 10), [Decimal("12345678901234567890123456789.0123456789"), Decimal("-0.0000000001")]),
    (pa.null(), [None]),
]


def every_type() -> list[tuple[pa.DataType, list[Any]]]:
    """Scalars, and lists, structs and maps of them and of each other."""
    found = list(SCALARS)
    for kind, values in SCALARS:
        found.append((pa.list_(kind), [[], values, [None, values[0]]]))
        found.append((pa.map_(pa.string(), kind), [[], [("k", values[0]), ('"', None)], [("k", values[-1]), ("k", values[0])]]))
        found.append(
            (pa.struct([("in side", kind), ("n", pa.int64())]), [{"in side": values[0], "n": 4}, {"in side": None, "n": None}])
        )
    nested = pa.struct([("a", pa.list_(pa.struct([("b", pa.map_(pa.string(), pa.list_(pa.int64())))])))])
    found.append((nested, [{"a": [{"b": [("x", [1, None]), ("y", [])]}, None]}, {"a": None}, {"a": []}]))
    found.append((pa.map_(pa.int64(), pa.string()), [[(7, "seven"), (-8, None)], []]))
    return found


def table(seed: int, rows: int = 40, *, nulls: bool = True) -> pa.Table:
    rnd = random.Random(seed)
    columns = {
        f"c{number} {kind}": pa.array([None if nulls and rnd.random() < 0.3 else rnd.choice(values) for _ in range(rows)], kind)
        for number, (kind, values) in enumerate(every_type())
    }
    return pa.table(columns).append_column(pa.field("_offset", pa.int64(), nullable=False), pa.array(range(rows), pa.int64()))


def written(folder: Path, output: Output, *pieces: pa.Table) -> Path:
    path = folder / f"rows{SUFFIXES[output.format]}"
    with path.open("wb") as sink:
        one = encoder(sink, pieces[0].schema, output)
        for piece in pieces:
            one.write(piece)
        one.close()
    return path


@pytest.mark.parametrize("format_", ["parquet", "avro", "json"])
def test_rows_read_back_can_be_written_as_parquet_where_required_fields_lie_below_a_null(tmp_path: Path, format_: str) -> None:
    price = pa.struct([pa.field("cents", pa.decimal128(5, 2), nullable=False), pa.field("n", pa.int32(), nullable=False)])
    order = pa.struct([pa.field("price", price, nullable=False), pa.field("at", UTC_US)])
    values = [None, {"price": {"cents": Decimal("1.25"), "n": 7}, "at": None}, None]
    rows = pa.table({"order": pa.array(values, order), "orders": pa.array([values, [], None], pa.list_(order))})
    path = written(tmp_path, Output.model_validate({"format": format_}), rows)
    with LandedRows(path.open("rb"), format_, "it") as reader:
        found = reader.read()
    again = io.BytesIO()
    pq.write_table(found, again)
    assert pq.read_table(again).to_pylist() == rows.to_pylist()


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda o: f"{o.format}-{o.avro.codec}" if o.format == "avro" else o.format)
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_every_type_come_back_as_they_were(tmp_path: Path, output: Output, seed: int) -> None:
    rows = table(seed, nulls=seed != 1)
    path = written(tmp_path, output, rows.slice(0, 13), rows.slice(13, 9), rows.slice(22))
    with LandedRows(path.open("rb"), output.format, "it") as reader:
        assert reader.read(["_offset"])["_offset"].to_pylist() == list(range(40))
        batches = list(reader.batches())
        schema = reader.schema
    if output.format == "parquet":  # which has no seconds: Arrow lands them as ms
        assert sum(map(content_hash, batches)) % 2**64 == content_hash(pa.Table.from_batches(batches))
    else:
        assert schema == rows.schema
        found = pa.Table.from_batches(batches, schema)
        for name in rows.column_names:
            assert found[name].combine_chunks().equals(rows[name].combine_chunks()), name
        assert sum(map(content_hash, batches)) % 2**64 == content_hash(rows)


EVENTS = pa.table(
    {
        "event_time": pa.array([1_790_000_000_123_456 + n for n in range(20_000)], UTC_US),
        "day": pa.array([date(2026, 11, 22)] * 20_000),
        "message": pa.array([TEXTS[n % len(TEXTS)] for n in range(20_000)]),
        "raw": pa.array([b"\xff\x00"] * 20_000),
        "price": pa.array([Decimal("12.30")] * 20_000, pa.decimal128(9, 2)),
        "fields": pa.array([[("status", str(n))] for n in range(20_000)], pa.map_(pa.string(), pa.string())),
        "_offset": pa.array(np.arange(20_000)),
    }
)


@pytest.mark.parametrize("codec", ["deflate", "null"])
def test_fastavro_reads_avro_files_with_their_logical_types(tmp_path: Path, codec: str) -> None:
    path = written(tmp_path, Output.model_validate({"format": "avro", "avro": {"codec": codec}}), EVENTS)
    with path.open("rb") as file:
        found = list(fastavro.reader(file))
    expected = [{**row, "fields": dict(row["fields"])} for row in EVENTS.to_pylist()]
    assert found == expected


def test_polars_reads_avro_files_of_the_default_codec(tmp_path: Path) -> None:
    rows = EVENTS.drop_columns(["fields", "price"])  # polars' Avro reader has no maps
    found = polars.read_avro(written(tmp_path, Output.model_validate({"format": "avro"}), rows))
    assert found["_offset"].to_list() == rows["_offset"].to_pylist()
    assert found["message"].to_list() == rows["message"].to_pylist()


def test_duckdb_polars_and_pyarrow_read_json_files(tmp_path: Path) -> None:
    path = written(tmp_path, Output.model_validate({"format": "json"}), EVENTS)
    columns = "event_time::TIMESTAMPTZ::VARCHAR, message, from_base64(raw), fields->>'status', _offset"
    by_duckdb = duckdb.sql(f"SELECT {columns} FROM read_json('{path}')").fetchall()
    assert [row[4] for row in by_duckdb] == EVENTS["_offset"].to_pylist()
    assert [row[1] for row in by_duckdb] == EVENTS["message"].to_pylist()
    assert by_duckdb[5][2:4] == (b"\xff\x00", "5")
    assert polars.read_ndjson(path)["message"].to_list() == EVENTS["message"].to_pylist()
    with pa.input_stream(path, compression="zstd") as file:
        by_pyarrow = pyarrow.json.read_json(file)
    assert by_pyarrow["message"].to_pylist() == EVENTS["message"].to_pylist()


def test_a_file_of_json_without_its_end_is_refused_and_not_read_as_empty(tmp_path: Path) -> None:
    path = written(tmp_path, Output.model_validate({"format": "json"}), EVENTS)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptError, match="no schema at its end"):
        LandedRows(path.open("rb"), "json", "it")


def test_a_damaged_block_of_avro_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, Output.model_validate({"format": "avro", "avro": {"codec": "null"}}), EVENTS)
    path.write_bytes(path.read_bytes()[:-3])
    with LandedRows(path.open("rb"), "avro", "it") as reader, pytest.raises(CorruptError, match="sync marker"):
        list(reader.batches())


def test_parquet_has_dictionaries_where_values_repeat_and_nowhere_else(tmp_path: Path) -> None:
    pairs = pa.map_(pa.string(), pa.string())
    rows = pa.table(
        {
            "number": pa.array(range(5000)),
            "text": pa.array([f"line {n}" for n in range(5000)]),
            "few": pa.array(["a", "b"] * 2500),
            "few.numbers": pa.array([7, 8] * 2500, pa.int32()),
            "fields": pa.array([[("status", "200")]] * 5000, pairs),
            "inner": pa.array(
                [{"tags": ["x", "y"], "of": [[("k", "v")]]}] * 5000,
                pa.struct([("tags", pa.list_(pa.string())), ("of", pa.list_(pairs))]),
            ),
        }
    )
    dictionaries = {}
    for wanted in (True, False):
        file = tmp_path / f"{wanted}.parquet"
        with file.open("wb") as sink:
            written = encoder(sink, rows.schema, Output.model_validate({"parquet": {"dictionary": wanted}}))
            written.write(rows)
            written.close()
        group = pq.ParquetFile(file).metadata.row_group(0)
        columns = [group.column(at) for at in range(group.num_columns)]
        dictionaries[wanted] = {one.path_in_schema for one in columns if one.has_dictionary_page}
        every = {one.path_in_schema for one in columns}
    assert dictionaries == {True: every - {"number", "text"}, False: set()}
