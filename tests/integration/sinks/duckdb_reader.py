"""Run by .peers/duckdb's Python, whose DuckDB has the extensions for Avro and Iceberg.

Each argument is a statement, for which a line of JSON says what DuckDB sees: `rows`, as objects of plain values, or `error`.
"""

import importlib.util
import json
import sys
from pathlib import Path

import duckdb
from plain_values import plain

database = duckdb.connect()
for name in ("parquet", "avro", "iceberg"):
    folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
    database.load_extension(str(next(Path(folder).rglob("*.duckdb_extension"))))
database.sql("SET TimeZone = 'UTC'")


def answer(statement):
    try:
        instants = [name for name, kind, *_ in database.execute(f"DESCRIBE {statement}").fetchall() if "WITH TIME ZONE" in kind]
        casts = ", ".join(f'"{name}"::TIMESTAMP AS "{name}"' for name in instants)  # as instants they take pytz to fetch
        found = database.execute(f"SELECT * REPLACE ({casts}) FROM ({statement})" if casts else statement)
        names = [column[0] for column in found.description]
        return {"rows": [{name: plain(value) for name, value in zip(names, row, strict=True)} for row in found.fetchall()]}
    except duckdb.Error as error:
        return {"error": str(error)}


for statement in sys.argv[1:]:
    print(json.dumps(answer(statement)))
