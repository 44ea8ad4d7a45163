"""One part as one process: its run file, its signals, and its bond to the parent that started it.

The protocol between a supervisor (`headrace up`, `headrace demo`) and a part is files and signals only (interfaces, Processes):
the supervisor starts `headrace <part> --config FILE --run-file DIR/run/<part>.json`; the part writes the run file
`{"pid", "ports"}` when it is ready to serve, and removes it when it has stopped cleanly; SIGTERM and SIGINT ask it to drain
and stop. A part whose environment names HEADRACE_PARENT dies with that process, even after kill -9.
"""

import asyncio
import contextlib
import ctypes
import errno
import json
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from headrace.errors import UsageError

logger = logging.getLogger(__name__)
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29
PARENT_VARIABLE = "HEADRACE_PARENT"
DATA_VARIABLE = "HEADRACE_DATA"
DEFAULT_DATA = "headrace-data"


def process_name() -> str:
    """`host:pid`, as commit records say who wrote them."""
    return f"{socket.gethostname()}:{os.getpid()}"


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the supervisor dies; does nothing for a part that was started by hand."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent:
        bind_to_parent(int(parent), signal.SIGTERM)


def bind_to_parent(parent: int, signum: signal.Signals) -> None:
    """Ask the kernel for a signal when the process `parent`, which started this one, dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signum)


def wake_in_time() -> None:
    """Let timers of this thread, and of those it starts, end when they are due, and not up to 50 µs later."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


@contextlib.contextmanager
def run_file(path: Path | None, ports: dict[str, int]) -> Iterator[None]:
    """Say that this process is ready by writing `{"pid", "ports"}`; take it back when the block ends without an error.

    Args:
        path: where, or None to write nothing.
        ports: what listens where, by name (`kafka`, `http` …).
    Raises:
        UsageError: it cannot be written there, for another reason than a full disk.
    """
    write_run_file(path, ports)
    yield
    if path is not None:
        path.unlink(missing_ok=True)


def write_run_file(path: Path | None, ports: Mapping[str, int]) -> None:
    """Write a run file.

    Raises:
        UsageError: it cannot be written there, for another reason than a full disk.
    """
    if path is None:
        return
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"pid": os.getpid(), "ports": dict(ports)}) + "\n")
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise UsageError(f"--run-file {path} cannot be written: {error.strerror or error}; name another place") from error
        # Those who know the ports are served all the same.
        logger.error("the run file is not written", extra={"path": str(path), "error": str(error)})
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set (for parts that run on threads).

    Also while the main thread is in a call that does not return, of a store's client for one, where Python runs no handler: the
    signal's number comes through a socket to a thread that waits for it.
    """
    stop = threading.Event()
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())

    def hear() -> None:
        with told:  # never closed: the number of its descriptor must not become another file's
            while True:
                if heard.recv(1)[0] in (signal.SIGTERM, signal.SIGINT):
                    stop.set()

    threading.Thread(target=hear, name="signals", daemon=True).start()
    return stop


def async_stop_event() -> asyncio.Event:
    """The same for parts that run on an event loop; call it on the loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    return stop


def data_directory(given: str | None) -> Path:
    """Where one machine's pipeline keeps everything: `--data`, or `$HEADRACE_DATA`, or `./headrace-data`; absolute.

    Raises:
        UsageError: an empty name, as an unset variable of the shell gives.
    """
    if given == "":
        raise UsageError("--data is empty; name a directory")
    return Path(given or os.environ.get(DATA_VARIABLE) or DEFAULT_DATA).absolute()


def writable_directory(path: Path, what: str) -> Path:
    """Make `path` and check that we may write in it.

    Raises:
        UsageError: it cannot be made or written; `what` names its use in the message.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".headrace-write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{what} {path}: {reason}; choose a directory that can be written") from error
    return path


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # refused: then what we have must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
