"""Apache Kafka's own command-line tools, from the jars that `make peers` fetches."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBS = (Path(__file__).parents[2] / ".peers" / "kafka" / "libs").resolve()
CLASSES = LIBS.with_name("classes.jsa")  # tests/peers/share_classes.py
_SHARED = [f"-XX:SharedArchiveFile={CLASSES}"] if CLASSES.exists() else []
# Short runs: no optimizing compiler, the simplest collector, and classes that have been read before.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", *_SHARED, "-cp", f"{LIBS}/*"]
TOOLS = "org.apache.kafka.tools"
CONFIGS = "kafka.admin.ConfigCommand"


class JavaTools:
    """Runs tools against one broker. Names are classes under `org.apache.kafka.tools`; CONFIGS is elsewhere."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def command(self, tool: str, *arguments: str) -> list[str]:
        return self.bare_command(tool, "--bootstrap-server", self.bootstrap, *arguments)

    def bare_command(self, tool: str, *arguments: str) -> list[str]:
        """Without the broker's address, which ProducerPerformance takes from its file."""
        return [*JAVA, tool if tool == CONFIGS else f"{TOOLS}.{tool}", *arguments]

    def run(self, tool: str, *arguments: str, stdin: str = "", exit_status: int | None = 0) -> str:
        """Its standard output; with an exit status other than 0 (None: any) expected, standard error after it."""
        done = subprocess.run(self.command(tool, *arguments), input=stdin, capture_output=True, text=True, timeout=60)
        said = done.stdout + done.stderr
        assert exit_status is None or done.returncode == exit_status, said
        return done.stdout if exit_status == 0 else said


class Verifiable:
    """A tool of the verifiable pair: a process that says in JSON, line by line, what happens to it."""

    def __init__(self, command: list[str], output: Path) -> None:
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)

    def events(self, name: str) -> list[dict[str, Any]]:
        whole = [line for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]
        events = [json.loads(line) for line in whole if line.startswith("{")]
        return [event for event in events if event["name"] == name]

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


def until(condition: Callable[[], bool], what: str, timeout_s: float = 40) -> None:
    """Return when the condition holds; `what` says what has gone wrong if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
