"""Run by .peers/spark's Python: read a table of an Iceberg REST catalog, and print what Spark sees of it, as JSON."""

import json
import sys

from pyspark.sql import SparkSession

jar, warehouse, uri, name, *filters = sys.argv[1:]
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
print(
    json.dumps(
        {
            "offsets": sorted(tuple(row) for row in rows),
            "first": json.loads(table.where("_offset = 0").toJSON().first()),
            "counts": [table.where(one).count() for one in filters],
        }
    )
)
