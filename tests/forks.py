"""`python -m headrace …` as a process of its own that finds everything imported: nine tenths of a start are imports.

The first start in a process of tests begins another one, the mold, which imports what a command needs when it is first asked
for, and forks. What is forked is the real command with its own arguments, environment, working directory and descriptors; it is
the child of who asked (not of the mold), is waited for, signalled and killed like any other, and runs `headrace.__main__` from
the beginning. Only what the interpreter, the loader and libc read once, before Python code runs, cannot be given to it: where
that differs, the command is executed as usual. So are the parts that `headrace up` and `headrace demo` start.
"""

import atexit
import ctypes
import functools
import gc
import importlib
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any, Final, NoReturn

PREFIX: Final = [sys.executable, "-m", "headrace"]
_PR_SET_CHILD_SUBREAPER: Final = 36
_READ_ONCE: Final = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG", "OPENSSL_", "GRPC_", "OMP_", "OPENBLAS_", "MOVED_CLOCK")
_AT_FIRST: Final = dict(os.environ)
"""What the mold begins with: a test may have changed our own since."""
_MOST_BYTES: Final = 100_000  # of a request
# What each command imports once it runs.
_IMPORTS: Final = {
    "agent": [
        "headrace.agents.checking", "headrace.agents.command", "headrace.agents.configuration", "headrace.agents.shipping",
    ],
    "audit": ["headrace.jobs.audit.gate", "headrace.jobs.audit.report", "headrace.sinks.config", "pyarrow.parquet"],
    "broker": ["headrace.broker.check", "headrace.broker.command", "headrace.broker.config", "headrace.broker.serve"],
    "load": [
        "headrace.clock", "headrace.health", "headrace.part_http", "headrace.sinks.command", "headrace.sinks.config",
        "headrace.sinks.lag.collector", "headrace.sinks.lag.telling", "headrace.sinks.loader", "headrace.sinks.stores.roots",
        "numpy.ma", "rich.console",
    ],
    "demo": [
        "headrace.demo_report", "headrace.jobs.audit.auditor", "headrace.pipeline", "headrace.sinks.table.reader",
        "pyarrow.compute", "pyarrow.dataset", "rich.console", "rich.progress",
    ],
    "check": ["headrace.sinks.check", "headrace.sinks.check_command"],
    "files": ["headrace.sinks.files_command", "pyarrow.parquet"],
    "job": ["apache_beam", "headrace.jobs.batch.running", "numpy.ma", "pyarrow.acero"],
    "nightly": ["apache_beam", "headrace.jobs.nightly.config", "headrace.jobs.nightly.night", "numpy.ma", "pyarrow.acero"],
    "query": ["duckdb", "headrace.jobs.far_times", "headrace.jobs.sql.conversation", "numpy.ma"],
    "registry": ["headrace.schemas.command", "headrace.schemas.config", "headrace.schemas.process"],
    "users": ["headrace.broker.users"],
}  # fmt: skip
_EVERY: Final = ["encodings.idna", "headrace.cli", "headrace.part", "pydantic.dataclasses"]


# What librdkafka and our own clients speak to a broker: API key and version.
_SPOKEN: Final = [
    (0, 10), (1, 16), (2, 7), (3, 12), (8, 9), (9, 7), (10, 2), (11, 5), (12, 3), (13, 1), (14, 3), (18, 0), (18, 3), (18, 4),
    (19, 4), (22, 4), (32, 1),
]  # fmt: skip


class Headrace(subprocess.Popen[Any]):
    """A `Popen` of `[*PREFIX, command, …]` that is forked where it can be."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, *others: Any) -> None:
        cwd, env, _, _, shell, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *_, new_session, group = others
        environment = dict(os.environ if env is None else env)
        plain = close_fds and not (preexec_fn or pass_fds or executable or shell)
        if not (plain and list(args[:3]) == PREFIX and len(args) > 3 and _read_once(environment) == _read_once(_AT_FIRST)):
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, *others)  # type: ignore[misc]
            return
        streams = [number if ours == -1 else ours for number, ours in enumerate((p2cread, c2pwrite, errwrite))]
        request = {
            "words": list(map(os.fspath, args[3:])),
            "environment": environment,
            "cwd": os.fspath(cwd or os.getcwd()),
            "new_session": bool(new_session),
            "process_group": -1 if group is None else group,
        }
        self.pid = _mold().fork(request, streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def run(
    command: Sequence[str], *, capture_output: bool = False, timeout: float | None = None, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`."""
    given = options.pop("input", None)
    if given is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    with Headrace(command, **options) as process:
        try:
            out, err = process.communicate(given, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _read_once(environment: Any) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_ONCE) and name != "PYTHONPATH"}


class _Mold:
    """The process that imports and forks, as those who ask see it."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            its.set_inheritable(True)
            command = [sys.executable, "-m", __name__, str(its.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, env=_AT_FIRST)
        atexit.register(self.close)

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """The id of a new process; it is our child."""
        prctl = ctypes.CDLL(None).prctl
        packet = json.dumps(request).encode()
        assert len(packet) < _MOST_BYTES
        with self._asking:
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # whose parent ends now becomes our child
            try:
                socket.send_fds(self._ours, [packet], streams)
                return int(self._ours.recv(64))
            finally:
                prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


_molds: dict[int, _Mold] = {}


def _mold() -> _Mold:
    if os.getpid() not in _molds:
        _molds[os.getpid()] = _Mold()
    return _molds[os.getpid()]


def _serve(asked: socket.socket) -> list[str] | None:
    """Fork for each request: returns a command's words in each new process, and None once nobody asks any more."""
    while True:
        packet, streams, _, _ = socket.recv_fds(asked, _MOST_BYTES, 3)
        if not packet:
            return None
        request = json.loads(packet)
        _learn(request["words"][0])
        if between := os.fork():
            os.waitpid(between, 0)
            for stream in streams:
                os.close(stream)
            continue
        between = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == between:
            time.sleep(0.0002)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["new_session"]:
            os.setsid()
        if request["process_group"] >= 0:
            os.setpgid(0, request["process_group"])
        asked.send(str(os.getpid()).encode())
        _take_on(request["environment"], streams)
        for stream in streams:
            os.close(stream)
        os.chdir(request["cwd"])
        sys.path[0] = request["cwd"]  # as `-m` sets it
        return list(request["words"])


@functools.cache
def _learn(command: str) -> None:
    for module in [*_EVERY, *_IMPORTS.get(command, [])]:
        importlib.import_module(module)
    if command == "broker":
        from headrace.broker.handlers.table import APIS
        from headrace.broker.wire.schema import request_codec

        for key, version in _SPOKEN:
            request_codec(key, version, (APIS[key].min_version, APIS[key].max_version))
    gc.freeze()  # a collection in a child leaves our pages shared


class _Checking(subprocess.Popen[bytes]):
    """Within a forked agent, `subprocess.Popen`: its check of the configuration is forked, too, while it has one thread."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        *_, env, _, _, _, p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = others[:15]
        if args[1:4] != ["-P", "-m", "headrace.agents.checking"] or threading.active_count() > 1:
            super()._execute_child(args, *others)  # type: ignore[misc]
            return
        self.pid = os.fork()
        if not self.pid:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            logging.root.handlers.clear()
            _take_on(env, [0, c2pwrite, 2])
            sys.argv[1:] = args[4:]
            del sys.modules["headrace.agents.checking"]
            _run_to_the_end("headrace.agents.checking")
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _run_to_the_end(module: str, *, at_exit: bool = False) -> NoReturn:
    """Run a module as Python's `-m` does, where its caller's frames must not be returned to.

    The interpreter is not taken down: that touches, and so copies, all that was imported, and takes longer than most commands.

    Args:
        at_exit: wait for threads and do what is to be done at the end, as the interpreter would.
    """
    status: object = None
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - the interpreter would print it, too
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    if at_exit:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # a pipe that nobody reads any more
            status = 120
        except ValueError:  # closed by the command
            pass
    os._exit(status if isinstance(status, int) else int(status is not None))


def _take_on(environment: dict[str, str], streams: list[int]) -> None:
    before, after = (each.get("PYTHONPATH", "").split(os.pathsep) for each in (os.environ, environment))
    sys.path[1:] = [*after, *(path for path in sys.path[1:] if path not in before)]
    for number, stream in enumerate(streams):
        if stream != number:
            os.dup2(stream, number)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        old = getattr(sys, name)  # it knows whether the descriptor that was there could seek
        new = open(number, mode, 1 if name == "stderr" else -1, old.encoding, old.errors, closefd=False)  # noqa: SIM115
        new.reconfigure(write_through=old.write_through)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        words = _serve(asked)
    if words is None:
        os._exit(0)
    sys.argv[1:] = words
    subprocess.Popen = _Checking  # type: ignore[misc]
    _run_to_the_end("headrace", at_exit=True)


if __name__ == "__main__":
    _main()
