"""The logging.Handler before the agent's own unix source: what is logged arrives, and an agent that is away stops nobody."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.handler import AgentHandler
from headrace.agents.sources.doors import Doors
from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.keys import UnixKeys
from headrace.agents.sources.unix import UnixSource
from headrace.clock import SystemClock


class Agent:
    """An agent's unix source on a thread of its own; what it takes in is durable unless it is `held`."""

    cursor = ""
    full = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self.held = False
        self._doors = Doors()
        self._begun = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run)

    def began(self) -> None:
        self._begun.set()

    async def put(self, lines: Sequence[Pushed]) -> None:
        if self.held:
            await asyncio.sleep(3600)
        self.lines.extend(each.line for each in lines)

    def _run(self) -> None:
        keys = UnixKeys.model_validate({"path": self.path})
        self._task = self._loop.create_task(UnixSource("app", keys, SystemClock(), self._doors).run(self))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            self._loop.close()

    def __enter__(self) -> "Agent":
        self._thread.start()
        assert self._begun.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._doors.close()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def messages(self) -> list[str]:
        return [record["message"] for record in self.records()]


def logger_with(handler: AgentHandler) -> logging.Logger:
    logger = logging.Logger("app")
    logger.addHandler(handler)
    return logger


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[AgentHandler]:
    ours = AgentHandler(str(tmp_path / "socket"), flush_timeout_s=20)
    yield ours
    ours.flush_timeout_s = 0
    ours.close()


def test_a_record_is_a_line_of_json_with_what_was_logged_beside_it(handler: AgentHandler) -> None:
    logger = logger_with(handler)
    with Agent(Path(handler.path)) as agent:
        try:
            raise ValueError("no good")
        except ValueError:
            logger.exception("it %s\nover two lines", "failed", extra={"user": "ann", "tags": ["a", 1], "what": Path("/x")})
        logger.info("über \udcff")
        handler.flush()
    first, second = agent.records()
    assert first["message"] == "it failed\nover two lines"
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("ValueError: no good")
    assert [first[name] for name in ("level", "logger", "user", "tags", "what")] == ["ERROR", "app", "ann", ["a", 1], "/x"]
    assert first["time"].endswith("+00:00")
    assert second["message"] == "über \udcff"


def test_a_record_that_cannot_be_made_is_told_and_stops_nobody(
    handler: AgentHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    logger_with(handler).info("%d", "not a number")
    assert "not a number" in capsys.readouterr().err


def test_order_is_kept_over_many_batches(handler: AgentHandler) -> None:
    logger = logger_with(handler)
    with Agent(Path(handler.path)) as agent:
        for number in range(5000):
            logger.info("%d", number)
        handler.flush()
    assert agent.messages() == [str(number) for number in range(5000)]


def test_what_waits_for_an_agent_arrives_when_it_is_there(handler: AgentHandler) -> None:
    logger_with(handler).info("early")
    with Agent(Path(handler.path)) as agent:
        handler.flush()
    assert agent.messages() == ["early"]


def test_what_no_longer_fits_is_dropped_counted_and_told_and_told_again_when_the_agent_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = AgentHandler(str(tmp_path / "socket"), max_bytes=3000, flush_timeout_s=20)
    logger = logger_with(handler)
    for number in range(100):
        logger.info("%d", number)
    kept = 100 - handler.dropped
    assert 3 < kept < 30
    assert capsys.readouterr().err.count("records are dropped") == 1
    with Agent(tmp_path / "socket") as agent:
        handler.flush()
        assert agent.messages()[:kept] == [str(number) for number in range(kept)]
        assert agent.messages()[kept:] == [
            f"{100 - kept} records were dropped: the agent took nothing, and no more fit into memory"
        ]
    assert "is back" in capsys.readouterr().err
    handler.close()


def test_what_was_not_called_durable_is_handed_over_again(handler: AgentHandler) -> None:
    logger = logger_with(handler)
    with Agent(Path(handler.path)) as agent:
        agent.held = True
        logger.info("read by the first agent, and not durable")
        handler.flush_timeout_s = 0.2
        handler.flush()
    assert agent.lines == []
    handler.flush_timeout_s = 20
    with Agent(Path(handler.path)) as another:
        handler.flush()
    assert another.messages() == ["read by the first agent, and not durable"]


def test_logging_does_not_wait_for_an_agent_that_takes_nothing(handler: AgentHandler) -> None:
    logger = logger_with(handler)
    with Agent(Path(handler.path)) as agent:
        agent.held = True
        slowest_s = 0.0
        for number in range(2000):
            begin = time.perf_counter()
            logger.info("%d", number)
            slowest_s = max(slowest_s, time.perf_counter() - begin)
    assert slowest_s < 15, "it would wait for ever"


_FORKS = """
import logging, os, sys
from headrace.agents.handler import AgentHandler
handler = AgentHandler(sys.argv[1], flush_timeout_s=20)
logger = logging.getLogger("app")
logger.addHandler(handler)
logger.warning("parent waits")
child = os.fork()
logger.warning("child" if child == 0 else "parent")
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_child_hands_over_its_own_records_only_and_the_exit_flushes(tmp_path: Path) -> None:
    script = [sys.executable, "-c", _FORKS, str(tmp_path / "socket")]
    with Agent(tmp_path / "socket") as agent:
        assert subprocess.run(script, env={**os.environ}, timeout=60, check=False).returncode == 0
    assert sorted(agent.messages()) == ["child", "parent", "parent waits"]


def test_an_exit_without_an_agent_waits_its_time_and_tells_what_is_dropped(tmp_path: Path) -> None:
    script = _FORKS.replace("flush_timeout_s=20", "flush_timeout_s=0.1")
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "nobody")], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0
    assert "does not take the last 2 records" in ended.stderr
    assert "does not take the last 1 records" in ended.stderr


def test_what_an_exit_has_just_waited_for_in_vain_it_does_not_wait_for_again(
    handler: AgentHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    logger_with(handler).info("nobody comes")
    handler.flush_timeout_s = 0.05
    handler.flush()
    handler.flush_timeout_s = 3600  # for which the test would stand still
    handler.close()
    assert "does not take the last 1 records" in capsys.readouterr().err


def test_values_that_are_no_json_cost_their_form_and_not_the_record(handler: AgentHandler) -> None:
    itself: dict[str, Any] = {}
    itself["self"] = itself
    logger = logger_with(handler)
    with Agent(Path(handler.path)) as agent:
        logger.info("odd", extra={"user": "ann", "by_place": {(1, 2): 3}, "itself": itself})
        handler.flush()
    (record,) = agent.records()
    assert [record[name] for name in ("message", "user", "by_place")] == ["odd", "ann", "{(1, 2): 3}"]
    assert record["itself"].startswith("{'self':")


def test_a_program_that_may_start_no_thread_any_more_logs_on(handler: AgentHandler) -> None:
    logger = logger_with(handler)
    before = threading.stack_size(1 << 46)  # bytes, which no machine gives
    try:
        logger.info("without a thread")
    finally:
        threading.stack_size(before)
    handler.flush()  # at once: nobody is there who could hand it over
    with Agent(Path(handler.path)) as agent:
        logger.info("with one")
        handler.flush()
    assert agent.messages() == ["without a thread", "with one"]


_INTERRUPTED = """
import logging, signal, sys
from headrace.agents.handler import AgentHandler
logger = logging.getLogger("app")
logger.addHandler(AgentHandler(sys.argv[1], flush_timeout_s=0))
logging.raiseExceptions = False
signal.signal(signal.SIGVTALRM, lambda *_: logger.warning("interrupted"))
signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)  # of its own CPU time
for _ in range(40_000):
    logger.warning("in turn")
signal.setitimer(signal.ITIMER_VIRTUAL, 0)
"""


def test_a_signal_handler_may_log_whatever_it_interrupts(tmp_path: Path) -> None:
    script = [sys.executable, "-c", _INTERRUPTED, str(tmp_path / "nobody")]
    assert subprocess.run(script, capture_output=True, timeout=100, check=False).returncode == 0
