"""Run by .peers/spark's Python: read what is asked for, and say what Spark sees of it. One session: Spark takes long to start.

A line of JSON asks: `format` (iceberg, parquet, avro), `from` (a table, or paths), and `options`, `schema`, `select`, `where`
where wanted; or how many rows Hive's input format for Parquet finds in directories (`hive`). A line of JSON answers: `rows`, as
objects of plain values, or `error`.
"""

import json
import os
import sys

from plain_values import plain
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

jars, warehouse, uri = sys.argv[1:]
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever Java writes is no answer
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.jars", jars)
    .config("spark.ui.enabled", "false")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.codegen.wholeStage", "false")
    .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    .config("spark.sql.warehouse.dir", warehouse)
    .config("spark.sql.catalog.rest", "org.apache.iceberg.spark.SparkCatalog")
    .config("spark.sql.catalog.rest.type", "rest")
    .config("spark.sql.catalog.rest.uri", uri)
    .config("spark.sql.catalog.rest.cache-enabled", "false")
    .getOrCreate()
)


def counted_by_hive(directories):
    def named(name):
        return spark._jvm.java.lang.Class.forName(name)

    types = ("hive.ql.io.parquet.MapredParquetInputFormat", "io.NullWritable", "io.ArrayWritable")
    found = spark.sparkContext._jsc.hadoopFile(directories, *(named(f"org.apache.hadoop.{name}") for name in types), 1)
    return {"rows": [{"count": found.count()}]}


def answer(asked):
    try:
        if asked["format"] == "hive":
            return counted_by_hive(asked["from"])
        reader = spark.read.format(asked["format"]).options(**asked.get("options", {}))
        if "schema" in asked:
            reader = reader.schema(asked["schema"])
        found = reader.load(asked["from"])
        found = found.where(asked["where"]) if "where" in asked else found
        found = found.select(*asked["select"]) if "select" in asked else found
        return {"rows": [{name: plain(row[name]) for name in found.columns} for row in found.collect()]}
    except (PySparkException, Py4JError) as error:
        return {"error": str(error)}


for line in sys.stdin:
    answers.write(json.dumps(answer(json.loads(line))) + "\n")
    answers.flush()
