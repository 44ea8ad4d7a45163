"""What a statement is, read from DuckDB's own parser: which tables it names, as of when, and whether it only reads.

A statement is a SELECT (with DESCRIBE, SHOW and SUMMARIZE, which DuckDB takes for one), an EXPLAIN of one, or a PIVOT whose
columns are found while it runs. The last has no tree that could be looked at: its words are, which is stricter.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import UsageError
from headrace.jobs.sql.allowed import CATALOG, refused_function
from headrace.sinks.places import unknown_table

if TYPE_CHECKING:
    import duckdb

_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")
_EXPLAIN: Final = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)
_WRITING_WORDS: Final = frozenset(
    """
    alter attach call checkpoint copy create deallocate delete detach drop execute export import insert install load merge
    pragma prepare reset set truncate update use vacuum
    """.split()  # noqa: SIM905 - a list of a line each is no list to read
)
_BEFORE_PARENTHESES: Final = frozenset(
    """
    all and any as between by case distinct else except exists filter from group having in intersect join lateral like not
    on or order over pivot select then union unpivot using values when where with
    """.split()  # noqa: SIM905 - a list of a line each is no list to read
)
_BEFORE_TABLES: Final = frozenset(["from", "join", "pivot", "unpivot", "describe", "summarize"])
_ONLY_READS: Final = "SQL: headrace query only reads: write a SELECT (to keep its result: --output FILE), or add --unsafe"
_SHOWN: Final = ("tables", "__show_tables_expanded")
_SCHEMAS: Final = frozenset(("main", "memory"))
_PLACE: Final = re.compile(r'"query_location(_length)?": \d+')
_NAME_OF_FILE: Final = re.compile(r"[./\\:*?\[\]]")


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a statement names: a topic, as of a commit or a time where it says so."""

    topic: str
    as_of: str | None = None

    @property
    def view(self) -> str:
        """Its name in SQL."""
        return self.topic if self.as_of is None else f"{self.topic}@{self.as_of}"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, checked: `sql` is what DuckDB is given. `is_planned`: whether its filters can be asked for.

    `views` are the tables by the names that `sql` has for them; one that is named twice may have two, with rows of their own.
    """

    sql: str
    views: Mapping[str, Table]
    asks_catalog: bool
    is_planned: bool


def read(parser: "duckdb.DuckDBPyConnection", sql: str, known: Collection[str], *, unsafe: bool = False) -> Statement:
    """Read one statement.

    Args:
        known: the topics that are tables.
        unsafe: let anything through that DuckDB takes.
    Raises:
        UsageError: it is not one statement, does more than read, or names no table there is.
        duckdb.Error: it is no SQL.
    """
    import duckdb

    try:
        sql.encode()
    except UnicodeEncodeError:  # bytes of a command line that Python could not decode
        raise UsageError("SQL: the statement is not UTF-8; write its letters so, or give values as \\xNN in a BLOB") from None
    try:
        return _read(parser, sql, known, unsafe=unsafe)
    except (UsageError, duckdb.ParserException, duckdb.BinderException) as error:
        for topic in known:
            if not _PLAIN.fullmatch(topic) and re.search(rf'(?<![\w".-]){re.escape(topic)}(?![\w".-])', sql):
                raise UsageError(f'SQL: {topic} is not a plain name: write it in double quotes, as FROM "{topic}"') from error
        raise


def _read(parser: "duckdb.DuckDBPyConnection", sql: str, known: Collection[str], *, unsafe: bool) -> Statement:
    statements = parser.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"SQL: one statement is asked for, not {len(statements)}")
    kind, query = _kind(statements[0]), statements[0].query
    explained = _EXPLAIN.match(query) if kind == "EXPLAIN" else None
    body = query[explained.end() :] if explained else query
    tree = _tree(parser, body) if kind in ("SELECT", "EXPLAIN") else None
    if tree is None:
        if not unsafe:
            _check_words(query, kind)
        named = {topic: Table(topic) for topic in known if topic.lower() in query.lower()}
        return Statement(query, named, asks_catalog=False, is_planned=False)
    if not unsafe:
        _check_functions(tree)
    tables, asks_catalog, is_changed = _tables(tree, known, unsafe=unsafe)
    if is_changed:
        body = _text(parser, tree)
    views = {table.view: table for table in tables}
    if kind == "SELECT" and not asks_catalog and (apart := _apart(parser, tree, tables)) is not None:
        body, views = apart
    query = f"{explained[0]}{body}" if explained else body
    return Statement(query, views, asks_catalog, is_planned=kind == "SELECT")


def _apart(
    parser: "duckdb.DuckDBPyConnection", tree: Any, tables: Mapping[Table, Sequence[dict[str, Any]]]
) -> tuple[str, dict[str, Table]] | None:
    """The statement with a view for each time that it names a table; None: it names none twice, or cannot be so written."""
    views = {}
    for table, named in tables.items():
        for count, node in enumerate(named, 1):
            view = table.view if count == 1 else f"{table.view}#{count}"
            views[view] = table
            if count > 1:
                _name_view(node, view)
    if len(views) == len(tables) or any(set(node.get("column_names", ())[:1]) & _SCHEMAS for node in nodes(tree)):
        return None
    text = _text(parser, tree)
    again = _tree(parser, text)
    return (text, views) if again is not None and _without_places(again) == _without_places(tree) else None


def _without_places(tree: Any) -> str:
    return _PLACE.sub("", json.dumps(tree))


def _kind(parsed: "duckdb.Statement") -> str:
    try:
        return parsed.type.name
    except ValueError:  # one that DuckDB's own client does not know, as UPDATE EXTENSIONS
        return "unknown"


def _tree(parser: "duckdb.DuckDBPyConnection", sql: str) -> Any:
    """The statement as DuckDB writes its syntax tree; None where it has none."""
    ((found,),) = parser.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(found)
    return None if tree["error"] else tree


def _text(parser: "duckdb.DuckDBPyConnection", tree: Any) -> str:
    ((found,),) = parser.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()
    return str(found)


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a tree; without recursion, which a statement could drive too deep."""
    left = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _check_functions(tree: Any) -> None:
    for node in nodes(tree):
        name = node.get("function_name")
        if isinstance(name, str) and (why := refused_function(name)):
            raise UsageError(f"SQL: {why}")


def _check_words(sql: str, kind: str) -> None:
    """The same for a statement without a tree: PIVOT over columns that are found while it runs, and EXPLAIN of one."""
    import duckdb

    if kind not in ("MULTI", "EXPLAIN"):
        raise UsageError(_ONLY_READS)
    text, tokens = sql.encode(), duckdb.tokenize(sql)
    ends = [start for start, _ in tokens[1:]] + [len(text)]
    words = [text[start:end].decode(errors="replace").strip() for (start, _), end in zip(tokens, ends, strict=True)]
    for before, word, after in zip(["", *words[:-1]], words, [*words[1:], ""], strict=True):
        name = word.strip('"').lower()
        if name in _WRITING_WORDS:
            raise UsageError(_ONLY_READS)
        is_called = after.startswith("(") and word[:1] not in "'(" and name not in _BEFORE_PARENTHESES
        if is_called and (why := refused_function(name)):
            raise UsageError(f"SQL: {why}")
        if word.startswith("'") and before.lower() in _BEFORE_TABLES:
            raise UsageError(f"SQL: {word} would be a file: name a topic; other files are read with --unsafe")


def _tables(tree: Any, known: Collection[str], *, unsafe: bool) -> tuple[dict[Table, list[dict[str, Any]]], bool, bool]:
    """The tables that a tree names and where, whether it asks the catalog, and whether the tree was changed (`AT`)."""
    named = {name.lower() for node in nodes(tree) for name in _ctes(node)}
    for name in named:
        if _NAME_OF_FILE.search(name) and not unsafe:
            raise UsageError(f"SQL: WITH {name!r}: name it without dots and slashes, which are for files")
    tables: dict[Table, list[dict[str, Any]]] = {}
    asks_catalog = is_changed = False
    for node in nodes(tree):
        if node.get("type") not in ("BASE_TABLE", "SHOW_REF") or node.get("query"):
            continue
        path, as_of = node["qualified_name"]["path"], _as_of(node)
        if node.get("show_type") == "SHOW_SPECIAL":
            if path[0].strip('"') not in _SHOWN and not unsafe:
                raise UsageError("SQL: SHOW TABLES is what can be shown, and DESCRIBE of a table")
            asks_catalog = True
            continue
        if len(path) == 1 and path[0].lower() in named and as_of is None:
            continue
        table = _table(path[-1], known) if {*path[:-1]} <= _SCHEMAS else None
        if table is None and path[-1].lower() in CATALOG:
            asks_catalog = True
            continue
        if table is None and unsafe:
            continue
        if table is None:
            raise unknown_table(".".join(path), known)
        if as_of is not None:
            table = replace(table, as_of=as_of)
            _name_view(node, table.view)
            is_changed = True
        tables.setdefault(table, []).append(node)
    return tables, asks_catalog, is_changed


def _name_view(node: dict[str, Any], view: str) -> None:
    """Let a tree name a view where it names a table, which goes on to be called as it was."""
    path = node["qualified_name"]["path"]
    own_name = node.get("alias") or path[-1].rpartition("@")[0] or path[-1]
    node.update(table_name=view, at_clause=None, schema_name="", catalog_name="", alias=own_name)
    node["qualified_name"]["path"] = [view]


def _ctes(node: dict[str, Any]) -> Iterator[str]:
    found = node.get("cte_map")
    if isinstance(found, dict):
        for entry in found.get("map") or ():
            yield entry["key"]
    if isinstance(name := node.get("cte_name"), str):
        yield name


def _as_of(node: dict[str, Any]) -> str | None:
    clause = node.get("at_clause")
    if not clause:
        return None
    value = clause["expr"]
    while value.get("class") == "CAST":
        value = value["child"]
    if value.get("class") != "CONSTANT":
        raise UsageError(
            "SQL: AT (…) takes a number or a time, written out: AT (VERSION => 42), AT (TIMESTAMP => '2026-11-27 12:00')"
        )
    return str(value["literal"]["text"])


def _table(name: str, known: Collection[str]) -> Table | None:
    """The table that a name in SQL means; SQL names have no case, so a topic of another case is meant if only one fits."""
    if name in known:
        return Table(name)
    alike = [topic for topic in known if topic.lower() == name.lower()]
    if len(alike) == 1:
        return Table(alike[0])
    topic, at, as_of = name.rpartition("@")
    if at and (table := _table(topic, known)) is not None and table.as_of is None:
        return replace(table, as_of=as_of)
    return None
