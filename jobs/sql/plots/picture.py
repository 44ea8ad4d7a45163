"""A chart as a PNG, by matplotlib (extra `plots`)."""

import itertools
import logging
import warnings
from pathlib import Path
from typing import Any, Final

from headrace.jobs.output import replacing
from headrace.jobs.sql.plots.chart import Chart
from headrace.jobs.sql.plots.ticks import number

_WIDTH, _HEIGHT = 10.0, 5.0  # inches
_ROW_HEIGHT: Final = 0.28
_MARGIN: Final = 0.15
_DOTS: Final = 150
_FONTS: Final = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Noto Sans Arabic")
"""The first of them that has a letter draws it."""
_LONGEST_NAME: Final = 48
_BAR_SHARE: Final = 0.8
_COLOURS: Final = ("#2f6db5", "#e07b39", "#3d9a63", "#c0504d", "#7e63b8", "#8c6d4f", "#d377b0", "#7a7a7a")
_SOFT: Final = "#b9bec5"


def prepare() -> None:
    """Load what draws: it looks for fonts everywhere, and keeps what it has found, which a confined process may not."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of where it keeps them, if not in its own folder
    import matplotlib.font_manager  # noqa: F401 - it looks as it is imported


def save(chart: Chart, file: Path) -> None:
    """Draw the chart into a PNG that is there only when whole.

    Raises:
        StorageError: it cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.font_manager import get_font_names
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    there = set(get_font_names())
    fonts = [font for font in _FONTS if font in there]
    settings: dict[Any, Any] = {
        "text.parse_math": False,
        "axes.unicode_minus": False,
        "axes.edgecolor": _SOFT,
        "font.size": 10,
        "font.family": fonts or ["sans-serif"],
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that no font here has
        rows = len(chart.x) * len(chart.series) if chart.axis == "text" else 0
        figure = Figure(
            figsize=(_WIDTH, max(_HEIGHT * (not rows), 1.4 + rows * _ROW_HEIGHT)),
            layout=ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN),
        )
        axes = figure.add_subplot()
        (_bars_across if chart.axis == "text" else _along)(axes, chart)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(color=_SOFT)
        if len(chart.series) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            axes.set_title(f"{_cut(chart.series[0].name)} by {_cut(chart.x_name)}", loc="left", fontsize=12)
        if chart.left_out:
            figure.supxlabel("; ".join(chart.left_out), fontsize=8, color="#666666", x=0.01, ha="left")
        with replacing(file) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS)


def _bars_across(axes: Any, chart: Chart) -> None:
    many = len(chart.series)
    height = _BAR_SHARE / many
    for index, one in enumerate(chart.series):
        known = [(place, value) for place, value in enumerate(one.values) if value is not None]
        at = [place + (index - (many - 1) / 2) * height for place, _ in known]
        bars = axes.barh(at, [value for _, value in known], height, label=_cut(one.name), color=_COLOURS[index])
        axes.bar_label(bars, [number(value) for _, value in known], padding=4, fontsize=8, color="#444444")
    axes.set_yticks(range(len(chart.x)), [_cut(name) for name in chart.x])
    axes.set_ylim(len(chart.x) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.xaxis.set_visible(False)
    axes.spines[["bottom", "left"]].set_visible(False)
    if chart.bounds[0] < 0:
        axes.axvline(0, color=_SOFT, linewidth=0.8)


def _along(axes: Any, chart: Chart) -> None:
    xs = _times(chart.x) if chart.axis == "time" else list(chart.x)
    gap = min((after - before for before, after in itertools.pairwise(xs) if after > before), default=1.0)
    many = len(chart.series)
    for index, one in enumerate(chart.series):
        if chart.kind == "bars":
            width = gap * _BAR_SHARE / many
            known = [(x + (index - (many - 1) / 2) * width, value) for x, value in zip(xs, one.values, strict=True) if value]
            at, values = [x for x, _ in known], [value for _, value in known]
            axes.bar(at, values, width, label=_cut(one.name), color=_COLOURS[index])
        else:
            values = [float("nan") if value is None else value for value in one.values]
            axes.plot(xs, values, label=_cut(one.name), color=_COLOURS[index], linewidth=1.6)
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.grid(axis="y", color=_SOFT, linewidth=0.5)
    axes.set_axisbelow(True)
    if chart.axis == "time":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # its classes are typed in part
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # as above
    elif all(x == round(x) for x in chart.x):
        from matplotlib.ticker import MaxNLocator

        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_cut(chart.x_name) + (" (UTC)" if chart.axis == "time" else ""))


def _times(xs: tuple[float, ...]) -> list[float]:
    """Days since 1970, as matplotlib counts time."""
    return [x / 86_400 for x in xs]


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
