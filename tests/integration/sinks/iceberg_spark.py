"""Run by .peers/spark's Python: read a table of an Iceberg REST catalog, and a directory of landed Parquet files, and print as
JSON what Spark sees of them. One program, because Spark takes long to start."""

import json
import sys

from pyspark.sql import SparkSession

jar, warehouse, uri, name, directory, files, *filters = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.sql.catalog.rest", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.rest.type", "rest")
    .config("spark.sql.catalog.rest.uri", uri)
    .getOrCreate()
)
table = spark.table(f"rest.{name}")
rows = table.select("_incarnation", "_kafka_partition", "_offset").collect()
landed = spark.read.parquet(directory)
listed = spark.read.option("basePath", directory).parquet(*json.loads(files))


def places(frame):
    return sorted(tuple(row) for row in frame.select("_incarnation", "_partition", "_offset").collect())


print(
    json.dumps(
        {
            "directory": places(landed),
            "listed": places(listed),
            "hour": places(landed.where("dt = '2025-11-22' and hour = 13")),
            "offsets": sorted(tuple(row) for row in rows),
            "first": json.loads(table.where("_offset = 0").toJSON().first()),
            "counts": [table.where(one).count() for one in filters],
        }
    )
)
