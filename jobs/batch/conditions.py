"""Which rows of a landed table are wanted, by their columns and by the keys of their files' paths.

A predicate is what pyarrow calls filters: a list of (column, op, value), all of which hold, or a list of such lists, one of
which does. `op` is one of == = != < <= > >= in, not in; where a value is null nothing holds.
"""

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import UsageError

Condition = tuple[str, str, Any]
Where = Sequence[Condition] | Sequence[Sequence[Condition]]

_TESTS: Final[Mapping[str, Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, values: value in values,
    "not in": lambda value, values: value not in values,
}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds of wanted rows, and of the paths that they lie under."""

    rows: tuple[tuple[Condition, ...], ...] = ()
    """Any one of these holds whole. Empty: all rows."""
    paths: tuple[Condition, ...] = ()

    @property
    def columns(self) -> set[str]:
        """Those that are asked of rows."""
        return {column for conditions in self.rows for column, _, _ in conditions}

    @property
    def expression(self) -> pc.Expression | None:
        """What holds of rows, as Arrow says it; None: nothing is asked."""
        return pq.filters_to_expression([list(one) for one in self.rows]) if self.rows else None

    def hold_of(self, path: str) -> bool:
        """Whether a file may lie there."""
        keys = path_keys(path)
        for column, test, value in self.paths:
            text = keys.get(column)
            if text is None or not _TESTS[test](_like(text, value), value):
                return False
        return True


def conditions_of(where: Where, schema: pa.Schema, keys: Collection[str]) -> Conditions:
    """A predicate over a table's columns and the keys of its files' paths, which the names in it are.

    Raises:
        UsageError: a condition is none.
    """
    groups = _groups(where)
    for column, test, _ in (condition for group in groups for condition in group):
        if test not in _TESTS:
            raise UsageError(f"{column} {test}: no such test; write one of {', '.join(_TESTS)}")
    paths = tuple(condition for group in groups for condition in group if condition[0] in keys)
    if paths and len(groups) > 1:
        raise UsageError(f"{paths[0][0]} is a key of paths, and stands in one of several lists; filter by it alone")
    rows = tuple(found for group in groups if (found := tuple(condition for condition in group if condition[0] not in keys)))
    conditions = Conditions(rows, paths)
    try:
        if conditions.expression is not None:
            schema.empty_table().filter(conditions.expression)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UsageError(f"where: {' '.join(str(error).split())}; give values of the columns' types") from error
    return conditions


def columns_in(where: Where) -> list[str]:
    """The names that a predicate has."""
    return [column for group in _groups(where) for column, _, _ in group]


def _groups(where: Where) -> tuple[tuple[Condition, ...], ...]:
    is_one = bool(where) and isinstance(where[0][0], str)
    lists: Any = [where] if is_one else where
    return tuple(tuple(group) for group in lists)


def path_keys(path: str) -> dict[str, str]:
    """What the directories of a file are called, `dt=2026-11-22/…`, by key."""
    return dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)


def _like(text: str, value: Any) -> Any:
    """A path's text as a number where it is compared with one."""
    sample = next(iter(value), None) if isinstance(value, list | tuple | set | frozenset) else value
    return int(text) if isinstance(sample, int) and text.isdigit() else text
