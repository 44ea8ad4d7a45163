"""Beam's source reads tables on S3 and HDFS as those here, by our own stores, in worker processes too."""

import apache_beam as beam
import pytest

from headrace.beam import ReadTable, run_pipeline
from tests.integration.sinks.test_query_elsewhere import HOUR, T0, land

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "runner"), [("versitygw", "multiprocess"), ("hdfs-native", "portable"), ("versitygw", "portable")]
)
def test_tables_elsewhere_are_read_as_those_here(kind, runner, new_root, tmp_path):
    url = new_root(kind)
    land(url, tmp_path, 50)
    source = {"columns": ["position", "message"], "since": T0 + HOUR, "where": [("position", "<", 70)]}

    def rows(root, name):
        table = ReadTable(root, "logs", rows=True, **source)
        return sorted(run_pipeline(lambda p: p | table, name), key=lambda row: row["position"])

    here = rows(tmp_path, "inprocess")
    assert [row["position"] for row in here] == list(range(50, 70))
    assert rows(url, runner) == here
    counted = run_pipeline(lambda p: p | ReadTable(url, "logs", columns=["part"]) | beam.Map(lambda batch: batch.num_rows))
    assert sum(counted) == 100
