"""A table as SQL: the text of a view over exactly the files that are named, with the table's columns. Pure.

Files of one set of columns are read together, and one footer tells their types; files of other sets are united by name, nulls
where a file lacks a column. Only files of which the log does not say which columns they have cost a footer each.
`dt` and `hour` come from the path, as any other `key=value` folder.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from headrace.errors import UsageError
from headrace.sinks.table.reader import LiveFile

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_HOUR: Final = re.compile(r"\d\d")
SCHEME: Final = "landed"
"""Of files that lie on a store elsewhere, to DuckDB (in_place.py)."""
NO_ROWS: Final = "SELECT NULL::DATE AS dt, NULL::INTEGER AS hour WHERE false"
"""A table that nothing has landed in."""

Columns = Sequence[tuple[str, str]]
"""Names and types in DuckDB's words."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file with the fingerprint of its columns (None: the log does not say)."""

    file: LiveFile
    columns: str | None


@dataclass(frozen=True, slots=True)
class Paths:
    """Files that a view reads together, in a variable of DuckDB, because the text of thousands is dear to parse.

    `first`: those that tell their columns, which is all that is needed of them when the view is made.
    """

    variable: str
    all: list[str]
    are_alike: bool

    @property
    def first(self) -> list[str]:
        return self.all[:1] if self.are_alike else self.all


@dataclass(frozen=True, slots=True)
class View:
    """The text of a view, and the files that it reads."""

    text: str
    lists: tuple[Paths, ...]


def definition(
    root: Path,
    sources: Iterable[Source],
    types: Mapping[str, str],
    columns: Callable[[], Columns],
    own: str | None,
    variable: str,
) -> View:
    """A table as a view.

    Args:
        root: where the tables are.
        types: of the keys in the paths of its files (`key_types`).
        columns: all that the table has, in order; empty where that is not known before the files are read. Asked only where
            the files that are named do not tell.
        own: the fingerprint of these columns: files that have them all need no others beside them.
        variable: what the names of its variables begin with.
    """
    groups: dict[tuple[tuple[str, ...], str | None], list[LiveFile]] = {}
    for source in sources:
        groups.setdefault((tuple(keys_of(source.file.name)), source.columns), []).append(source.file)
    if not groups and not columns():
        return View(NO_ROWS, ())
    lists: list[Paths] = []
    parts: list[str] = []
    for (keys, known), files in groups.items():
        lists.append(Paths(f"{variable}_{len(lists)}", [file.path for file in files], are_alike=known is not None))
        parts.append(_rows_of(root, {key: types[key] for key in keys}, lists[-1]))
    is_whole = len(parts) == 1 and next(iter(groups))[1] == own is not None
    if not is_whole and columns():
        parts.insert(0, empty(columns()))
    return View(" UNION ALL BY NAME ".join(parts), tuple(lists))


def empty(columns: Columns) -> str:
    """No rows of these columns."""
    return f"SELECT {', '.join(f'NULL::{kind} AS {identifier(name)}' for name, kind in columns)} WHERE false"


def keys_of(name: str) -> Mapping[str, str]:
    """The `key=value` folders of a file's path in its table."""
    return _keys_in(name.rpartition("/")[0])


@lru_cache(maxsize=1 << 16)
def _keys_in(folder: str) -> Mapping[str, str]:
    return dict(part.split("=", 1) for part in folder.split("/") if "=" in part)


def key_types(names: Iterable[str]) -> dict[str, str]:
    """The types of the keys in the paths of all files: dt and hour of their own, others text."""
    types: dict[str, str] = {}
    for name in names:
        for key, value in keys_of(name).items():
            kind = {"dt": ("DATE", _DATE), "hour": ("INTEGER", _HOUR)}.get(key)
            fits = kind is not None and kind[1].fullmatch(value)
            types[key] = kind[0] if kind and fits and types.get(key, kind[0]) == kind[0] else "VARCHAR"
    return types


def _rows_of(root: Path, keys: Mapping[str, str], listed: Paths) -> str:
    """All rows of files whose paths have the same keys, which are columns."""
    paths = f"getvariable({literal(listed.variable)})"
    united = "" if listed.are_alike else ", union_by_name = true"
    if not keys:
        return f"SELECT * FROM read_parquet({paths}, hive_partitioning = false{united})"  # noqa: S608 - quoted
    types = ", ".join(f"{identifier(key)}: {kind}" for key, kind in keys.items())
    options = f"hive_partitioning = true, hive_types_autocast = false, hive_types = {{{types}}}{united}"
    return f"SELECT *{_without_keys_above(root, keys)} FROM read_parquet({paths}, {options})"  # noqa: S608 - quoted


def _without_keys_above(root: Path, own: Collection[str]) -> str:
    """DuckDB takes every `key=value` of a path for a column; those above the table are none of its own.

    Raises:
        UsageError: one of them is called as one of the table's `own`.
    """
    keys = {part.partition("=")[0] for part in root.absolute().parts if "=" in part}
    if taken := keys.intersection(own):
        raise UsageError(f"{root}: a folder named {taken.pop()}=… above the tables hides their own; ask through another path")
    return f" EXCLUDE ({', '.join(map(identifier, sorted(keys)))})" if keys else ""


def literal(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as SQL writes it, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'
