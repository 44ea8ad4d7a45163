"""What is drawn of an answer's rows. Pure: rows go in, a chart comes out that says what it leaves out.

The first column is x, every column of numbers behind it a series. Where the second column is text, rows are long instead of
wide (`hour, service, count`): then each of its values is a series. Texts are bars, in the order of the rows; times and numbers
are put in order, and are bars where they are few and lines where they are many.
"""

import datetime as dt
import decimal
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace.errors import UsageError
from headrace.jobs.output import escaped, plain

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["bars", "lines"]
Axis = Literal["text", "time", "number"]

MOST_ROWS: Final = 200_000
"""That are held; later ones are counted."""
MOST_BARS: Final = 40
FEW_POINTS: Final = 31
"""Up to so many times or numbers are bars: the days of a month."""
MOST_SERIES: Final = 8
_UTC: Final = dt.UTC
_ONLY: Final = "value"


@dataclass(frozen=True, slots=True)
class Series:
    """One number for each x of the chart, None where there is none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn.

    `x` holds texts, numbers, or times as seconds since 1970 in UTC; all its texts do nothing to a terminal. `left_out` says
    what of the answer is not drawn, and is empty where all is.
    """

    kind: Kind
    axis: Axis
    x_name: str
    x: tuple[Any, ...]
    series: tuple[Series, ...]
    left_out: tuple[str, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value; bars begin at 0, so that it is in between."""
        values = [value for one in self.series for value in one.values if value is not None]
        if self.kind == "bars":
            values.append(0.0)
        return min(values), max(values)


class Rows:
    """An answer's rows as they come, as far as they are drawn."""

    def __init__(self, schema: "pa.Schema", *, kind: Kind | None = None) -> None:
        """`kind`: bars or lines; None: as the rows suggest.

        Raises:
            UsageError: no column can be drawn.
        """
        self._names, self._kind = [escaped(name) for name in schema.names], kind
        self.axis, self._x, self._by, self._y = _roles(schema)
        self._rows: list[tuple[Any, ...]] = []
        self._count = 0

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take rows of Python values."""
        for row in rows:
            self._count += 1
            if len(self._rows) < MOST_ROWS:
                self._rows.append(row)

    def chart(self) -> Chart:
        """What has come, drawn.

        Raises:
            UsageError: no row, no number, or numbers that are too far apart.
        """
        rows, left_out = self._of_known_x()
        series = _by_value(rows, self._by, self._y[0], left_out) if self._by is not None else self._by_column(rows)
        xs = list(dict.fromkeys(x for x, _ in rows)) if self._by is not None else [x for x, _ in rows]
        if self.axis != "text":
            xs, series = _in_order(xs, series)
        kind = self._kind or ("bars" if self.axis == "text" or len(set(xs)) <= FEW_POINTS else "lines")
        if kind == "bars" and len(xs) > MOST_BARS:
            left_out.append(f"the first {MOST_BARS} of {len(xs):,} bars are drawn")
            xs, series = xs[:MOST_BARS], [Series(one.name, one.values[:MOST_BARS]) for one in series]
        if kind == "lines" and self.axis == "text":
            raise UsageError(f"--plot: {self._x_name} is text, which lines do not go along; leave bars to it")
        if not any(value is not None for one in series for value in one.values):
            raise UsageError("--plot: there is nothing to draw: the answer has no number")
        made = Chart(kind, self.axis, self._x_name, tuple(xs), tuple(series), tuple(left_out))
        for least, greatest in [made.bounds, *([(xs[0], xs[-1])] if self.axis == "number" else [])]:
            if not math.isfinite(2 * (greatest - least)):  # with its margins the range is no float any more
                raise UsageError(f"--plot: {least:.3g} to {greatest:.3g} is too wide a range to draw; divide the numbers")
        return made

    @property
    def _x_name(self) -> str:
        return "row" if self._x is None else self._names[self._x]

    def _of_known_x(self) -> tuple[list[tuple[Any, tuple[Any, ...]]], list[str]]:
        """(x, row) of the rows whose x can be placed, and what is left out."""
        known = []
        for number, row in enumerate(self._rows, 1):
            x = number if self._x is None else _placed(row[self._x], self.axis)
            if x is not None:
                known.append((x, row))
        left_out = []
        if self._count > len(self._rows):
            left_out.append(f"the first {len(self._rows):,} of {self._count:,} rows are drawn")
        if unplaced := len(self._rows) - len(known):
            left_out.append(f"{unplaced:,} {'row' if unplaced == 1 else 'rows'} without {self._x_name}")
        used = {self._x, self._by, *self._y}
        if others := [name for index, name in enumerate(self._names) if index not in used]:
            left_out.append(f"no numbers: {', '.join(others)}")
        return known, left_out

    def _by_column(self, rows: Sequence[tuple[Any, tuple[Any, ...]]]) -> list[Series]:
        return [Series(self._names[index], tuple(_number(row[index]) for _, row in rows)) for index in self._y]


def _roles(schema: "pa.Schema") -> tuple[Axis, int | None, int | None, list[int]]:
    """What the columns are: the axis, x (None: the row's number), the column that names series, and those of numbers."""
    axes = [_axis_of(column.type) for column in schema]
    numbers = [index for index, axis in enumerate(axes) if axis == "number"]
    if not numbers:
        raise UsageError("--plot: there is nothing to draw: no column is a number; the first column is x, numbers follow")
    if len(axes) == 1:
        return "number", None, None, numbers
    if axes[0] is None:
        raise UsageError(f"--plot: {schema.names[0]} cannot be x: give a time, a number or text as the first column")
    y = [index for index in numbers if index > 0]
    if not y:  # the only number stands first, and what is behind it says what it is of
        return ("number", None, None, numbers) if axes[1] is None else (axes[1], 1, None, numbers)
    by = 1 if axes[1] == "text" and axes[0] != "text" and len(y) == 1 else None
    return axes[0], 0, by, y


def _axis_of(kind: "pa.DataType") -> Axis | None:
    import pyarrow.types as types

    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind) or types.is_dictionary(kind):
        return "text"
    return None


def _placed(value: Any, axis: Axis) -> Any:
    """A value as a place on the axis; None where it has none."""
    match axis:
        case "text":
            return "NULL" if value is None else escaped(str(plain(value))) or "''"
        case "number":
            return _number(value)
        case "time":
            return _seconds(value)


def _seconds(value: Any) -> float | None:
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=_UTC)).timestamp()
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=_UTC).timestamp()
    return None  # null, or a time that no calendar of Python's has


def _number(value: Any) -> float | None:
    if isinstance(value, int | float | decimal.Decimal) and math.isfinite(number := float(value)):
        return number
    return None


def _by_value(rows: Sequence[tuple[Any, tuple[Any, ...]]], by: int, y: int, left_out: list[str]) -> list[Series]:
    """A series for each value of column `by`, the greatest first; sums where it has several numbers at one x."""
    at: dict[Any, int] = {}
    found: dict[str, dict[int, float]] = {}
    for x, row in rows:
        place, number = at.setdefault(x, len(at)), _number(row[y])
        values = found.setdefault(_placed(row[by], "text"), {})
        if number is not None:
            values[place] = values.get(place, 0.0) + number
    largest = sorted(found, key=lambda name: -sum(map(abs, found[name].values())))
    if len(largest) > MOST_SERIES:
        left_out.append(f"the greatest {MOST_SERIES} of {len(largest):,} series are drawn")
    return [_filled(name, found[name], len(at)) for name in largest[:MOST_SERIES]]


def _filled(name: str, values: Mapping[int, float], count: int) -> Series:
    return Series(name, tuple(values.get(place) for place in range(count)))


def _in_order(xs: Sequence[Any], series: Sequence[Series]) -> tuple[list[Any], list[Series]]:
    order = sorted(range(len(xs)), key=xs.__getitem__)
    return [xs[index] for index in order], [Series(one.name, tuple(one.values[index] for index in order)) for one in series]
