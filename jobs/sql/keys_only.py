"""Which tables a statement asks for nothing but values of `dt` and `hour`, as `SELECT max(dt) FROM logs`: these no file tells.

Pure. A scan is such a one if it reads only keys of its files' paths, and what is made of its rows first is a least, a greatest
or each value once: how many rows have a value then does not matter, and the table log knows the values.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from headrace.jobs.sql.pruning import SCAN, PlanNames
from headrace.jobs.sql.views import Columns, identifier, keys_of, literal
from headrace.sinks.table.record import DataFile

_ROW_BY_ROW: Final = ("FILTER", "PROJECTION")
_AGGREGATES: Final = ("UNGROUPED_AGGREGATE", "HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY")
_EXTREME: Final = re.compile(r"(min|max)\(#\d+\)")


def asked_for_keys(plan: Sequence[Mapping[str, Any]], names: PlanNames, keys: Mapping[str, Collection[str]]) -> set[str]:
    """The views whose every scan in a plan (EXPLAIN (FORMAT json)) is such a one; `keys`: those of each view's table."""
    found: set[str] = set()
    others: set[str] = set()
    left = [(node, False) for node in plan]
    while left:
        node, is_of_values = left.pop()
        info, name = node.get("extra_info", {}), str(node.get("name", "")).strip()
        if SCAN in name:
            read = _listed(info.get("Projections"))
            view = names.view_of(read)
            if view is None:  # of whom this is, nothing says
                return set()
            is_keys = "Filters" not in info and {names.column(column) for column in read} <= set(keys[view])
            (found if is_keys and is_of_values else others).add(view)
        below = is_of_values if name in _ROW_BY_ROW else _is_of_values(name, info)
        left += [(child, below) for child in node.get("children", [])]
    return found - others


def _is_of_values(name: str, info: Mapping[str, Any]) -> bool:
    aggregates = _listed(info.get("Aggregates"))
    is_grouped = name.endswith("GROUP_BY")
    return name in _AGGREGATES and (is_grouped or bool(aggregates)) and all(map(_EXTREME.fullmatch, aggregates))


def _listed(said: Any) -> list[str]:
    return [said] if isinstance(said, str) and said else list(said or ())


def typed_keys(types: Mapping[str, str]) -> list[str]:
    """The keys that DuckDB reads as what they say: texts it decodes as parts of a URL."""
    return [key for key, kind in types.items() if kind != "VARCHAR"]


def values(files: Iterable[DataFile], keys: Sequence[str]) -> list[list[str | None]]:
    """The values that keys have together, each once; files without rows have none."""
    found = {tuple(keys_of(file.path).get(key) for key in keys): None for file in files if file.rows}
    return [list(each) for each in found]


def view_of_keys(columns: Columns, keys: Sequence[str], variable: str) -> str:
    """A view over `values` in a variable. To read another column is an error, because nobody was to."""
    refusal = "error('headrace: a statement that was planned for dt and hour alone reads another column')"
    sources = {key: f"k[{at}]" for at, key in enumerate(keys, 1)}
    shown = ", ".join(f"({sources.get(name, refusal)})::{kind} AS {identifier(name)}" for name, kind in columns)
    return f"SELECT {shown} FROM (SELECT unnest(getvariable({literal(variable)})::VARCHAR[][]) AS k)"  # noqa: S608 - quoted
