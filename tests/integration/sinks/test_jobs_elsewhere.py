"""A job's input and its table on S3 and HDFS, by our own stores, on several runners."""

import pytest

from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.job import IN_PROCESS, Runner
from headrace.jobs.batch.running import run_job
from headrace.jobs.sql.query import ask
from headrace.sinks.check import check_table
from headrace.sinks.derived.slices import day
from tests.integration.jobs.dask_cluster import dask_cluster
from tests.integration.sinks.test_query_elsewhere import land


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("versitygw", "multiprocess"), ("hdfs-native", "dask")])
def test_a_job_reads_and_replaces_tables_elsewhere_on_two_runners(kind, name, new_root, tmp_path):
    url = new_root(kind)
    land(url, tmp_path, 50)

    def counted(root, runner):
        outcome = run_job(made("counts"), root, day("2025-11-23"), runner=runner)
        with ask(root, "SELECT * FROM job_counts ORDER BY ALL") as reader:
            return outcome, reader.read_all().to_pylist()

    _, here = counted(tmp_path, IN_PROCESS)
    assert [row["events"] for row in here] == [50, 50]
    first, rows = counted(url, IN_PROCESS)
    assert rows == here
    with dask_cluster(tmp_path) as address:  # with what the stores' clients need in its environment
        options = (f"--dask_client_address={address}",) if name == "dask" else ()
        again, rows = counted(url, Runner(name, options))
    assert (rows, again.replaced) == (here, first.attempt)
    assert not check_table(url, "job_counts", deep=True).broken
