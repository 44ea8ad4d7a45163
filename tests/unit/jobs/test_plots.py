"""What is drawn of an answer, and what is said of the rest."""

import datetime as dt
import decimal
import re

import pyarrow as pa
import pytest

from headrace.errors import UsageError
from headrace.jobs.sql.plots.chart import MOST_BARS, Rows
from headrace.jobs.sql.plots.terminal import drawn
from headrace.jobs.sql.plots.ticks import number, number_ticks, time_ticks

NOON = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC)
UTC = pa.timestamp("us", tz="UTC")


def chart(columns, rows, kind=None):
    taken = Rows(pa.schema(columns), kind=kind)
    taken.add(rows)
    return taken.chart()


def hours(count):
    return [NOON + dt.timedelta(hours=hour) for hour in range(count)]


def test_texts_are_bars_in_the_order_of_the_rows():
    made = chart([("service", pa.string()), ("n", pa.int64())], [("web", 3), (None, 7), ("api", None)])
    assert (made.kind, made.axis, made.x, made.x_name) == ("bars", "text", ("web", "NULL", "api"), "service")
    assert [(one.name, one.values) for one in made.series] == [("n", (3.0, 7.0, None))]
    assert made.left_out == ()


def test_few_times_are_bars_and_many_are_lines_in_the_order_of_time():
    columns = [("hour", UTC), ("n", pa.int64())]
    few = chart(columns, [(at, n) for n, at in enumerate(reversed(hours(5)))])
    assert (few.kind, few.axis, few.series[0].values) == ("bars", "time", (4.0, 3.0, 2.0, 1.0, 0.0))
    assert few.x[0] == NOON.timestamp()
    assert chart(columns, [(at, 1) for at in hours(50)]).kind == "lines"
    assert chart(columns, [(at, 1) for at in hours(5)], kind="lines").kind == "lines"


def test_dates_and_times_without_zone_are_utc():
    naive = chart([("at", pa.timestamp("us")), ("n", pa.int64())], [(NOON.replace(tzinfo=None), 3)])
    date = chart([("dt", pa.date32()), ("n", pa.int64())], [(NOON.date(), 3)])
    assert (naive.x, date.x) == ((NOON.timestamp(),), (NOON.timestamp() - 12 * 3600,))


def test_every_column_of_numbers_is_a_series_and_what_is_none_is_said():
    columns = [("k", pa.string()), ("a", pa.decimal128(9, 2)), ("m", pa.map_(pa.string(), pa.string())), ("b", pa.float64())]
    made = chart(columns, [("x", decimal.Decimal("1.50"), {}, float("nan")), ("y", decimal.Decimal(2), {}, 4.0)])
    assert [(one.name, one.values) for one in made.series] == [("a", (1.5, 2.0)), ("b", (None, 4.0))]
    assert made.left_out == ("no numbers: m",)


def test_a_text_behind_the_time_names_the_series_greatest_first():
    first, second = hours(2)
    rows = [(first, "web", 1), (first, "api", 10), (second, "api", 20), (second, None, 5)]
    made = chart([("hour", UTC), ("service", pa.string()), ("n", pa.int64())], rows)
    assert [(one.name, one.values) for one in made.series] == [("api", (10, 20)), ("NULL", (None, 5)), ("web", (1, None))]
    many = [(first, f"s{n}", n) for n in range(20)]
    crowded = chart([("hour", UTC), ("service", pa.string()), ("n", pa.int64())], many)
    assert [one.name for one in crowded.series] == [f"s{n}" for n in range(19, 11, -1)]
    assert crowded.left_out == ("the greatest 8 of 20 series are drawn",)


def test_what_is_too_much_is_left_out_and_said(monkeypatch):
    rows = [(f"s{n}", n) for n in range(100)]
    made = chart([("s", pa.string()), ("n", pa.int64())], rows)
    assert len(made.x) == MOST_BARS
    assert made.left_out == ("the first 40 of 100 bars are drawn",)
    monkeypatch.setattr("headrace.jobs.sql.plots.chart.MOST_ROWS", 60)
    times = [(None, 1), *((at, 1) for at in hours(70))]
    assert chart([("hour", UTC), ("n", pa.int64())], times).left_out == (
        "the first 60 of 71 rows are drawn",
        "1 row without hour",
    )


def test_numbers_alone_go_by_their_row_and_one_number_before_a_text_by_that_text():
    assert chart([("n", pa.int64())], [(4,), (5,)]).x == (1, 2)
    turned = chart([("n", pa.int64()), ("s", pa.string())], [(4, "a"), (5, "b")])
    assert (turned.x, turned.series[0].values) == (("a", "b"), (4, 5))


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ([("a", pa.string())], [("x",)], "no column is a number"),
        ([("a", pa.list_(pa.string())), ("n", pa.int64())], [([], 1)], "a cannot be x"),
        ([("a", pa.string()), ("n", pa.int64())], [("x", None)], "the answer has no number"),
        ([("a", pa.string()), ("n", pa.int64())], [], "the answer has no number"),
    ],
)
def test_what_cannot_be_drawn_is_said(columns, rows, said):
    with pytest.raises(UsageError, match=said):
        chart(columns, rows)


def test_lines_along_texts_are_refused():
    with pytest.raises(UsageError, match="s is text"):
        chart([("s", pa.string()), ("n", pa.int64())], [("x", 1)], kind="lines")


NASTY = ["\x1b[31mred\x1b[0m", "a\nb", "日本語サービス" * 9, "heart", "", "$x$"]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("width", [10, 80])
def test_a_drawing_keeps_to_its_width_and_does_nothing_else_to_a_terminal(colour, width):
    for many in (1, 3):
        columns = [("s\x1b[1m", pa.string()), *((f"n{index}\x07", pa.int64()) for index in range(many))]
        made = chart(columns, [(name, *[n - 2] * many) for n, name in enumerate(NASTY)])
        lines = drawn(made, width=width, colour=colour).splitlines()
        bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines] if colour else lines
        assert all(letter.isprintable() for line in bare for letter in line)
        from rich.cells import cell_len

        assert max(map(cell_len, bare)) <= max(width, 30)
        assert any("\\x1b[31m" in line for line in bare)


def test_bars_say_their_numbers_and_grow_with_them():
    text = drawn(
        chart([("s", pa.string()), ("n", pa.int64())], [("a", 1000), ("b", 500), ("c", -250), ("d", None)]),
        width=80,
        colour=False,
    )
    bars = {line[0]: line.count("█") for line in text.splitlines() if line[1:2] == "┤"}
    assert bars["a"] == pytest.approx(2 * bars["b"], abs=2)
    assert bars["b"] == pytest.approx(2 * bars["c"], abs=2)
    assert bars["d"] == 0
    assert {"1,000", "500", "-250"} <= set(re.findall(r"-?[\d,]+", text))


def test_a_line_is_broken_where_there_is_no_number():
    rows = [(float(n), None if 20 <= n < 80 else 1.0) for n in range(100)]
    text = drawn(chart([("x", pa.float64()), ("n", pa.float64())], rows), width=80, colour=False)
    (line,) = {row for row in text.splitlines() if re.search("[⠀-⣿]", row)}
    left, gap, right = re.search("([⠀-⣿]+)( +)([⠀-⣿]+)", line).groups()
    assert (len(left), len(gap), len(right)) == (pytest.approx(15, abs=3), pytest.approx(46, abs=4), pytest.approx(15, abs=3))


def test_peaks_of_many_points_are_seen():
    rows = [(float(n), 100.0 if n == 54_321 else 0.0) for n in range(100_000)]
    text = drawn(chart([("x", pa.float64()), ("n", pa.float64())], rows), width=80, colour=False).splitlines()
    assert re.search("[⠀-⣿]", text[2])


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float64()])
def test_numbers_between_which_there_is_no_float_are_not_drawn_and_it_is_said(kind):
    columns, ends = [("x", kind), ("n", pa.float64())], (("a", "b") if kind == pa.string() else (1, 2))
    with pytest.raises(UsageError, match=r"--plot: -1e\+308 to 1e\+308 is too wide a range to draw; divide the numbers"):
        chart(columns, list(zip(ends, (-1e308, 1e308), strict=True)))
    wide = chart(columns, list(zip(ends, (-4e307, 4e307), strict=True)))
    assert "█" in drawn(wide, width=60, colour=False)
    with pytest.raises(UsageError, match="is too wide a range"):
        chart([("x", pa.float64()), ("n", pa.int64())], [(-1e308, 1), (1e308, 2)])


def test_ticks_are_round_and_few():
    start = NOON.timestamp() + 7
    for span in (0, 9, 100, 3_600, 86_400, 40 * 86_400, 5_000 * 86_400):
        ticks = time_ticks(start, start + span, 6)
        assert 1 <= len(ticks) <= 6
        assert all(start <= at <= start + span for at, _ in ticks)
    assert [said for _, said in time_ticks(NOON.timestamp(), NOON.timestamp() + 86_400, 6)] == [
        "11-26 12:00", "18:00", "11-27 00:00", "06:00", "12:00",
    ]  # fmt: skip
    assert [said for _, said in number_ticks(-3, 12_000, 4)] == ["-5,000", "0", "5,000", "10,000", "15,000"]
    assert [said for _, said in number_ticks(1, 3, 5)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (1234567, "1,234,567"),
        (0.1 + 0.2, "0.3"),
        (-2.5, "-2.5"),
        (1e20, "1e+20"),
        (1e-7, "1e-07"),
        (33.333, "33.33"),
    ],
)
def test_numbers_are_short(value, said):
    assert number(value) == said
