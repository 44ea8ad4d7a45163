"""A real cluster of Dask's that sits still is given up, one that works is not; runs share no task, and a night tries again."""

import os
import signal
import threading
import time
from functools import partial

import distributed
import pytest

from headrace.clock import SystemClock
from headrace.errors import PeerError
from headrace.jobs.batch import runners
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.dask_waiting import wait_until_done
from headrace.jobs.batch.job import Runner
from headrace.jobs.batch.runners import run_pipeline
from headrace.jobs.nightly.config import Nightly
from headrace.jobs.nightly.course import Output
from headrace.jobs.nightly.night import Night
from headrace.sinks.derived.slices import day
from tests.integration.jobs import runner_jobs
from tests.integration.jobs.dask_cluster import dask_cluster
from tests.landed_tables import Event, TableWriter
from tests.nights import counted

DAY, NOON = "2025-11-23", 1_763_899_200_000


@pytest.fixture
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as found:
        yield found


def test_one_long_task_is_waited_for_and_work_that_no_worker_does_is_given_up(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        wait_until_done(client, [client.submit(time.sleep, 3)], patience_s=2, look_s=0.1)
        nobodys = client.submit(len, "one", resources={"none": 1})
        with pytest.raises(PeerError, match="none of 2 workers has done anything for 1 s, and the work is not done; restart"):
            wait_until_done(client, [nobodys], patience_s=1, look_s=0.1)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Of the scheduler of one worker."""
    with dask_cluster(tmp_path_factory.mktemp("dask"), workers=1) as found:
        yield found


def tasks_so_far(dask_scheduler):
    return {key for key, *_ in dask_scheduler.transition_log}


def test_no_task_of_a_run_is_called_as_one_of_the_run_before(address):
    found = []
    with distributed.Client(address, set_as_default=False) as client:
        for _ in range(2):
            rows = run_pipeline(runner_jobs.sums, "dask", [f"--dask_client_address={address}"])
            assert sorted(rows, key=lambda row: row["key"]) == runner_jobs.EXPECTED
            found.append(client.run_on_scheduler(tasks_so_far))
    assert len(found[1]) == 2 * len(found[0]) > 40


def test_a_night_whose_cluster_sat_still_runs_the_day_again(tmp_path, monkeypatch, address):
    monkeypatch.setattr(runners, "wait_until_done", partial(wait_until_done, patience_s=2, look_s=0.1))
    TableWriter(tmp_path / "landed", "logs").land_events([Event("a", n, NOON) for n in range(7)])
    root, job, said = str(tmp_path / "landed"), made("counts"), []
    config = Nightly.model_validate({"root": root, "retry_after": "1s", "jobs": [{"job": "counts"}]})
    with distributed.Client(address, set_as_default=False) as client:
        (worker,) = client.run(os.getpid).values()

    def tell(line):
        said.append(line)
        if "failed, again in 1 s" in line:
            os.kill(worker, signal.SIGCONT)
            monkeypatch.setattr(runners, "wait_until_done", wait_until_done)

    runner = Runner("dask", (f"--dask_client_address={address}",))
    outputs = [Output("counts", job, "job_counts", ("logs",))]
    night = Night(config, outputs, runner, SystemClock(), threading.Event(), tell, [day(DAY)], is_whole=False)
    os.kill(worker, signal.SIGSTOP)
    (entry,) = night.run(force=True)
    assert (entry.outcome, entry.tries, entry.rows) == ("ran", 2, 1)
    assert "Dask: none of 1 workers has done anything for 2 s, and the work is not done" in "\n".join(said)
    assert counted(root) == {DAY: 7}
