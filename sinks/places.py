"""Where the landed tables are: `--data DIR` or `--root URL` of every command that reads them, and names that were mistyped."""

import argparse
import difflib
from collections.abc import Collection
from pathlib import Path

from headrace.errors import UsageError
from headrace.process import DATA_VARIABLE, DEFAULT_DATA, data_directory


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Define `--data` and `--root`, of which one may be given."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--data", metavar="DIR", help=f"the data directory (default: ${DATA_VARIABLE} or ./{DEFAULT_DATA})")
    place.add_argument("--root", metavar="URL", help="the landed tables themselves; --data DIR means --root DIR/landed")


def landed_root(args: argparse.Namespace, *, is_awaited: bool = False) -> str:
    """The directory of the landed tables that the options name: a path or a URL.

    Args:
        is_awaited: it may be that nothing has landed yet.
    Raises:
        UsageError: there is none.
    """
    from headrace.sinks.stores.roots import open_root

    if args.root is not None:
        root = args.root
        remedy = "name the directory that `headrace load` writes to"
    else:
        data = data_directory(args.data)
        root = str(data / "landed")
        remedy = f"name a data directory with --data or ${DATA_VARIABLE}, or make one: headrace demo --data {data}"
    if not is_awaited and not open_root(root).is_there():
        raise UsageError(f"{root}: no landed tables there; {remedy}")
    if args.root is not None and (inner := tables_within(root)) is not None:
        raise UsageError(f"--root {root} is a data directory: name --data {root}, or --root {inner}")
    return str(root)


def tables_within(root: Path | str) -> str | None:
    """The directory of the landed tables in a data directory on a local disk that was named in its place; None: it is none."""
    from headrace.sinks.stores.roots import open_root, scheme_of

    if scheme_of(str(root)) != "file":
        return None
    inner = Path(str(root).removeprefix("file://")) / "landed"
    return str(inner) if inner.is_dir() and not open_root(root).tables() else None


def landed_topics(root: Path | str) -> list[str]:
    """The topics that have a table; internal ones and what jobs have made are left out."""
    from headrace.sinks.table.reader import is_derived, tables

    return [topic for topic in tables(root) if not topic.startswith("_") and not is_derived(root, topic)]


def unknown_table(name: str, known: Collection[str]) -> UsageError:
    """What to say of a table that does not exist: the nearest name, and all there are."""
    close = difflib.get_close_matches(name.lower(), {table.lower(): table for table in known}, n=1)
    nearest = next((table for table in known if close and table.lower() == close[0]), None)
    meant = f"; did you mean {nearest}?" if nearest else ""
    shown = sorted(known)
    there = ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "") or "none"
    return UsageError(f"no table {name!r}{meant} (tables: {there})")
