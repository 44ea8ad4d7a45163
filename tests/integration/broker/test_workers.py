"""Jobs in processes of their own: results and errors come back, a death is told, and nothing stays behind."""

import asyncio
import os
import signal

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
