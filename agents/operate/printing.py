"""Rows for people as a table, for programs as one JSON object a line."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 400  # where nobody looks, lines are as wide as they need
_WHOLE = 13  # characters: a column of cells so short is never broken over lines, however narrow the terminal


def console() -> Console:
    """Standard output."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def table_of(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], styles: Mapping[str, str], right: Collection[str] = ()
) -> Table:
    """A table of those of some keys that say anything; `styles` colours cells by their text, `right` are texts of numbers."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    shown = [name for name in columns if any(_told(row[name]) for row in rows)]
    for name in shown:
        numeric = name in right or any(isinstance(row[name], int | float) for row in rows)
        whole = all(len(_told(row[name])) <= _WHOLE for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold", no_wrap=whole)
    for row in rows:
        table.add_row(*(Text(_told(row[name]), style=styles.get(str(row[name]), "")) for name in shown))
    return table


def print_rows(
    rows: Sequence[Mapping[str, Any]], form: str, columns: Sequence[str], styles: Mapping[str, str] | None = None
) -> None:
    """All keys of each row as JSON, or some as a table."""
    if form == "json":
        for row in rows:
            print(json.dumps(row))
    elif rows:
        console().print(table_of(rows, columns, styles or {}))


def counted(count: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value))


def printable(text: str) -> str:
    """A text that a terminal is safe from: names of files and lines of logs are anybody's."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
