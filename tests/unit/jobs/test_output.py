import csv
import datetime as dt
import decimal
import io
import json

import duckdb
import pyarrow as pa
import pytest

from headrace.jobs import output


class Terminal(io.StringIO):
    def isatty(self):
        return True


def table(names, rows, stream=None):
    stream = stream or io.StringIO()
    output.write_table(names, rows, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (dt.datetime(2026, 11, 22, 13, 4, 5, 600, tzinfo=dt.UTC), "2026-11-22T13:04:05.000600Z"),
        (dt.datetime(2026, 11, 22, 13), "2026-11-22T13:00:00"),  # noqa: DTZ001 - SQL's TIMESTAMP has no zone
        (dt.date(2026, 11, 22), "2026-11-22"),
        (float("inf"), None),
        (b"a\\\xff\n", "a\\x5C\\xFF\\x0A"),
        ([b"x", {1: dt.date(2026, 1, 2)}], ["x", {"1": "2026-01-02"}]),
        (True, True),
        (pa.scalar(pa.MonthDayNano([1, 0, 5])).as_py(), {"months": 1, "nanoseconds": 5}),
    ],
)
def test_values_are_said_as_json_can(value, said):
    assert output.plain(value) == said
    json.dumps(output.plain(value), allow_nan=False)


EXACT = decimal.Decimal("12345678901234567890.1234567890")


def test_decimals_keep_every_digit_in_json_and_csv_also_within_lists_and_maps():
    said = {"lines": io.StringIO(), "csv": io.StringIO()}
    row = [output.plain(value) for value in (EXACT, decimal.Decimal("45"), decimal.Decimal("1E+3"), [{"é": EXACT, "n": None}])]
    output.write_json("abcd", [row], said["lines"])
    output.write_csv("abcd", [row], said["csv"])
    assert said["lines"].getvalue() == f'{{"a": {EXACT}, "b": 45, "c": 1000, "d": [{{"é": {EXACT}, "n": null}}]}}\n'
    assert list(csv.reader(io.StringIO(said["csv"].getvalue())))[1] == [
        str(EXACT),
        "45",
        "1000",
        f'[{{"é": {EXACT}, "n": null}}]',
    ]
    assert json.loads(said["lines"].getvalue(), parse_float=decimal.Decimal)["d"] == [{"é": EXACT, "n": None}]


def test_equal_column_names_are_numbered_without_taking_anothers():
    assert output.distinct_names(["a", "a_1", "a", "a"]) == ["a", "a_1", "a_2", "a_3"]


def test_a_table_counts_all_rows_and_shows_the_first():
    printed = table(["n"], ([n] for n in range(output.SHOWN_ROWS + 7)))
    assert str(output.SHOWN_ROWS - 1) in printed
    assert f"\n{output.SHOWN_ROWS}" not in printed
    assert printed.splitlines()[-1] == "1,007 rows; the first 1,000 are shown (--format csv or json gives all)"


def test_a_table_of_one_row_and_of_none():
    assert table(["n"], [[7]]).splitlines()[-1] == "1 row"
    assert table(["n"], []).splitlines()[-1] == "0 rows"


def test_numbers_stand_right_and_null_is_not_an_empty_text():
    lines = table(["number", "text"], [[1, "a"], [None, ""]]).splitlines()
    assert lines[2].startswith("     1   a")
    assert lines[3].startswith("  NULL")


def test_markup_in_values_is_text():
    assert "[bold]x[/bold] [link=file:///]" in table(["v"], [["[bold]x[/bold] [link=file:///]"]])


def test_columns_that_do_not_fit_a_terminal_are_left_out_in_the_middle(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    printed = table([f"column-{n}" for n in range(9)], [["x" * 8] * 9], Terminal())
    assert "column-0" in printed
    assert "column-8" in printed
    assert "column-4" not in printed
    assert "6 columns in the middle left out" in printed


def test_long_values_are_cut_before_a_column_is_left_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    printed = table(["a", "message", "day"], [["x", "y" * 300, "2025-11-23"], [None, "z", None]], Terminal()).splitlines()
    assert printed[2].split() == ["x", "y" * 19 + "…", "2025-11-23"]
    assert len(printed[2]) <= 40
    assert "left out" not in printed[-1]


def test_a_plan_is_printed_as_it_is_drawn():
    assert table(["explain_key", "explain_value"], [["physical_plan", "╭─╮\n╰─╯"]]) == "╭─╮\n╰─╯\n"


def test_a_parquet_file_hides_no_nan_from_those_who_ask_it(tmp_path):
    rows = pa.table({"x": [float("nan"), 1.5], "n": [1, 2]})
    assert output.write_parquet(rows.to_reader(), tmp_path / "f.parquet") == 2
    assert duckdb.sql(f"SELECT n FROM '{tmp_path}/f.parquet' WHERE x > 100 AND isnan(x)").fetchall() == [(1,)]
