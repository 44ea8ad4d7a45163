"""Which files of a table can hold rows that a statement needs: what DuckDB's own plan filters, and what the log says of files.

Pure. The statement is planned over empty tables whose columns have secret names of ours, one each for every column of every
table (`PlanNames`). In the plan a scan tells its table by them, and what is filtered directly above it are rows that the
statement never sees. A condition is understood, or is true of every file: only what is surely false of a file leaves it out.
Where the optimizer merges two comparisons its plan prints BETWEEN, although a bound may be left out. So a statement is planned
again with a barrier around each comparison (`with_barriers`): each plan alone says what is not needed.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from headrace.jobs.sql.views import keys_of
from headrace.sinks.event_time import EPOCH
from headrace.sinks.table.record import DataFile

Value = int | str
"""A time as microseconds since 1970 UTC (a day as its first), a number, or a text."""
Parse = Callable[[str], Any]
"""From a condition in SQL to its syntax tree; None: it is none."""

SCAN: Final = "ARROW_SCAN"
_DAY_US: Final = 86_400_000_000
_UNSAID: Final = re.compile(r"IN \(\.\.\.\)")
"""How the plan prints a list that it joins with: the values are not there."""
BARRIER: Final = "__internal_barrier"
"""DuckDB's function that gives back its argument, and keeps the optimizer from merging it with what stands beside it."""
_FLIPPED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}
_COMPARED: Final = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOT_DISTINCT_FROM": "=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_HOLDS: Final[Mapping[str, Callable[[Any, Any, Any], bool]]] = {
    "=": lambda low, high, value: bool(low <= value <= high),
    "<": lambda low, _, value: bool(low < value),
    "<=": lambda low, _, value: bool(low <= value),
    ">": lambda _, high, value: bool(high > value),
    ">=": lambda _, high, value: bool(high >= value),
}
_WHOLE_NUMBERS: Final = frozenset(
    ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"]
)
_MOMENTS: Final = frozenset(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS"))
"""Those of nanoseconds are finer than what is compared here."""
_TIMES: Final = _MOMENTS | {"DATE"}
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9 ._-]+")
_NULL_KEY: Final = "__HIVE_DEFAULT_PARTITION__"


@dataclass(slots=True)
class PlanNames:
    """The names of tables' columns in a plan. `secret` is letters and digits that no statement can know."""

    secret: str
    _columns: dict[str, tuple[str, str]] = field(default_factory=dict)

    def name(self, view: str, column: str) -> str:
        """The name of a column, made when it is first asked for."""
        made = f"c{self.secret}_{len(self._columns)}"
        self._columns[made] = view, column
        return made

    def view_of(self, projections: Any) -> str | None:
        """Whose the columns of a scan are; None: it reads none."""
        names = [projections] if isinstance(projections, str) else projections or []
        return next((self._columns[name][0] for name in names if name in self._columns), None)

    def column(self, name: str) -> str | None:
        """What a name in the plan stands for."""
        return self._columns[name][1] if name in self._columns else None


Filters = Mapping[str, Sequence[Sequence[Any]] | None]
"""By view: for each of its scans the conditions that its rows must all meet; None: all its rows may be needed."""


def filters(plan: Sequence[Mapping[str, Any]], names: PlanNames, views: Sequence[str], parse: Parse) -> Filters:
    """What a plan (EXPLAIN (FORMAT json)) filters of each view. A view that it does not scan needs no rows."""
    found: dict[str, list[list[Any]] | None] = {view: [] for view in views}
    for scan, conditions in _scans(plan):
        view = names.view_of(scan.get("extra_info", {}).get("Projections"))
        if view is None:  # of whom this is, nothing says
            return dict.fromkeys(views)
        trees = [tree for text in conditions if (tree := parse(_UNSAID.sub("unsaid", text))) is not None]
        if found[view] is not None and trees:
            found[view].append(trees)  # type: ignore[union-attr]
        else:
            found[view] = None
    return found


def with_barriers(tree: Any, barrier: Any) -> bool:
    """Put a barrier around every comparison of a statement with a constant; whether there was any.

    Args:
        tree: its syntax tree, which is changed. barrier: the tree of the function, called with anything.
    """
    found: list[dict[str, Any]] = []
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict) and str(node.get("type")) in _WITH_BOUNDS and _has_constant(node):
            found.append(node)
        elif isinstance(node, dict | list):
            left.extend(node.values() if isinstance(node, dict) else node)
    for node in found:
        inner = dict(node)
        node.clear()
        if inner["type"] == "COMPARE_IN":
            equals = [_around({**_EQUAL, "left": inner["children"][0], "right": one}, barrier) for one in inner["children"][1:]]
            node.update({**_EITHER, "children": equals}, alias=inner.get("alias", ""))
        else:
            node.update(_around(inner, barrier), alias=inner.get("alias", ""))
    return bool(found)


def _around(node: dict[str, Any], barrier: Any) -> dict[str, Any]:
    made: dict[str, Any] = deepcopy(barrier)
    made["arguments"][0]["expression"] = node
    return made


_WITH_BOUNDS: Final = frozenset({*_COMPARED, "COMPARE_BETWEEN", "COMPARE_IN"})
_EQUAL: Final = {"class": "COMPARISON", "type": "COMPARE_EQUAL", "alias": ""}
_EITHER: Final = {"class": "CONJUNCTION", "type": "CONJUNCTION_OR", "alias": ""}


def _has_constant(node: Mapping[str, Any]) -> bool:
    """Whether one side of a comparison, or both bounds, name no column; what asks for rows of its own is left alone.

    A list counts if it is of constants that are all written alike: then it is one equality or another.
    """
    text = json.dumps(node)
    if '"SUBQUERY"' in text or '"WINDOW"' in text:
        return False
    if node["type"] == "COMPARE_IN":
        return len({_written(one) for one in node["children"][1:]}) == 1 and _written(node["children"][1]) is not None
    sides = ("left", "right") if "left" in node else ("lower", "upper")
    return any('"COLUMN_REF"' not in json.dumps(node[side]) for side in sides)


def _written(node: Mapping[str, Any]) -> str | None:
    """How a constant is written: the kind of its literal and what it is cast to; None: it is no constant."""
    if node.get("class") == "CAST" and (inner := _written(node["child"])) is not None:
        return f"{_type(node)}({inner})"
    return node["literal"].get("kind") if node.get("class") == "CONSTANT" else None


def _scans(plan: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Every scan of a plan, with the conditions between it and the first operator that is no filter."""
    left: list[tuple[Mapping[str, Any], tuple[str, ...]]] = [(node, ()) for node in plan]
    while left:
        node, above = left.pop()
        info, name = node.get("extra_info", {}), str(node.get("name", "")).strip()
        children = node.get("children", [])
        if SCAN in name:
            yield node, above
        elif name == "FILTER":
            said = info.get("Expression", [])
            above = (*above, *([said] if isinstance(said, str) else said))
            left += [(child, above) for child in children]
        elif name == "HASH_JOIN" and info.get("Join Type") == "MARK" and children:  # it marks rows, and drops none
            left.append((children[0], above))
            left += [(child, ()) for child in children[1:]]
        else:
            left += [(child, ()) for child in children]


def kept(files: Sequence[DataFile], scans: Sequence[Sequence[Any]] | None, names: PlanNames) -> list[DataFile]:
    """The files that can hold rows which one of the scans lets through."""
    if scans is None:
        return list(files)
    return [file for file in files if any(all(may_match(tree, file, names) for tree in scan) for scan in scans)]


def may_match(condition: Any, file: DataFile, names: PlanNames) -> bool:
    """Whether a condition may be true of a row of a file; as far as it is not understood it may."""
    children = condition.get("children", ())
    match condition.get("type"):
        case "CONJUNCTION_AND":
            return all(may_match(child, file, names) for child in children)
        case "CONJUNCTION_OR":
            return any(may_match(child, file, names) for child in children)
        case "COMPARE_BETWEEN":
            below = _compared(condition["input"], "<=", condition["upper"], file, names)
            return below and _compared(condition["input"], ">=", condition["lower"], file, names)
        case "COMPARE_IN":
            return any(_compared(children[0], "=", value, file, names) for value in children[1:])
        case "FUNCTION" if condition.get("function_name") == BARRIER:
            return all(may_match(argument["expression"], file, names) for argument in condition["arguments"])
        case kind if kind in _COMPARED:
            sign = _COMPARED[kind]
            return _compared(condition["left"], sign, condition["right"], file, names) and _compared(
                condition["right"], _FLIPPED[sign], condition["left"], file, names
            )
    return True


def _compared(column: Any, sign: str, constant: Any, file: DataFile, names: PlanNames) -> bool:
    """Whether some value of a column in a file may be so compared with a constant."""
    value = _constant(constant)
    span = _span(column, file, names) if value is not None else None
    if span is None or value is None or isinstance(span[0], str) != isinstance(value, str):
        return True
    return _HOLDS[sign](*span, value)


def _constant(node: Any) -> Value | None:
    kind = None
    while node.get("class") == "CAST":
        kind = kind or _type(node)
        node = node["child"]
    if node.get("class") != "CONSTANT":
        return None
    said, text = node.get("literal", {}).get("kind"), node.get("literal", {}).get("text", "")
    try:
        if said == "INTEGER" and (kind is None or kind in _WHOLE_NUMBERS):
            return int(text)
        if said == "STRING":
            if kind is None or kind == "VARCHAR":
                return str(text)
            return int(text) if kind in _WHOLE_NUMBERS else _micros(text) if kind in _TIMES else None
    except (ValueError, OverflowError):
        pass
    return None


def _micros(text: str) -> int:
    """A moment as DuckDB writes it; without an offset it is UTC.

    Raises:
        ValueError: it is infinite, or of a year that Python has not.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def _type(cast: Any) -> str:
    return str(cast["type_expr"].get("type_name", "")).upper()


def _span(node: Any, file: DataFile, names: PlanNames) -> tuple[Value, Value] | None:
    """The least and the greatest value that a column has in a file; None: nothing says."""
    if node.get("class") == "CAST":
        span, kind = _span(node["child"], file, names), _type(node)
        if span is None or isinstance(span[0], str) or isinstance(span[1], str):
            return span if kind == "VARCHAR" and span is not None and isinstance(span[0], str) else None
        if kind == "DATE":
            return span[0] // _DAY_US * _DAY_US, span[1] // _DAY_US * _DAY_US
        return span if kind in _MOMENTS or kind in _WHOLE_NUMBERS else None
    if node.get("class") != "COLUMN_REF" or len(node["column_names"]) != 1:
        return None
    column = names.column(node["column_names"][0])
    return None if column is None else _span_of(column, file)


def _span_of(column: str, file: DataFile) -> tuple[Value, Value] | None:
    keys = keys_of(file.path)
    if column in keys:
        value = _key(column, keys[column])
        return None if value is None else (value, value)
    if file.bounds and column in file.bounds:
        first_ms, last_ms = file.bounds[column]
        return first_ms * 1000, last_ms * 1000 + 999
    if not file.ranges:
        return None
    match column:
        case "_offset":
            return min(each.start for each in file.ranges), max(each.end for each in file.ranges) - 1
        case "_partition":
            return min(each.partition for each in file.ranges), max(each.partition for each in file.ranges)
        case "_incarnation":
            return min(each.incarnation for each in file.ranges), max(each.incarnation for each in file.ranges)
    return None


def _key(key: str, text: str) -> Value | None:
    try:
        if key == "dt":
            return (date.fromisoformat(text) - EPOCH.date()) // timedelta(microseconds=1)
        if key == "hour":
            return int(text)
    except ValueError:
        return None
    return text if _PLAIN_TEXT.fullmatch(text) and text != _NULL_KEY else None
