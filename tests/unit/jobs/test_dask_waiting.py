"""A cluster that sits still is given up after a time, and never one that works."""

from headrace.jobs.batch.dask_waiting import Stillness, Told

IDLE, DONE_MORE, BUSY = {"memory": 3}, {"memory": 4}, {"memory": 3, "executing": 1}


def looks(*states, hung_since=99):
    """What is said at looks that are 20 s apart, with a patience of 60 s, of workers that tell something until they hang."""
    still = Stillness(60, 1000)
    return [
        still.is_too_long(
            {name: Told(20.0 * min(number, hung_since), tasks) for name, tasks in state.items()}, 1020 + 20 * number
        )
        for number, state in enumerate(states)
    ]


def test_a_cluster_where_nothing_happens_is_waited_for_as_long_as_was_said():
    assert looks(*[{"a": IDLE, "b": IDLE}] * 4) == [False, False, False, True]


def test_one_long_task_is_waited_for():
    assert looks(*[{"a": IDLE, "b": BUSY}] * 6) == [False] * 6


def test_a_worker_that_hangs_with_a_task_is_not():
    assert looks(*[{"a": BUSY}] * 6, hung_since=2) == [False] * 5 + [True]


def test_what_is_done_between_looks_counts_and_so_do_workers_that_come_and_go():
    assert looks({"a": IDLE}, {"a": IDLE}, {"a": IDLE}, {"a": DONE_MORE}, {"a": DONE_MORE}, {}, {}, {}) == [False] * 8


def test_a_cluster_whose_workers_are_gone_is_given_up():
    assert looks({}, {}, {}) == [False, False, True]
