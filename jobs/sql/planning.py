"""From a statement to the files that it needs: DuckDB plans it over empty tables, and the log says what can be left out."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.jobs.sql.keys_only import asked_for_keys, typed_keys
from headrace.jobs.sql.pruning import BARRIER, PlanNames, filters, kept, with_barriers
from headrace.jobs.sql.tables import OpenTable
from headrace.jobs.sql.views import Columns, identifier
from headrace.sinks.table.record import DataFile

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Needed:
    """The files that can hold rows which a statement needs of a view; `keys`: it needs only these of their paths' keys."""

    files: list[DataFile]
    keys: tuple[str, ...] = ()


def needed(
    connection: "duckdb.DuckDBPyConnection",
    sql: str,
    opened: Mapping[str, OpenTable],
    schemas: Mapping[str, "pa.Schema | None"],
    *,
    most_plans: int,
) -> dict[str, Needed]:
    """What a statement needs of each view's table; all, where a table's columns are not known.

    Runs in the transaction that the statement will run in, and leaves no views behind.

    Args:
        opened: the tables, by the names of their views. schemas: their columns, as of `schema_of`.
        most_plans: 1: the statement's own; 2: and the one with barriers, where that leaves several files; 0: all are needed.
    Raises:
        duckdb.Error: DuckDB does not plan it so; the transaction is of no use any more. Ask for fewer plans in another.
    """
    known = {view: schema for view, schema in schemas.items() if schema is not None}
    if not opened or len(known) < len(opened) or not most_plans:
        return {view: Needed(list(table.files)) for view, table in opened.items()}
    names = PlanNames(secrets.token_hex(8))
    found = {view: _known(table) for view, table in opened.items()}
    keys = {view: tuple(typed_keys(table.keys)) for view, table in opened.items()}
    with _empty_views(connection, known, names):
        plan = _plan(connection, sql)
        of_keys = asked_for_keys(plan, names, keys)
        found = _left(connection, plan, names, found)
        may_be_fewer = most_plans > 1 and any(len(files) > 1 for files in found.values())
        if may_be_fewer and (barred := _with_barriers(connection, sql)) is not None:
            found = _left(connection, _plan(connection, barred), names, found)
    unknown = {view: [file for file in table.files if file.columns is None] for view, table in opened.items()}
    return {view: Needed(unknown[view] + found[view], keys[view] if view in of_keys else ()) for view in opened}


def _left(
    connection: "duckdb.DuckDBPyConnection", plan: Any, names: PlanNames, files: Mapping[str, list[DataFile]]
) -> dict[str, list[DataFile]]:
    """Those of each view's files that a plan needs."""
    scans = filters(plan, names, list(files), lambda text: _condition(connection, text))
    return {view: kept(each, scans[view], names) for view, each in files.items()}


def _plan(connection: "duckdb.DuckDBPyConnection", text: str) -> Any:
    ((_, plan),) = connection.execute(f"EXPLAIN (FORMAT json) {text}").fetchall()
    return json.loads(plan)


def _known(table: OpenTable) -> list[DataFile]:
    """The files whose columns are the table's: what has another version of headrace landed may have others."""
    return [file for file in table.files if file.columns is not None]


def schema_of(table: OpenTable) -> "pa.Schema | None":
    """A table's columns, those of its files' paths last; None where the log does not say them."""
    import pyarrow as pa

    from headrace.sinks.table.arrow_schema import decode_schema

    if table.arrow_schema is None:
        return None
    keys = keys_of(table)
    return pa.schema([*(field for field in decode_schema(table.arrow_schema) if field.name not in keys.names), *keys])


def keys_of(table: OpenTable) -> "pa.Schema":
    """The columns that the paths of a table's files are."""
    import pyarrow as pa

    types = {"DATE": pa.date32(), "INTEGER": pa.int32(), "VARCHAR": pa.string()}
    return pa.schema([(key, types[kind]) for key, kind in table.keys.items()])


def columns_of(connection: "duckdb.DuckDBPyConnection", schema: "pa.Schema") -> Columns:
    """A schema's columns in DuckDB's words."""
    with _registered(connection, schema) as name:
        return [(column, kind) for column, kind, *_ in connection.execute(f"DESCRIBE FROM {name}").fetchall()]


def _with_barriers(connection: "duckdb.DuckDBPyConnection", sql: str) -> str | None:
    """The statement with a barrier around each comparison; None: it has none, or cannot be so written."""
    tree, barrier = _tree(connection, sql), _tree(connection, f"SELECT {BARRIER}(1)")
    if tree["error"] or not with_barriers(tree, barrier["statements"][0]["node"]["select_list"][0]):
        return None
    ((text,),) = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()
    return str(text)


@contextmanager
def _empty_views(
    connection: "duckdb.DuckDBPyConnection", schemas: Mapping[str, "pa.Schema"], names: PlanNames
) -> Iterator[None]:
    """Views without rows, whose columns have secret names below those that statements know."""
    with ExitStack() as stack:
        made = []
        for view, schema in schemas.items():
            secret = [names.name(view, field.name) for field in schema]
            columns = ", ".join(f"{own} AS {identifier(field.name)}" for own, field in zip(secret, schema, strict=True))
            name = stack.enter_context(_registered(connection, _renamed(schema, secret)))
            connection.execute(f"CREATE TEMP VIEW {identifier(view)} AS SELECT {columns} FROM {name}")  # noqa: S608 - quoted
            made.append(view)
        yield
        for view in made:
            connection.execute(f"DROP VIEW {identifier(view)}")


def _renamed(schema: "pa.Schema", names: list[str]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


@contextmanager
def _registered(connection: "duckdb.DuckDBPyConnection", schema: "pa.Schema") -> Iterator[str]:
    name = f"columns_{secrets.token_hex(8)}"
    connection.register(name, schema.empty_table())
    try:
        yield name
    finally:
        connection.unregister(name)


def _condition(connection: "duckdb.DuckDBPyConnection", text: str) -> Any:
    """The syntax tree of a condition that a plan prints; None: it is no SQL."""
    tree = _tree(connection, f"SELECT 1 WHERE {text}")
    return None if tree["error"] else tree["statements"][0]["node"].get("where_clause")


def _tree(connection: "duckdb.DuckDBPyConnection", sql: str) -> Any:
    ((said,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    return json.loads(said)
