"""Run by .peers/spark's Python: read an Iceberg table by its metadata file, and print what Spark sees of it, as JSON."""

import json
import sys

from pyspark.sql import SparkSession

jar, warehouse, metadata, *filters = sys.argv[1:]
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.jars", jar)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.warehouse.dir", warehouse)
    .getOrCreate()
)
table = spark.read.format("iceberg").load(metadata)
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
