"""From a statement to the files that it needs: DuckDB plans it over empty tables, and the log says what can be left out."""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headrace.jobs.sql.pruning import PlanNames, filters, kept
from headrace.jobs.sql.tables import OpenTable
from headrace.jobs.sql.views import Columns, identifier, key_types
from headrace.sinks.table.record import DataFile

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


def needed(connection: "duckdb.DuckDBPyConnection", sql: str, opened: Mapping[str, OpenTable]) -> dict[str, list[DataFile]]:
    """The files of each view's table that can hold rows which a statement needs; all, where no plan can be had.

    Runs in the transaction that the statement will run in, and leaves no views behind.

    Args:
        opened: the tables, by the names of their views.
    """
    everything = {view: list(table.files) for view, table in opened.items()}
    schemas = {view: schema for view, table in opened.items() if (schema := schema_of(table)) is not None}
    if not opened or len(schemas) < len(opened):
        return everything
    names = PlanNames(secrets.token_hex(8))
    plan = _plan(connection, sql, schemas, names)
    if plan is None:
        return everything
    scans = filters(plan, names, list(opened), lambda text: _condition(connection, text))
    return {
        view: [file for file in table.files if file.columns is None] + kept(_known(table), scans[view], names)
        for view, table in opened.items()
    }


def _known(table: OpenTable) -> list[DataFile]:
    """The files whose columns are the table's: what has another version of headrace landed may have others."""
    return [file for file in table.files if file.columns is not None]


def schema_of(table: OpenTable) -> "pa.Schema | None":
    """A table's columns, those of its files' paths last; None where the log does not say them."""
    import pyarrow as pa

    from headrace.sinks.evolution import decode_schema

    if table.arrow_schema is None:
        return None
    keys = key_types(file.path for file in table.files)
    types = {"DATE": pa.date32(), "INTEGER": pa.int32(), "VARCHAR": pa.string()}
    own = [field for field in decode_schema(table.arrow_schema) if field.name not in keys]
    return pa.schema([*own, *(pa.field(key, types[kind]) for key, kind in keys.items())])


def columns_of(connection: "duckdb.DuckDBPyConnection", schema: "pa.Schema") -> Columns:
    """A schema's columns in DuckDB's words."""
    with _registered(connection, schema) as name:
        return [(column, kind) for column, kind, *_ in connection.execute(f"DESCRIBE FROM {name}").fetchall()]


def _plan(
    connection: "duckdb.DuckDBPyConnection", sql: str, schemas: Mapping[str, "pa.Schema"], names: PlanNames
) -> list[Any] | None:
    """DuckDB's plan of a statement over empty tables whose columns have secret names; None: it makes none."""
    import duckdb

    made = []
    try:
        for view, schema in schemas.items():
            secret = [names.name(view, field.name) for field in schema]
            columns = ", ".join(f"{own} AS {identifier(field.name)}" for own, field in zip(secret, schema, strict=True))
            name = f"plan_{secret[0]}"
            connection.register(name, _empty(schema, secret))
            made.append((name, view))
            connection.execute(f"CREATE TEMP VIEW {identifier(view)} AS SELECT {columns} FROM {name}")  # noqa: S608 - quoted
        found = connection.execute(f"EXPLAIN (FORMAT json) {sql}").fetchone()
    except duckdb.Error:
        return None
    finally:
        for name, view in made:
            connection.execute(f"DROP VIEW IF EXISTS {identifier(view)}")
            connection.unregister(name)
    plan = json.loads(found[1]) if found else None
    return plan if isinstance(plan, list) else None


def _empty(schema: "pa.Schema", names: list[str]) -> "pa.Table":
    import pyarrow as pa

    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)]).empty_table()


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
    said = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE {text}"]).fetchone()
    tree: Any = json.loads(said[0]) if said else {"error": True}
    return None if tree["error"] else tree["statements"][0]["node"].get("where_clause")


def fingerprint(table: OpenTable) -> str | None:
    """Of the columns that the table has now, as its files have it."""
    from headrace.sinks.data_file import columns_of as of

    return None if table.arrow_schema is None else of(table.arrow_schema)
