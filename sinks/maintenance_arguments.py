"""What `headrace compact` and `headrace expire` have in common: which tables, sizes and ages, and how they answer."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from headrace.errors import TableError, UsageError
from headrace.sinks.places import add_place_arguments, unknown_table
from headrace.sinks.recovery import is_of_store, said


def add_table_arguments(parser: argparse.ArgumentParser, *, default: str = "all") -> None:
    """Define TOPIC…, where the tables are, and `--format`; `default`: what is meant without TOPIC."""
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help=f"tables (default: {default})")
    add_place_arguments(parser)
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def chosen_tables(root: Path | str, topics: list[str]) -> list[str]:
    """The tables asked for, or all.

    Raises:
        UsageError: one does not exist.
    """
    from headrace.sinks.table.reader import tables

    known = tables(root)
    for topic in topics:
        if topic not in known:
            raise unknown_table(topic, known)
    return topics or known


def table_by_table(root: str, topics: list[str], format_: str, work: Callable[[str], Mapping[str, Any]]) -> int:
    """Do something with tables, and print what became of each; one that fails keeps no other from it.

    Raises:
        UsageError: a table does not exist.
        StorageError: the store does not answer.
        TableError: at the end, some have failed.
    """
    from headrace.sinks.stores.roots import answers, open_root

    rows, failed = [], {}
    for topic in topics:
        try:
            rows.append(work(topic))
        except (UsageError, MemoryError):
            raise
        except Exception as error:
            if is_of_store(error) and not answers(open_root(root)):
                raise
            failed[topic] = error
    print_rows(rows, format_)
    if failed:
        words = "; ".join(f"table {topic}: {said(error)}" for topic, error in failed.items())
        raise TableError(words) from next(iter(failed.values()))
    return 0


def age_ms(text: str) -> int:
    """`90m`, `36h`, `30d` in milliseconds.

    Raises:
        UsageError: it is none of these.
    """
    units = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not (number.isascii() and number.isdigit()):
        raise UsageError(f"{text!r} is not an age: write it like 90m, 36h or 30d")
    return int(number) * units[unit]


def print_rows(rows: Iterable[Mapping[str, Any]], format_: str) -> None:
    """One object a line, or a table whose columns are the keys of the first row."""
    listed = list(rows)
    if format_ == "json":
        for row in listed:
            print(json.dumps(row))
        return
    if not listed:
        return
    shown = [list(listed[0])] + [["-" if value is None else str(value) for value in row.values()] for row in listed]
    widths = [max(len(line[at]) for line in shown) for at in range(len(shown[0]))]
    for line in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
