"""Columns are added, widened and made optional, in either order; what was admitted is projected, and no value changes."""

import datetime
import json
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from headrace.schemas.arrow import arrow_schema
from headrace.schemas.unified import MAX_COLUMNS, Fit, IncompatibleError, fit, project


def column(kind: pa.DataType, *, optional: bool = False) -> pa.Schema:
    return pa.schema([pa.field("a", kind, nullable=optional)])


UTC = datetime.UTC
POINT, WIDE_POINT = pa.struct([("x", pa.int32())]), pa.struct([("y", pa.string()), ("x", pa.int64())])
FIXED_POINT = pa.struct([pa.field("x", pa.int32(), nullable=False)])
EVOLUTIONS: dict[str, tuple[pa.DataType, Any, pa.DataType, Any]] = {
    "int32 to int64": (pa.int32(), 1, pa.int64(), 2**40),
    "float32 to float64": (pa.float32(), 1.5, pa.float64(), 1e300),
    "milliseconds to microseconds": (
        pa.timestamp("ms", "UTC"),
        datetime.datetime(2026, 1, 1, 0, 0, 1, 500_000, UTC),
        pa.timestamp("us", "UTC"),
        datetime.datetime(2026, 1, 1, 0, 0, 1, 500_001, UTC),
    ),
    "decimal of more digits": (pa.decimal128(9, 2), Decimal("1.50"), pa.decimal128(30, 2), Decimal("123456789012345678901.25")),
    "ms of a day to us": (pa.time32("ms"), datetime.time(0, 0, 1), pa.time64("us"), datetime.time(0, 0, 0, 7)),
    "null to string": (pa.null(), None, pa.string(), "x"),
    "a field more in a struct": (POINT, {"x": 1}, WIDE_POINT, {"y": "q", "x": 2**40}),
    "a struct that is optional": (FIXED_POINT, {"x": 1}, WIDE_POINT, None),
    "a struct in a struct": (pa.struct([("p", FIXED_POINT)]), {"p": {"x": 1}}, pa.struct([("q", FIXED_POINT)]), {"q": None}),
    "in a list": (pa.list_(POINT), [{"x": 1}, None], pa.list_(WIDE_POINT), [{"y": "q", "x": 2}]),
    "in a map": (pa.map_(pa.string(), pa.int32()), [("k", 1)], pa.map_(pa.string(), pa.int64()), [("k", 2**40)]),
}  # fmt: skip


@pytest.mark.parametrize("name", EVOLUTIONS)
def test_duckdb_and_pyarrow_see_one_table_whichever_came_first(name: str, tmp_path: Path) -> None:
    """Files before the change, projected ones, and those after it, read together: each value is what it was."""
    old_kind, old, new_kind, new = EVOLUTIONS[name]
    later = [*column(new_kind, optional=new is None), pa.field("b", pa.string(), nullable=False)]
    later += [pa.field("c", FIXED_POINT, nullable=False)]
    tables = [
        pa.table({"a": pa.array([old], old_kind)}, schema=column(old_kind, optional=old is None)),
        pa.table({"a": pa.array([new], new_kind), "b": ["added"], "c": [{"x": 3}]}, schema=pa.schema(later)),
    ]
    for first, second in permutations(tables):
        columns = fit(fit(None, first.schema, aside=False).columns, second.schema, aside=False).columns
        files = []
        for number, table in enumerate([first, project(first, columns), project(second, columns), second]):
            table.validate(full=True)
            files.append(str(tmp_path / f"{number}.parquet"))
            pa.parquet.write_table(table, files[-1])
        expected = [_seen(row, columns) for table in (first, first, second, second) for row in table.to_pylist()]
        by_arrow = pa.dataset.dataset(files, schema=columns).to_table().to_pylist()
        assert [_seen(row, columns) for row in by_arrow] == expected
        rows = duckdb.sql(f"SELECT a, b, c FROM read_parquet({files}, union_by_name = true)").fetchall()
        assert [_seen(dict(zip("abc", row, strict=True)), columns) for row in rows] == expected


def _seen(row: dict[str, Any], columns: pa.Schema) -> dict[str, Any]:
    """A row as a mapping of plain values, whoever read it."""
    return {field.name: _plain(row.get(field.name), field.type) for field in columns}


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_struct(kind):
        return {field.name: _plain(value.get(field.name), field.type) for field in kind}
    if pa.types.is_list(kind):
        return [_plain(item, kind.value_type) for item in value]
    if pa.types.is_map(kind):
        return dict(value)
    return value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int64(), pa.float64()),
        (pa.string(), pa.binary()),
        (pa.int64(), pa.string()),
        (pa.decimal128(9, 2), pa.decimal128(9, 3)),
        (pa.timestamp("us", "UTC"), pa.timestamp("us")),
        (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.list_(pa.int64()), pa.list_(pa.string())),
        (POINT, pa.struct([("x", pa.string())])),
        (pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.string())),
    ],
    ids=str,
)
def test_what_shares_no_exact_type_is_incompatible_and_may_stand_aside(old: pa.DataType, new: pa.DataType) -> None:
    for one, other in permutations((old, new)):
        with pytest.raises(IncompatibleError, match="column a"):
            fit(column(one), column(other), aside=False)
        aside = fit(column(one), column(other), aside=True)
        assert (aside.names, aside.columns.names) == (("a__2",), ["a", "a__2"])
        assert fit(aside.columns, column(one), aside=True).names == ("a",)
        assert fit(aside.columns, column(other), aside=True) == aside


def test_a_name_for_what_stands_aside_is_none_that_the_rows_have() -> None:
    rows = pa.schema([("a", pa.string()), ("a__2", pa.int64())])
    assert fit(column(pa.int64()), rows, aside=True).names == ("a__3", "a__2")


def test_text_and_the_json_text_of_a_union_do_not_mix() -> None:
    def of(kind: Any) -> pa.Schema:
        return arrow_schema(json.dumps({"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]}))

    text, union = of("string"), of(["string", "long"])
    for nest in (
        lambda kind: kind,
        lambda kind: {"type": "array", "items": kind},
        lambda kind: {"type": "map", "values": kind},
    ):
        with pytest.raises(IncompatibleError, match="JSON text"):
            fit(of(nest("string")), of(nest(["string", "long"])), aside=False)
    assert fit(union, of(["null", "string", "boolean"]), aside=False).columns.field("a").nullable
    assert text.field("a").type == union.field("a").type


def test_columns_that_come_and_go_change_nothing_after_the_first_time() -> None:
    one = pa.schema([pa.field("a", pa.int64(), nullable=False), pa.field("own", pa.int64(), nullable=False)])
    other = pa.schema([pa.field("b", pa.int64(), nullable=False), pa.field("own", pa.int64(), nullable=False)])
    columns = fit(fit(None, one, aside=False, last=["own"]).columns, other, aside=False, last=["own"]).columns
    assert columns.names == ["a", "b", "own"]
    assert [field.nullable for field in columns] == [True, True, False]
    for rows in (one, other, one):
        assert fit(columns, rows, aside=False, last=["own"]).columns is columns


def test_a_table_has_a_bounded_number_of_columns() -> None:
    wide = pa.schema([(f"c{number}", pa.int64()) for number in range(MAX_COLUMNS)])
    with pytest.raises(IncompatibleError, match=f"{MAX_COLUMNS + 1} columns"):
        fit(wide, pa.schema([("one more", pa.int64())]), aside=True)


def test_slices_are_projected_as_the_rows_that_they_show() -> None:
    old = pa.list_(POINT)
    rows = pa.table({"a": pa.array([[{"x": 1}], None, [None, {"x": 2}], []], old)})
    columns = fit(rows.schema, pa.schema([("a", pa.list_(WIDE_POINT))]), aside=False).columns
    sliced = project(rows.slice(1, 2), columns)
    sliced.validate(full=True)
    assert sliced.to_pylist() == [{"a": None}, {"a": [None, {"x": 2, "y": None}]}]


def names(*of: str) -> pa.Schema:
    return pa.schema([(name, pa.int64()) for name in of])


def test_columns_that_differ_in_case_only_get_other_names_in_one_schema_and_in_a_later_one() -> None:
    first = fit(None, names("id", "ID", "Id", "x"), aside=False)
    assert first.names == ("id", "ID__2", "Id__3", "x")
    assert first.columns.names == list(first.names)
    assert fit(first.columns, names("X", "ID", "id"), aside=False).names == ("X__2", "ID__2", "id")
    later = fit(fit(None, names("userId"), aside=False).columns, names("userid"), aside=False)
    assert later.columns.names == ["userId", "userid__2"]
    assert fit(later.columns, names("userid"), aside=False) == Fit(later.columns, ("userid__2",))


def test_a_field_of_a_struct_that_differs_from_another_in_case_only_does_not_go_with_the_table() -> None:
    columns, rows = (column(pa.struct([(name, pa.int64())])) for name in ("userId", "userid"))
    with pytest.raises(IncompatibleError, match="another case"):
        fit(columns, rows, aside=False)
    assert fit(columns, rows, aside=True).names == ("a__2",)
