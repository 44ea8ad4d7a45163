"""An agent that tails one file into topics, and what it has said of itself: waited for, so that no clock decides a verdict."""

import json
import time
from collections.abc import Sequence
from typing import Any

from headrace.errors import CorruptError
from tests import log_faults
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part
from tests.waiting import until


class AuditedAgent:
    """Tails `web.log` into each topic, and another file into `beside`; it has been heard before anything is written."""

    def __init__(self, pipeline: Pipeline, topics: Sequence[str], *, bootstrap: str = "", has_logs: bool = False) -> None:
        """
        Args:
            bootstrap: where it reaches the broker, if not as others do.
            has_logs: each topic has a log of its own, `<topic>.log`.
        """
        self.topics, self._directory = topics, pipeline.directory
        self.log, self._beside = self._directory / "web.log", self._directory / "beside.log"
        self.logs = {topic: self._directory / f"{topic}.log" if has_logs else self.log for topic in topics}
        inputs = [*self.logs.items(), ("beside", self._beside)]
        config: dict[str, Any] = {
            "agent": {"state_dir": str(self._directory / "agent")},
            "kafka": {"bootstrap.servers": bootstrap or pipeline.bootstrap, "compression.type": "none"},
            "registry": pipeline.registry_url,
            "inputs": [{"tail": [str(file)], "topic": topic, "name": topic} for topic, file in inputs],
        }
        for file in (self.log, self._beside):
            file.touch()
        self.part = Part("agent", self._directory, config)
        pipeline.parts.append(self.part)
        self.part.start()
        until(self._heartbeats)

    def write(self, lines: Sequence[str]) -> None:
        with self.log.open("a") as file:
            file.write("".join(lines))

    def wait_until_claimed(self, count: int) -> None:
        """Until it has had so many lines of each topic acknowledged, and has claimed a time at which it had said so."""
        until(lambda: self._has_claimed(count, 0))
        said_ms = time.time_ns() // 1_000_000
        with self._beside.open("a") as file:
            file.write("so that it soon speaks again\n")
        until(lambda: self._has_claimed(count, said_ms))

    def _has_claimed(self, count: int, past_ms: int) -> bool:
        last = (self._heartbeats() or [{"drained_to_ms": None}])[-1]
        if (last["drained_to_ms"] or 0) <= past_ms:
            return False
        return all(max(last["acked"][topic].values(), default=0) >= count for topic in self.topics)

    def _heartbeats(self) -> list[dict[str, Any]]:
        """What the agent has said so far, read beside the broker that runs."""
        try:
            records = log_faults.records(log_faults.log_of(self._directory / "broker", "_audit"))
        except (ValueError, CorruptError):  # there is none yet, or one is just being written
            return []
        return [json.loads(one.value or b"") for one in records if (one.key or b"").startswith(b"agent/")]
