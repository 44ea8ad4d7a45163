"""Run by .peers/duckdb's Python: read an Iceberg table by its metadata file, and print what DuckDB sees of it, as JSON."""

import importlib.util
import json
import sys
from pathlib import Path

import duckdb

metadata, *filters = sys.argv[1:]
database = duckdb.connect()
for name in ("parquet", "avro", "iceberg"):
    folder = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
    database.load_extension(str(next(Path(folder).rglob("*.duckdb_extension"))))
database.sql("SET TimeZone = 'UTC'")
table = database.sql(f"SELECT * FROM iceberg_scan('{metadata}')")
print(
    json.dumps(
        {
            "offsets": sorted(table.select("_incarnation", "_kafka_partition", "_offset").fetchall()),
            "counts": [table.filter(one).count("*").fetchone()[0] for one in filters],
        }
    )
)
