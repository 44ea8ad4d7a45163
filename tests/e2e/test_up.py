"""`headrace up`: real parts, killed one after another in the middle, and every line is one row in the end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.sinks.table.reader import snapshot, tables
from tests.landed_rows import lines_of, repeated_identities, rows
from tests.processes import free_port


class Up:
    """One `headrace up` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "app.log"
        self.log.touch()
        self.ports = [free_port() for _ in range(3)]
        self.process: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        port, registry, http = map(str, self.ports)
        ports = ["--port", port, "--registry-port", registry, "--http-port", http]
        return [sys.executable, "-m", "headrace", "up", str(self.log.parent / "*.log*"), "--data", str(self.data), *ports]

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line == "ready\n":
                return
        raise AssertionError(f"no `ready`: {self.process.stderr.read() if self.process.stderr else ''}")

    def end(self, signum: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.communicate(timeout=90)
        return self.process.returncode

    def pid(self, part: str) -> int:
        return int(json.loads((self.data / "run" / f"{part}.json").read_text())["pid"])

    def row_count(self) -> int:
        root = self.data / "landed"
        return sum(file.rows for file in snapshot(root, "logs").files) if root.exists() and "logs" in tables(root) else 0


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    pipeline = Up(tmp_path)
    yield pipeline
    if pipeline.process is not None and pipeline.process.poll() is None:
        pipeline.process.kill()
        pipeline.process.communicate()


def eventually(what: Callable[[], bool], *, within_s: float) -> float:
    """Seconds until it held."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < within_s, f"not within {within_s} s"
        time.sleep(0.05)
    return time.monotonic() - began


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_line_lands_soon_a_second_one_is_refused_before_anything_starts_and_all_stops_on_sigterm(
    up: Up, tmp_path: Path
) -> None:
    up.start()
    pids = [up.pid(part) for part in ("broker", "registry", "load", "agent")]
    with up.log.open("a") as file:
        file.write("hello\nworld\n")
    eventually(lambda: up.row_count() == 2, within_s=60)
    (tmp_path / "other").mkdir()
    other = Up(tmp_path / "other")
    other.ports[0] = up.ports[0]
    for second, said in ((up, "in use"), (other, f"port {up.ports[0]}")):  # its folder; a port of its
        refused = subprocess.run(second.command(), capture_output=True, text=True, timeout=60, check=False)
        assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1)
        assert said in refused.stderr
    assert "--port" in refused.stderr
    assert not list((other.data / "etc").glob("*"))
    assert up.end() == 0
    assert not any(alive(pid) for pid in pids)
    assert not list((up.data / "run").glob("*.json"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_part_killed_in_turn_loses_and_repeats_nothing(up: Up) -> None:
    up.start()
    written: list[bytes] = []
    stop = threading.Event()

    def write() -> None:
        with up.log.open("ab", buffering=0) as file:
            while not stop.wait(0.002):
                line = b"line %d of the application" % len(written)
                file.write(line + b"\n")
                written.append(line)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for part in ("agent", "broker", "registry", "load", "agent", "load", "broker"):
            had = up.row_count()
            pid = up.pid(part)
            os.kill(pid, signal.SIGKILL)
            eventually(
                lambda part=part, pid=pid: (up.data / "run" / f"{part}.json").exists() and up.pid(part) != pid, within_s=60
            )
            eventually(lambda had=had: up.row_count() > had, within_s=60)
    finally:
        stop.set()
        writer.join()
    eventually(lambda: up.row_count() >= len(written), within_s=60)
    assert up.end() == 0
    landed = rows(file.path for file in snapshot(up.data / "landed", "logs").files)
    assert repeated_identities(landed) == []
    assert lines_of(landed) == {str(up.log): written}


@pytest.mark.slow
def test_kill_of_the_supervisor_ends_its_parts_the_next_start_goes_on_and_ctrl_c_stops_them_in_order(up: Up) -> None:
    up.start()
    up.log.write_bytes(b"one\n")
    eventually(lambda: up.row_count() == 1, within_s=60)
    pids = [up.pid(part) for part in ("broker", "registry", "load", "agent")]
    up.end(signal.SIGKILL)
    up.start()
    assert not any(alive(pid) for pid in pids)
    with up.log.open("ab") as file:
        file.write(b"two\n")
    eventually(lambda: up.row_count() == 2, within_s=60)
    assert up.process is not None
    with up.log.open("ab") as file:
        file.write(b"a line that has only just been written\n")
    os.killpg(up.process.pid, signal.SIGINT)  # as a terminal does
    _, said = up.process.communicate(timeout=90)
    assert (up.process.returncode, said) == (0, "")
    assert not list((up.data / "run").glob("*.json"))
