"""A worker's failure, which Beam gives as the text of a traceback, is told in one line."""

import pytest

from headrace.errors import CorruptError, PeerError, StorageError
from headrace.jobs.batch.failures import StrangeError, failure_of

_TRACE = """Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/x/jobs/landed_rows.py", line 38, in open_rows
    raise missing(where)
{last}
"""


@pytest.mark.parametrize(
    ("last", "kind", "said"),
    [
        ("headrace.errors.CorruptError: /r/t is damaged: x [while running 'Rows']", CorruptError, "/r/t is damaged: x"),
        ("headrace.errors.StorageError: /r: gone", StorageError, "/r: gone"),
        ("ZeroDivisionError: by zero [while running 'A-7']", StrangeError, "ZeroDivisionError: by zero (in step A-7)"),
        ("KeyError", StrangeError, "KeyError"),
        ("pyarrow.lib.ArrowInvalid: what: ever", StrangeError, "ArrowInvalid: what: ever"),
        ("RuntimeError: ValueError: x [while running 'A']", StrangeError, "RuntimeError: ValueError: x (in step A)"),
    ],
)
def test_the_last_error_of_a_traceback_is_what_is_told(last, kind, said):
    error = failure_of(_TRACE.format(last=last), "j")
    assert (type(error), str(error)) == (kind, f"j: {said}")


@pytest.mark.parametrize(
    "text",
    [
        "Channel closed prematurely.",
        "Worker subprocess exited with return code -9",
        "distributed.scheduler.KilledWorker: Attempted to run task 'x' on 4 different workers, but all those workers died",
    ],
)
def test_a_worker_s_death_is_told_as_such(text):
    error = failure_of(text, "j")
    assert (type(error), str(error).partition(",")[0]) == (PeerError, "j: a worker has died")


def test_what_stands_behind_the_error_does_not_hide_it():
    text = _TRACE.format(last="headrace.errors.StorageError: /r: gone") + "\n\nSee also the log of the worker\n"
    assert str(failure_of(text, "j")) == "j: /r: gone"


def test_the_failure_that_an_error_refers_to_is_told():
    refers = "RuntimeError: Bundle processing of i1 has failed. Check prior failing response and attached exception"
    text = f"split[i1] error: RuntimeError: Original Exception: {_TRACE.format(last='headrace.errors.StorageError: /r: gone')}"
    assert str(failure_of(f"{text}\nThe above exception was the cause:\n\n{refers}", "j")) == "j: /r: gone"


def test_a_text_without_an_error_is_told_by_its_last_line():
    assert str(failure_of("state FAILED\nbundle 7 failed", "j")) == "j: bundle 7 failed"
    assert str(failure_of("", "j")) == "j: failed"


def test_a_command_says_of_an_error_that_is_none_of_ours_how_to_see_all_of_it_and_python_does_not():
    strange, ours = failure_of("KeyError: 7", "j"), failure_of("headrace.errors.StorageError: /r: gone", "j")
    assert (str(strange), strange.lines) == ("j: KeyError: 7", ("j: KeyError: 7; --debug shows all of it",))
    assert ours.lines == ("j: /r: gone",)
