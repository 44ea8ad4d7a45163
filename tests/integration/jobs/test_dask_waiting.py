"""A real cluster of Dask's that sits still is given up, one that works is not."""

import time

import distributed
import pytest

from headrace.errors import PeerError
from headrace.jobs.batch.dask_waiting import wait_until_done


@pytest.fixture
def client():
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, distributed.Client(cluster, set_as_default=False) as found:
        yield found


def test_one_long_task_is_waited_for_and_work_that_no_worker_does_is_given_up(client):
    wait_until_done(client, [client.submit(time.sleep, 3)], patience_s=2, look_s=0.1)
    nobodys = client.submit(len, "one", resources={"none": 1})
    with pytest.raises(PeerError, match="none of 2 workers has done anything for 1 s, and the work is not done; restart"):
        wait_until_done(client, [nobodys], patience_s=1, look_s=0.1)
