"""How answers are shown: as a table, CSV, JSON lines or Parquet, or drawn; on standard output or in a file."""

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

from headrace.errors import UsageError
from headrace.jobs import output
from headrace.sinks.stores.roots import scheme_of

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.jobs.sql.plots.chart import Chart, Kind

T = TypeVar("T")
Format = Literal["table", "csv", "json", "parquet", "plot"]
FORMATS: Final = ("table", "csv", "json", "parquet")
_BY_SUFFIX: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".txt": "table",
    "": "table",
}
"""What a file's name says that it holds."""
KINDS: Final = ("auto", "bars", "lines")
PICTURE: Final = ".png"
_PIPE_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Showing:
    """Where answers go; `kind` is of plots, and None where the rows are to decide."""

    format: Format = "table"
    file: Path | None = None
    kind: "Kind | None" = None
    most_rows: int | None = None
    """Of a table for people; None: as many as are shown at most, and all are counted."""

    @property
    def is_picture(self) -> bool:
        """Whether a PNG is drawn."""
        return self.format == "plot" and self.file is not None and self.file.suffix == PICTURE

    @property
    def is_silent_until_the_end(self) -> bool:
        """Whether nothing is written to a terminal before the last row has come."""
        return self.file is not None or self.format in ("table", "plot") or not sys.stdout.isatty()

    def show(self, reader: "pa.RecordBatchReader", ready: Callable[[], None] = lambda: None) -> None:
        """Write an answer; `ready` is called before a table is, once its rows have come.

        Raises:
            UsageError: it cannot be drawn.
            StorageError: the file cannot be written; nothing is left of it.
        """
        if self.format == "parquet":
            assert self.file is not None, "it has been checked"
            output.write_parquet(reader, self.file)
        elif self.format == "plot":
            self._draw(reader)
        else:
            names, rows = reader.schema.names, output.rows_of(reader)
            with output.output_stream(self.file) as stream:
                if self.format == "table":
                    most = self.most_rows
                    shown = rows if most is None else itertools.islice(rows, most + 1)
                    output.write_table(names, _then(shown, ready), stream, most_rows=most)
                else:
                    (output.write_csv if self.format == "csv" else output.write_json)(names, rows, stream)

    def _draw(self, reader: "pa.RecordBatchReader") -> None:
        chart = _chart(reader, self.kind)
        if self.is_picture and self.file is not None:
            from headrace.jobs.sql.plots.picture import save

            save(chart, self.file)
            return
        from headrace.jobs.sql.plots.terminal import drawn

        with output.output_stream(self.file) as stream:
            is_seen = stream.isatty()
            width = shutil.get_terminal_size().columns if is_seen else _PIPE_WIDTH
            stream.write(drawn(chart, width=width, colour=is_seen and has_colour()))


def _then(rows: Iterable[T], ready: Callable[[], None]) -> Iterator[T]:
    yield from rows
    ready()


def _chart(reader: "pa.RecordBatchReader", kind: "Kind | None") -> "Chart":
    from headrace.jobs.far_times import values_of
    from headrace.jobs.sql.plots.chart import Rows

    rows = Rows(reader.schema, kind=kind)
    for batch in reader:
        rows.add(zip(*map(values_of, batch.columns), strict=True))
    return rows.chart()


def has_colour() -> bool:
    """Whether a terminal is to be given colours (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def checked(root: str, format_: str | None, file: str | None, plot: str | None) -> Showing:
    """What `--format`, `--output` and `--plot` ask for; `plot` is auto, bars, lines or a PNG's name.

    Args:
        root: where the tables are: no file is written among them.
    Raises:
        UsageError: they do not go together, the file cannot be, or what draws it is not installed.
    """
    tables = Path(root.removeprefix("file://")) if scheme_of(root) == "file" else None
    if plot is not None:
        return _checked_plot(tables, format_, file, plot)
    path = output.checked_output(file, tables=tables)
    if format_ == "parquet" and path is None:
        raise UsageError("--format parquet is written to a file: add --output FILE.parquet")
    if format_ is None and path is not None:
        return Showing(_format_of(path), path)
    return Showing(cast("Format", format_ or "table"), path)


def _format_of(file: Path) -> Format:
    found = _BY_SUFFIX.get(file.suffix.lower())
    if found is None and file.suffix == PICTURE:
        raise UsageError(f"--output {file}: a picture is drawn: add --plot")
    if found is None:
        known = ", ".join(filter(None, _BY_SUFFIX))
        raise UsageError(f"--output {file}: no format is known by {file.suffix}: end its name in {known}, or say --format")
    return found


def _checked_plot(tables: Path | None, format_: str | None, file: str | None, plot: str) -> Showing:
    if format_ is not None:
        raise UsageError("--plot draws, and --format writes rows: give one of them")
    if plot not in KINDS and not plot.endswith(PICTURE):
        raise UsageError(f"--plot {plot}: give bars, lines, or a file that ends in {PICTURE}")
    if file is not None and plot not in KINDS:
        raise UsageError(f"--plot {plot} is written there: leave --output away")
    is_named = plot not in KINDS
    path = output.checked_output(plot if is_named else file, tables=tables, option="--plot" if is_named else "--output")
    if path is not None and path.suffix == PICTURE:
        _require_matplotlib()
    elif path is not None and path.suffix not in ("", ".txt"):
        raise UsageError(f"--output {path}: nothing is drawn as {path.suffix}: name a file that ends in {PICTURE} or .txt")
    return Showing("plot", path, cast("Kind", plot) if plot in ("bars", "lines") else None)


def _require_matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UsageError("matplotlib, which draws PNG, is not installed; install it with: pip install 'headrace[plots]'")
