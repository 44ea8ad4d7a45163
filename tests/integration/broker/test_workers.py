"""Jobs in processes of their own: results and errors come back, a death is told, and nothing stays behind."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from headrace.broker.workers import WorkerDiedError, Workers


def whoami(value: int) -> tuple[int, int]:
    return os.getpid(), value


def refuse() -> None:
    raise FileNotFoundError(2, "no such file", "/somewhere")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_runs_in_another_process_and_its_outcome_comes_back() -> None:
    async def scenario() -> None:
        workers = Workers(1)
        pid, value = await workers.run(whoami, 7)
        assert (pid != os.getpid(), value) == (True, 7)
        with pytest.raises(FileNotFoundError):
            await workers.run(refuse)
        workers.kill()

    asyncio.run(scenario())


def test_after_a_death_the_next_job_gets_a_new_process() -> None:
    async def scenario() -> None:
        workers = Workers(1)
        with pytest.raises(WorkerDiedError, match="die"):
            await workers.run(die)
        assert (await workers.run(whoami, 3))[1] == 3
        workers.release()
        assert (await workers.run(whoami, 4))[1] == 4
        workers.kill()

    asyncio.run(scenario())


KILLED_BESIDE_A_WORKER = """
import asyncio, os, signal
from headrace.broker.workers import Workers
async def work():
    print(await Workers(1).run(os.getpid), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(work())
"""


def test_kill_9_of_the_broker_leaves_no_worker_and_no_plain_text_among_the_lines_of_the_log() -> None:
    command = [sys.executable, "-c", KILLED_BESIDE_A_WORKER]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # until nobody has its stderr
    assert killed.returncode == -signal.SIGKILL
    assert int(killed.stdout) > 0
    assert killed.stderr == ""
