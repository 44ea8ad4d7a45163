"""A chart in letters, by plotext: braille lines, bars of blocks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotext  # type: ignore[import-untyped]  # it has no types
from rich.cells import cell_len, set_cell_size

from headrace.jobs.sql.plots.chart import Chart, Series
from headrace.jobs.sql.plots.ticks import number, number_ticks, time_ticks

_HEIGHT: Final = 20
_LEAST_WIDTH: Final = 30
_LABEL_SHARE: Final = 3
"""Of the width, names of bars take this part at most."""
_TICK_CELLS: Final = 14
_Y_TICKS: Final = 5
_BAR_SHARE: Final = 0.8
_ROW: Final = 0.01
"""Of a bar that lies: one row of letters."""
_COLOURS: Final = (12, 10, 9, 14, 13, 11, 208, 245)
"""Of the terminal's 256, for series."""
_LINES: Final = ("braille", "*", "+", "o", "x", "#", "%", "@")
_BARS: Final = ("█", "░", "▓", "▒", "#", "=", "+", "-")
"""By what series are told apart without colour."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How series are drawn."""

    kind: str
    is_coloured: bool

    def marker(self, index: int) -> Any:
        """What the series of that number is made of."""
        colour = plotext.pixel(foreground=_COLOURS[index]) if self.is_coloured else None
        first = "braille" if self.kind == "lines" else "█"
        return plotext.marker(first if self.is_coloured else self._plain(index), pixel=colour)

    def _plain(self, index: int) -> str:
        return (_LINES if self.kind == "lines" else _BARS)[index]

    def _sample(self, index: int) -> str:
        if self.is_coloured:
            return "━" if self.kind == "lines" else "█"
        return self._plain(index).replace("braille", "⣤")

    def legend(self, series: Sequence[Series], width: int) -> str:
        """All series in one line, cut where it is too long."""
        said, left = [], width
        for index, one in enumerate(series):
            sample = (
                self._plain(index).replace("braille", "⣤") if not self.is_coloured else "━" if self.kind == "lines" else "█"
            )
            if left < 6:
                break
            name = _cut(one.name, left - 5)
            left -= cell_len(name) + 5
            said.append(f"\x1b[38;5;{_COLOURS[index]}m{sample}\x1b[0m {name}" if self.is_coloured else f"{sample} {name}")
        return "   ".join(said)


def drawn(chart: Chart, *, width: int, colour: bool) -> str:
    """The chart in lines of at most `width` cells, the last of which says what is left out; no escape unless `colour`."""
    figure: Any = plotext.figure
    plotext.terminal.limit(False, False)
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    width, look = max(width, _LEAST_WIDTH), _Look(chart.kind, colour)
    (_draw_across if chart.axis == "text" else _draw_along)(figure, chart, width, look)
    said = figure.build().string(colorless=not colour)
    lines = [line.rstrip() for line in said.rstrip("\n").split("\n")]
    if len(chart.series) > 1:
        lines.insert(0, look.legend(chart.series, width))
    else:
        lines.insert(0, _cut(f"{chart.series[0].name} by {chart.x_name}" + (" (UTC)" if chart.axis == "time" else ""), width))
    if chart.left_out:
        lines.append("; ".join(chart.left_out))
    return "".join(f"{line}\n" for line in lines)


def _draw_across(figure: Any, chart: Chart, width: int, look: _Look) -> None:
    """A row for each bar, its number behind it, and an empty row between groups."""
    many = len(chart.series)
    step = many + (many > 1)
    rows = step * len(chart.x) - (many > 1)
    names = [_cut(name, width // _LABEL_SHARE) for name in chart.x]
    least, greatest = chart.bounds
    room = max(len(number(value)) for one in chart.series for value in one.values if value is not None) + 1
    cells = max(width - max(map(cell_len, names)) - 2 - room * (1 + (least < 0)), 1)
    cell = ((greatest - least) or 1.0) / cells
    for index, one in enumerate(chart.series):
        known = [(step * place + index + 1, value) for place, value in enumerate(one.values) if value is not None]
        at, values = [at for at, _ in known], [value for _, value in known]
        figure.draw(figure.bar(at, values, marker=look.marker(index), width=_ROW, orientation="h", _reset_ticks=False))
        for place, value in known:
            beyond, side = (cell, "left") if value >= 0 else (-cell, "right")
            figure.draw(figure.text(value + beyond, place, number(value), alignment=side))
    figure.plot_size(width, rows + 2)
    figure.ruler("x").lim(least - (room * cell if least < 0 else 0), greatest + room * cell).ticks([])
    places = [step * place + (many + 1) // 2 for place in range(len(chart.x))]
    figure.ruler("y").lim(1, rows).direction(-1).ticks(places, names)


def _draw_along(figure: Any, chart: Chart, width: int, look: _Look) -> None:
    """Lines, or bars that stand, along an axis of times or numbers."""
    gap = min((after - before for before, after in itertools.pairwise(chart.x) if after > before), default=1.0)
    margin = gap / 2 if chart.kind == "bars" or len(chart.x) == 1 else 0.0
    kept = _enough(chart, 2 * width)
    for index, one in enumerate(chart.series):
        known = [(place, chart.x[place], value) for place in kept if (value := one.values[place]) is not None]
        draw = _draw_bars if chart.kind == "bars" else _draw_line
        draw(figure, chart, index, known, look.marker(index), gap)
    figure.plot_size(width, _HEIGHT)
    first, last, most = chart.x[0] - margin, chart.x[-1] + margin, max(width // _TICK_CELLS, 2)
    marks = (time_ticks if chart.axis == "time" else number_ticks)(chart.x[0], chart.x[-1], most)
    marks = [(at, said) for at, said in marks if first <= at <= last]
    figure.ruler("x").lim(first, last).ticks(*zip(*marks, strict=True))
    heights = number_ticks(*chart.bounds, _Y_TICKS)
    figure.ruler("y").lim(heights[0][0], heights[-1][0]).ticks(*zip(*heights, strict=True))


_Known = Sequence[tuple[int, float, float]]  # (place, x, value)


def _draw_bars(figure: Any, chart: Chart, index: int, known: _Known, marker: Any, gap: float) -> None:
    many = len(chart.series)
    width = gap * _BAR_SHARE / many
    shift = (index - (many - 1) / 2) * width
    for _, x, value in known:  # one by one: plotext would make the width of several that of their least distance
        if value:
            edges = (x + shift - width / 2, x + shift + width / 2)
            figure.draw(figure.rectangle(edges, (min(value, 0.0), max(value, 0.0)), marker=marker))


def _draw_line(figure: Any, chart: Chart, index: int, known: _Known, marker: Any, gap: float) -> None:  # noqa: ARG001
    """A line, broken where there is no number."""
    values = chart.series[index].values
    line = figure.signal([x for _, x, _ in known], [value for _, _, value in known], marker=marker).lines()
    for at, ((before, *_), (after, *_)) in enumerate(itertools.pairwise(known), 1):
        if any(value is None for value in itertools.islice(values, before, after)):
            line.line(at, False)
    figure.draw(line)


def _enough(chart: Chart, steps: int) -> list[int]:
    """The places of so many points that nobody sees that there were more: the least and the greatest of each step."""
    count = len(chart.x)
    if count <= 2 * steps:
        return list(range(count))
    kept = {0, count - 1}
    for step in range(steps):
        places = range(step * count // steps, (step + 1) * count // steps)
        for one in chart.series:
            known = [(value, place) for place in places if (value := one.values[place]) is not None]
            if known:
                kept |= {min(known)[1], max(known)[1]}
    return sorted(kept)


def _cut(name: str, room: int) -> str:
    return name if cell_len(name) <= room else set_cell_size(name, room - 1) + "…"
