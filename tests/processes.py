"""Real parts as real processes on free loopback ports, stopped by process id."""

import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests import forks

_PORTS = range(15_000, 32_000)  # below those that the kernel gives to clients
AFRESH = ("env",)  # what a part is started under where its memory is looked at: no memory of a mold (tests/forks.py) is in it
_RESERVED: collections.deque[socket.socket] = collections.deque()


def free_port() -> int:
    """A loopback port that nobody listens on now; no other process of tests is given it while this one asks for 64 others."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            reserved = socket.socket(socket.AF_UNIX)
            try:
                reserved.bind(f"\0headrace-tests-port-{port}")
            except OSError:
                reserved.close()
                continue
            _RESERVED.append(reserved)
            if len(_RESERVED) > 64:
                _RESERVED.popleft().close()
            return port


class Part:
    """One `headrace <part> --config …`: started, asked to stop (SIGTERM), or killed; its log is `DIR/logs/<part>.log`."""

    def __init__(self, part: str, directory: Path, config: dict[str, Any], *arguments: str) -> None:
        self.part, self.directory, self.arguments, self.config = part, directory, arguments, config
        self.config_file = directory / "etc" / f"{part}.yaml"
        self.run_file = directory / "run" / f"{part}.json"
        self.log_file = directory / "logs" / f"{part}.log"
        for file in (self.config_file, self.run_file, self.log_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(yaml.safe_dump(config))
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, *, timeout_s: float = 30, wait: bool = True, stdin: int | None = None, under: Sequence[str] = (),
        **variables: str,
    ) -> "Part":  # fmt: skip
        """Start it, with a descriptor as its standard input or with ours.

        Args:
            under: a command that becomes the one behind it (`unshare --mount`, `sh -c '… exec "$@"'`).
            variables: are added to the environment.
        """
        self.run_file.unlink(missing_ok=True)
        files = ["--config", str(self.config_file), "--run-file", str(self.run_file)]
        command = [*under, *forks.PREFIX, self.part, *files, *self.arguments]
        environment = {**os.environ, "HEADRACE_PARENT": str(os.getpid()), **variables}
        with self.log_file.open("ab") as log:
            self.process = forks.Headrace(command, stdin=stdin, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + timeout_s
        while wait and not self.run_file.exists():
            assert self.process.poll() is None, f"{self.part} ended with {self.process.returncode}: {self.log_tail()}"
            assert time.monotonic() < deadline, f"{self.part} is not ready after {timeout_s} s: {self.log_tail()}"
            time.sleep(0.02)
        return self

    @property
    def ports(self) -> dict[str, int]:
        return dict(json.loads(self.run_file.read_text())["ports"])

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        """All that it has said, of every run."""
        return self.log_file.read_text(errors="replace")

    def log_tail(self) -> str:
        """The end of it, for the message of an assertion; more may have been said since what is looked for."""
        return self.log()[-3000:]

    def wait(self, timeout_s: float = 60) -> int:
        """The exit status, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, and the exit status."""
        return self._signal(signal.SIGTERM, timeout_s)

    def kill(self) -> int:
        """kill -9."""
        return self._signal(signal.SIGKILL, 10)

    def _signal(self, signum: int, timeout_s: float) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            return self.process.wait(timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> "Part":
        return self if self.process is not None and self.process.poll() is None else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def broker(directory: Path, **config: Any) -> Part:
    """A broker on a port that stays the same when it is started again; `config` adds Kafka keys (`.` written `_`)."""
    port = free_port()
    keys = {key.replace("_", "."): value for key, value in config.items()}
    return Part(
        "broker",
        directory,
        {"listeners": f"PLAINTEXT://127.0.0.1:{port}", "log.dirs": str(directory / "broker"), **keys},
    )


def registry(directory: Path, bootstrap: str) -> Part:
    """A registry on a free port."""
    return Part(
        "registry",
        directory,
        {"listen": f"127.0.0.1:{free_port()}", "kafka": {"bootstrap.servers": bootstrap}},
    )
