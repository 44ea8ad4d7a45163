"""The content hash: the same for the same rows, whatever their order, their files and their Arrow layout."""

import io
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from headrace.sinks.cell_hash import PRESENT, Cells, hash_rows
from headrace.sinks.content_hash import content_hash

ROWS = pa.table(
    {
        "number": pa.array([1, None, -3, 4] * 50, pa.int32()),
        "real": pa.array([0.5, -1.25, None, 2.0] * 50, pa.float32()),
        "flag": pa.array([True, False, None, True] * 50),
        "text": pa.array([f"text {n}" if n % 7 else None for n in range(200)]),
        "repeated": pa.array(["same"] * 200),
        "raw": pa.array([b"\x00", b"", None, b"\xff"] * 50, pa.binary()),
        "at": pa.array([datetime(2026, 11, 22, 13, n % 60, tzinfo=UTC) for n in range(200)], pa.timestamp("us", "UTC")),
        "day": pa.array([date(2026, 11, 1 + n % 28) for n in range(200)]),
        "price": pa.array([Decimal("12.34"), None] * 100, pa.decimal128(10, 2)),
        "tags": pa.array([["a", "b"], [], None, ["c"]] * 50, pa.list_(pa.string())),
        "fields": pa.array([[("k", "v"), ("l", None)], [], None, [("k", "w")]] * 50, pa.map_(pa.string(), pa.string())),
        "inner": pa.array([{"x": 1, "y": "z"}, None, {"x": None, "y": ""}, {"x": 2, "y": None}] * 50),
    }
)
GOLDEN = 0xAE69FBD54944EC15


def test_what_is_not_a_number_hashes_alike_whatever_its_sign_and_payload_and_a_zero_by_its_sign() -> None:
    def hashed(bits: int) -> int:
        return content_hash(pa.table({"real": pa.array(np.array([bits], np.uint64).view(np.float64))}))

    assert hashed(0xFFF8_0000_0000_0000) == hashed(0x7FF8_0000_0000_0001) == hashed(0x7FF8_0000_0000_0000)
    assert hashed(0x8000_0000_0000_0000) != hashed(0)


def test_parts_of_a_table_add_up_to_the_whole() -> None:
    parts = [ROWS.slice(0, 13), ROWS.slice(13, 101), ROWS.slice(114)]
    assert sum(map(content_hash, parts)) % (1 << 64) == content_hash(ROWS)


def test_the_order_of_rows_does_not_matter() -> None:
    assert content_hash(ROWS.take(list(reversed(range(200))))) == content_hash(ROWS)


def test_rows_read_back_from_parquet_hash_as_they_were_written() -> None:
    file = io.BytesIO()
    pq.write_table(ROWS, file, compression="zstd")
    assert sum(map(content_hash, pq.ParquetFile(file).iter_batches(17))) % (1 << 64) == content_hash(ROWS)


@pytest.mark.parametrize("column", ROWS.column_names)
def test_a_change_in_one_cell_of_any_column_changes_the_hash(column: str) -> None:
    at = ROWS.column_names.index(column)
    values = ROWS.column(column).to_pylist()
    values[3], values[2] = values[2], values[3]
    if column == "repeated":
        values[3] = "other"
    changed = ROWS.set_column(at, ROWS.field(at), pa.array(values, ROWS.field(at).type))
    assert content_hash(changed) != content_hash(ROWS)


def test_wide_and_narrow_layouts_of_equal_values_hash_alike() -> None:
    narrow = pa.table({"n": pa.array([1, -2], pa.int8()), "s": pa.array(["a", "b"])})
    wide = pa.table({"n": pa.array([1, -2], pa.int64()), "s": pa.array(["a", "b"], pa.large_string())})
    assert content_hash(narrow) == content_hash(wide)


def test_null_and_zero_and_empty_are_three_things() -> None:
    null, empty = pa.table({"s": pa.array([None], pa.string())}), pa.table({"s": pa.array([""])})
    zero = pa.table({"s": pa.array([0])})
    assert len({content_hash(null), content_hash(empty), content_hash(zero)}) == 3


def test_the_hash_of_a_table_is_the_one_that_earlier_versions_have_written() -> None:
    """Commit records hold it for as long as the files live."""
    assert content_hash(ROWS) == GOLDEN


@pytest.mark.parametrize("columns", range(12))
def test_rows_of_any_width_hash_as_xxhash_does_it(columns: int) -> None:
    rng = np.random.default_rng(columns)
    present = rng.integers(0, 2, (columns, 50)).astype(np.uint64)
    values = rng.integers(0, 1 << 64, (columns, 50), np.uint64) * present
    cells = [Cells(here, value) for here, value in zip(present, values, strict=True)]
    if columns:
        cells[-1] = Cells(PRESENT, values[-1])
    rows = np.concatenate([one.as_bytes() for one in cells], axis=1) if columns else np.zeros((50, 0), np.uint8)
    assert hash_rows(cells, 50).tolist() == [xxhash.xxh64_intdigest(row.tobytes()) for row in rows]


def test_lists_hash_alike_in_a_few_rows_and_in_very_many() -> None:
    few = ROWS.select(["tags", "fields"])
    many = pa.concat_tables([few] * 40).combine_chunks()  # so many that lists of one length are hashed together
    assert content_hash(many) == content_hash(few) * 40 % (1 << 64)
