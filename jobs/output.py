"""Rows on their way out: a table for people, CSV, JSON lines or Parquet for programs. Takes Arrow batches, prints anywhere.

JSON is one object a line. Times are RFC 3339, `Z` where they have a zone (always UTC); bytes are text where they are printable
ASCII, `\\xNN` elsewhere; a decimal is a number with all its digits, as DuckDB's shell writes it; NaN and infinities, which JSON
lacks, are null.
"""

import csv
import datetime as dt
import decimal
import io
import itertools
import json
import math
import os
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from rich.cells import cell_len

from headrace.errors import StorageError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text

SHOWN_ROWS: Final = 1_000
SHOWN_LETTERS: Final = 80
PIPE_WIDTH: Final = 400
_PRINTABLE: Final = range(0x20, 0x7F)
_GAP: Final = 3
_CUT_TO: Final = 20
"""Letters that a cut value has at least, about as many as a time has."""
_PLAN: Final = ["explain_key", "explain_value"]


def rows_of(reader: "pa.RecordBatchReader") -> Iterator[tuple[Any, ...]]:
    """The rows of Arrow batches as Python values; a map is a dict."""
    from headrace.jobs.far_times import values_of

    for batch in reader:
        columns = [[plain(value) for value in values_of(column)] for column in batch.columns]
        yield from zip(*columns, strict=True) if columns else ((),) * batch.num_rows


def plain(value: Any) -> Any:
    """A value as JSON can say it: None, bool, int, float, Decimal, str, list or dict."""
    match value:
        case None | bool() | int() | str() | decimal.Decimal():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dt.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dt.date() | dt.time():
            return value.isoformat()
        case bytes():
            return "".join(chr(byte) if byte in _PRINTABLE and byte != 0x5C else f"\\x{byte:02X}" for byte in value)
        case list():
            return [plain(item) for item in value]
        case dict():
            return {str(plain(key)): plain(item) for key, item in value.items()}
        case tuple() if hasattr(value, "nanoseconds"):  # an interval
            return {key: item for key in ("months", "days", "nanoseconds") if (item := getattr(value, key))}
        case uuid.UUID() | _:
            return str(value)


def distinct_names(names: Sequence[str]) -> list[str]:
    """Column names, the later of equal ones numbered: an object of JSON has each key once."""
    taken: set[str] = set()
    result = []
    for name in names:
        chosen, number = name, 0
        while chosen in taken:
            number += 1
            chosen = f"{name}_{number}"
        taken.add(chosen)
        result.append(chosen)
    return result


def write_json(names: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO) -> None:
    """One JSON object a line."""
    keys = distinct_names(names)
    for row in rows:
        stream.write(_as_json(dict(zip(keys, row, strict=True))) + "\n")


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # there is a decimal in it, for which Python's JSON has no number
        pass
    match value:
        case decimal.Decimal():
            return f"{value:f}"
        case list():
            return f"[{', '.join(map(_as_json, value))}]"
        case _:
            return "{" + ", ".join(f"{_as_json(key)}: {_as_json(item)}" for key, item in value.items()) + "}"


def write_csv(names: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO) -> None:
    """RFC 4180 with a header; null is empty; lists and maps are JSON."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return _as_json(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:f}" if isinstance(value, decimal.Decimal) else value


def write_table(names: Sequence[str], rows: Iterable[Sequence[Any]], stream: TextIO, *, most_rows: int | None = None) -> None:
    """A table for people: the first rows, long values cut, control characters shown, and how many rows there are.

    Where the columns do not fit a terminal, the middle ones are left out; a plan (EXPLAIN) is printed as it is drawn.

    Args:
        most_rows: read no more than these, and one, so that an answer without end is shown at once; None: read and count all.
    """
    from rich import box
    from rich.table import Table

    shown, count = _first(rows, most_rows or SHOWN_ROWS, is_counted=most_rows is None)
    console = console_on(stream)
    if list(names) == _PLAN:
        stream.writelines(f"{plan}\n" for _, plan in shown)
        return
    cells = [[_shown(row[index]) for row in shown] for index in range(len(names))]
    titles = [escaped(name) for name in names]
    kept, widest = _that_fit(
        [max(cell_len(text) for text in (title, *map(str, column))) for title, column in zip(titles, cells, strict=True)],
        console.width,
    )
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for index in kept:
        right = index is not None and _are_numbers(row[index] for row in shown)
        table.add_column(
            "…" if index is None else titles[index],
            justify="right" if right else "left",
            overflow="ellipsis",
            no_wrap=True,
            max_width=widest,
        )
    for number in range(len(shown)):
        table.add_row(*("…" if index is None else cells[index][number] for index in kept))
    if names:
        console.print(table)
    missing = len(names) - len(kept) + 1 if None in kept else 0
    left_out = f"; {missing} {'columns' if missing > 1 else 'column'} in the middle left out" if missing else ""
    if most_rows is not None and count > most_rows:
        said = f"the first {most_rows:,} rows; there are more{left_out} (csv or json gives all)"
    else:
        more = f"; the first {SHOWN_ROWS:,} are shown" if count > SHOWN_ROWS else ""
        hint = " (--format csv or json gives all)" if left_out or more else ""
        said = f"{count:,} {'row' if count == 1 else 'rows'}{more}{left_out}{hint}"
    console.print(said, style="dim", highlight=False)


def _first(rows: Iterable[Sequence[Any]], most: int, *, is_counted: bool) -> tuple[list[Sequence[Any]], int]:
    """The rows to show, and how many there are; where that is not asked for, only whether there are more."""
    shown: list[Sequence[Any]] = []
    count = 0
    for row in rows if is_counted else itertools.islice(rows, most + 1):
        count += 1
        if count <= most:
            shown.append(row)
    return shown, count


def _that_fit(widths: Sequence[int], room: int) -> tuple[list[int | None], int]:
    """The indexes of the columns to show, None for those left out in the middle, and how wide the widest may be.

    Long values are cut before a column is left out.
    """
    kept = list(range(len(widths)))

    def needed(widest: int) -> int:
        left_out = 1 + _GAP if len(kept) < len(widths) else 0
        return sum(min(widths[index], widest) + _GAP for index in kept) - _GAP + left_out

    while len(kept) > 2 and needed(_CUT_TO) > room:
        del kept[len(kept) // 2]
    widest = next((letters for letters in range(room, _CUT_TO, -1) if needed(letters) <= room), _CUT_TO)
    half = (len(kept) + 1) // 2
    return [*kept[:half], *([None] if len(kept) < len(widths) else []), *kept[half:]], widest


def _are_numbers(values: Iterable[Any]) -> bool:
    found = [value for value in values if value is not None]
    return bool(found) and all(
        isinstance(value, int | float | decimal.Decimal) and not isinstance(value, bool) for value in found
    )


def console_on(stream: TextIO) -> Any:
    """A rich console; where nobody looks (a pipe, a file) lines are as wide as they need."""
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, soft_wrap=False)


def _shown(value: Any) -> "Text":
    from rich.text import Text

    if value is None:
        return Text("NULL", style="dim")
    number = isinstance(value, float)
    text = f"{value:.6g}" if number and abs(value) < 1e6 else f"{value:.1f}" if number else str(_cell(value))
    text = escaped(text[: SHOWN_LETTERS + 1])
    return Text(text if len(text) <= SHOWN_LETTERS else text[: SHOWN_LETTERS - 1] + "…")


def escaped(text: str) -> str:
    """Text that does nothing to a terminal: control characters are shown as Python writes them."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def write_parquet(reader: "pa.RecordBatchReader", file: Path) -> int:
    """The batches as one zstd Parquet file, there only when whole; how many rows.

    Raises:
        StorageError: it cannot be written.
    """
    import pyarrow.parquet as pq

    from headrace.sinks.formats.parquet import compared

    count, schema = 0, reader.schema
    with (
        replacing(file) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_statistics=compared(schema)) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


@contextmanager
def output_stream(file: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there only when whole.

    Raises:
        StorageError: it cannot be written.
    """
    if file is None:
        if isinstance(sys.stdout, io.TextIOWrapper):  # data goes out as UTF-8 in any locale
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        yield stream


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A new file beside `file`, which takes its place at the end, and is gone if it does not come to that.

    Raises:
        StorageError: a disk failed or is full.
    """
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        temporary.rename(file)
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror or error}; nothing is left of it") from error
    finally:
        temporary.unlink(missing_ok=True)


def checked_output(text: str | None, *, tables: Path | None = None, option: str = "--output") -> Path | None:
    """The file that an option names, if its directory can hold it.

    Args:
        tables: the root of landed tables on a local disk, where nothing else may be.
    Raises:
        UsageError: it is a directory, lies among the tables, or its directory is missing or cannot be written.
    """
    if text is None:
        return None
    file = Path(text)
    directory = file.absolute().parent
    if not text or file.is_dir():
        raise UsageError(f"{option} {text}: is a directory; name a file")
    if file.exists() and not file.is_file():
        raise UsageError(f"{option} {text}: is no ordinary file, and would be one; leave {option} away, and write > {text}")
    if not directory.is_dir():
        raise UsageError(f"{option} {text}: no directory {directory}; make it first")
    if tables is not None and file.resolve().is_relative_to(tables.resolve()):
        raise UsageError(f"{option} {text}: lies among the landed tables, which others read; name a place outside {tables}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {text}: {directory} cannot be written; name another place")
    return file
