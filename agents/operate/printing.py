"""Rows for people as a table, for programs as one JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 400  # where nobody looks, lines are as wide as they need


def console() -> Console:
    """Standard output."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], styles: Mapping[str, str]) -> Table:
    """A table of some keys; `styles` colours cells by their text."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False)
    for name in columns:
        numeric = any(isinstance(row[name], int | float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_told(row[name]), style=styles.get(str(row[name]), "")) for name in columns))
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
