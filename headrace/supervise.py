"""Parts as child processes of one data directory, for `headrace up` and `headrace demo`.

A supervisor talks to its parts through files and signals only: `DIR/etc/<part>.yaml` (written here), `DIR/run/<part>.json`
(written by the part when it is ready), SIGTERM. A part that dies is started again within a second. Children end when the
supervisor dies, even by kill -9, because each asks the kernel for it (process.py); a supervisor that starts waits for the
last one's orphans.
"""

import contextlib
import errno
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import HeadraceError, UsageError
from headrace.process import PARENT_VARIABLE, writable_directory

STOP_ORDER = ("agent", "load", "registry", "broker")
ORPHAN_WAIT_S = 20.0
RESTART_DELAY_S = 0.5
_POLL_S = 0.02
_OVERRIDES = "HEADRACE__"  # as config.py has it, whose import would take a tenth of a second here


class Layout:
    """The folders of one data directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        self.run = root / "run"
        self.broker = root / "broker"
        self.agent = root / "agent"
        self.landed = root / "landed"
        self.logs = root / "logs"

    def make(self) -> None:
        """Make every folder.

        Raises:
            UsageError: the directory cannot be written.
        """
        for folder in (self.root, self.etc, self.run, self.broker, self.agent, self.landed, self.logs):
            writable_directory(folder, "data directory")


def free_ports(count: int) -> list[int]:
    """Different loopback ports that nobody listens on now.

    They lie below those that the system gives to clients, where there is room: one of those may be taken by any connection
    while its part is away, even by the connection to it that a client tries.
    """
    try:
        end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        end = 32768
    candidates = random.sample(range(10_000, end), k=end - 10_000) if end > 11_000 else [0] * count
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for candidate in candidates:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                ports.append(int(probe.getsockname()[1]))
            if len(ports) == count:
                return ports
    raise HeadraceError("no free port on 127.0.0.1; stop what listens there")


def check_port_free(port: int, what: str, option: str) -> None:
    """
    Raises:
        UsageError: somebody listens on that loopback port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = "is in use" if error.errno == errno.EADDRINUSE else str(error.strerror).lower()
            raise UsageError(
                f"port {port} ({what}) {reason}; stop what listens there, or choose another with {option}"
            ) from error


@contextlib.contextmanager
def only_supervisor(layout: Layout) -> Iterator[None]:
    """Hold the data directory alone, once the parts of a supervisor that died have ended too.

    Raises:
        UsageError: another supervisor holds it, or an orphan has not ended within 20 s.
    """
    with (layout.run / "supervisor.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{layout.root} is in use by another headrace; stop it, or choose another directory with --data"
            ) from error
        _await_orphans(layout)
        yield


def _await_orphans(layout: Layout) -> None:
    deadline = time.monotonic() + ORPHAN_WAIT_S
    for file in sorted(layout.run.glob("*.json")):
        try:
            pid = int(json.loads(file.read_text())["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            pid = 0
        while pid and _runs_on(pid, layout):
            if time.monotonic() > deadline:
                raise UsageError(f"{file.stem} (process {pid}) still runs on {layout.root}; stop it first")
            time.sleep(0.1)
        file.unlink(missing_ok=True)


def _runs_on(pid: int, layout: Layout) -> bool:
    """Whether the process is a part of this directory (the number may belong to a stranger by now)."""
    try:
        return str(layout.etc).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass(slots=True)
class _Child:
    arguments: tuple[str, ...]
    stdout: Any
    process: subprocess.Popen[bytes]
    finite: bool = False  # ends by itself when its work is done
    died_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """The running parts of one data directory. Not thread-safe: one thread starts, watches and stops."""

    layout: Layout
    children: dict[str, _Child] = field(default_factory=dict)

    def configure(self, part: str, config: Mapping[str, Any]) -> None:
        """Write `DIR/etc/<part>.yaml`."""
        text = "# Written by headrace at every start: changes here are lost.\n" + yaml.safe_dump(dict(config), sort_keys=False)
        file = self.layout.etc / f"{part}.yaml"
        file.touch(mode=0o600)  # it may hold a password
        file.chmod(0o600)
        file.write_text(text)

    def start(
        self, part: str, *arguments: str, stdout: Any = subprocess.DEVNULL, finite: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start one part; with `finite`, an exit with status 0 is its end and not its death."""
        process = self._spawn(part, arguments, stdout)
        self.children[part] = _Child(arguments, stdout, process, finite=finite)
        return process

    def _spawn(self, part: str, arguments: Sequence[str], stdout: Any) -> subprocess.Popen[bytes]:
        run_file = self.layout.run / f"{part}.json"
        run_file.unlink(missing_ok=True)
        config = self.layout.etc / f"{part}.yaml"
        command = [sys.executable, "-m", "headrace", part, "--config", str(config), "--run-file", str(run_file), *arguments]
        # A user's overrides are for parts that he starts: here each would reach every part, and most would refuse it.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OVERRIDES)}
        environment[PARENT_VARIABLE] = str(os.getpid())
        with (self.layout.logs / f"{part}.log").open("ab") as log:
            # A group of its own: Ctrl-C reaches the supervisor alone, which stops the parts in order.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, env=environment, process_group=0
            )

    def is_ready(self, part: str) -> bool:
        """Whether the part has written its run file."""
        return (self.layout.run / f"{part}.json").exists()

    def wait_ready(self, parts: Sequence[str], *, timeout_s: float, stop: threading.Event) -> None:
        """Wait until all parts are ready, or until `stop` is set.

        Raises:
            HeadraceError: one ended instead, or is not ready in time; with its last line.
        """
        deadline = time.monotonic() + timeout_s
        while not stop.is_set() and not all(self.is_ready(part) for part in parts):
            for part in parts:
                if self.children[part].process.poll() is not None and not self.is_ready(part):
                    raise HeadraceError(self.obituary(part))
            if time.monotonic() > deadline:
                late = ", ".join(part for part in parts if not self.is_ready(part))
                raise HeadraceError(f"{late}: not ready after {timeout_s:.0f} s; see {self.layout.logs}")
            time.sleep(_POLL_S)

    def revive(self) -> list[str]:
        """Start again what has died for half a second, and say (for people) what died since the last look."""
        said = []
        for part, child in self.children.items():
            status = child.process.poll()
            if status is None or (child.finite and status == 0):
                continue
            now = time.monotonic()
            if child.died_at is None:
                child.died_at = now
                said.append(f"{self.obituary(part)}; starting it again")
            elif now - child.died_at >= RESTART_DELAY_S:
                child.process = self._spawn(part, child.arguments, child.stdout)
                child.died_at = None
        return said

    def refusal(self) -> str | None:
        """One line on a part that refuses what it was told (status 2): it would do so again."""
        return next((self.obituary(part) for part, child in self.children.items() if child.process.poll() == 2), None)

    def obituary(self, part: str) -> str:
        """One line on how a part ended, with the last thing it said if it ended by itself."""
        status = self.children[part].process.poll()
        log = self.layout.logs / f"{part}.log"
        if status is not None and status < 0:
            return f"{part} was killed by {signal.Signals(-status).name} (see {log})"
        lines = log.read_text(errors="replace").strip().splitlines()[-1:] if log.exists() else []
        last = f": {lines[0][:300]}" if lines else ""
        return f"{part} ended with status {status} (see {log}){last}"

    def stop(self, *, timeout_s: float = 60) -> list[str]:
        """Stop all parts in order, each drained before the next is asked; say (for people) what did not end well."""
        said = []
        for part in STOP_ORDER:
            child = self.children.pop(part, None)
            if child is None:
                continue
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
            try:
                status = child.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                said.append(f"{part} did not stop within {timeout_s:.0f} s and was killed (see {self.layout.logs / part}.log)")
                continue
            if status not in (0, -signal.SIGTERM):  # the latter had not got as far as asking for the signal
                said.append(f"{part} stopped with status {status} (see {self.layout.logs / part}.log)")
        return said
