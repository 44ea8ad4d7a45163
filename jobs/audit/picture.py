"""The heat map as a picture: topics × time, PNG by matplotlib (extra `plots`).

Colours are told apart without seeing red and green (Okabe and Ito's), and each state has a sign of its own where cells are
large enough. What names of topics hold is never taken for a formula.
"""

from pathlib import Path
from typing import Final

from headrace.jobs import output
from headrace.jobs.audit.heat import MARKS, HeatMap
from headrace.jobs.audit.judged import Verdict
from headrace.jobs.audit.report import span

COLOURS: Final[dict[Verdict, str]] = {"complete": "#0072b2", "incomplete": "#d55e00", "unknown": "#f0e442"}
_LABELS: Final = 16
_LETTERED: Final = 3_000
_NAME_LETTERS: Final = 40


def write_png(drawn: HeatMap, file: Path) -> None:
    """Draw it into a file, whole or not at all.

    Raises:
        ModuleNotFoundError: matplotlib is not installed. StorageError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    states = list(COLOURS)
    grid = [[-1] * max(drawn.spans, 1) for _ in drawn.topics] or [[-1]]
    for row, cells in enumerate(drawn.rows):
        for n, cell in cells.items():
            grid[row][n] = states.index(cell.state)
    width, height = 3.5 + min(max(drawn.spans * 0.3, 5), 16), 1.8 + min(max(len(drawn.topics) * 0.22, 0.5), 45)
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    colours = ListedColormap(["#e8e8e8", *COLOURS.values()])
    axes.pcolormesh(grid, cmap=colours, vmin=-1.5, vmax=len(states) - 0.5, edgecolors="white", linewidth=0.5)
    axes.invert_yaxis()
    names = [output.escaped(name)[:_NAME_LETTERS].replace("$", r"\$") for name in drawn.topics]
    axes.set_yticks([n + 0.5 for n in range(len(names))], names, fontsize=8)
    ticks = drawn.ticks(_LABELS)
    axes.set_xticks(list(ticks), list(ticks.values()), fontsize=8)
    if drawn.spans * len(drawn.topics) <= _LETTERED and drawn.spans <= 60:
        for row, cells in enumerate(drawn.rows):
            for n, cell in cells.items():
                axes.text(n + 0.5, row + 0.5, MARKS[cell.state], ha="center", va="center", fontsize=8)
    legend = [Patch(color=colour, label=state) for state, colour in COLOURS.items()] + [Patch(color="#e8e8e8", label="nothing")]
    figure.legend(handles=legend, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    covered = f", {span(drawn.start_ms, drawn.start_ms + drawn.spans * drawn.span_ms)}" if drawn.spans else ""
    axes.set_xlabel(f"UTC{covered}; each cell is {drawn.each}", fontsize=8)
    with output.replacing(file) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
