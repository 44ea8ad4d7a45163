"""`logging.Handler` for applications: records go to the agent of this machine, and never make the application wait.

    import logging
    from headrace.agents.handler import AgentHandler

    logging.getLogger().addHandler(AgentHandler("/run/headrace/app.sock"))

The agent has an input `unix: {path: /run/headrace/app.sock}`. A record is made into a JSON line where it is logged, and waits
in memory, at most `max_bytes`; a thread hands the lines over and forgets them once the agent says that they are durable. While
the agent is away the lines wait; what is more than fits is dropped and counted. That is told on stderr when it begins, and as
a record of its own when the agent is back. What was on its way when a connection broke is handed over again, and may then be
there twice.

A forked child begins with nothing waiting and a thread of its own. At the exit, `logging` flushes its handlers: this one waits
at most `flush_timeout_s` for the agent, once. Signal handlers and finalizers may log, also while their thread logs itself, and
so may a program that is ending. Needs the standard library only.
"""

import contextlib
import json
import logging
import math
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from datetime import UTC, datetime
from typing import Any

HELLO = b"\0headrace: tell me what is durable"  # a stream's first line, for the agent
_BATCH_BYTES = 256 * 1024
_RETRY_LEAST_S, _RETRY_MOST_S = 0.1, 5.0
_PLAIN = (str, int, float, type(None))
_NO_EXTRA = frozenset({*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime", "taskName"})
_FORMATTER = logging.Formatter()
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False)
_handlers: "weakref.WeakSet[AgentHandler]" = weakref.WeakSet()


class AgentHandler(logging.Handler):
    """Hands records to the agent that listens at a socket.

    Args:
        path: the socket of the agent's unix input (type stream, framing lines).
        max_bytes: how much may wait in memory; more is dropped.
        flush_timeout_s: how long `flush`, and so the exit, may wait.
    """

    def __init__(
        self, path: str, level: int | str = logging.NOTSET, *, max_bytes: int = 8 * 1024 * 1024, flush_timeout_s: float = 2.0
    ) -> None:
        super().__init__(level)
        self.path, self.max_bytes, self.flush_timeout_s = os.fspath(path), max_bytes, flush_timeout_s
        self.dropped = 0  # records, since the start
        self._begin()
        _handlers.add(self)

    def _begin(self) -> None:
        """Nothing waits, and no thread runs: at the start, and in a forked child."""
        self._changed = threading.Condition(threading.RLock())  # whoever interrupts `emit` may log
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0  # dropped, and not told of yet
        self._closed = False
        self._in_vain_s = -math.inf  # when a flush ended without its end, monotonic
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    def _forked(self) -> None:
        """In a child: the connection is the parent's, and so is what waits."""
        if self._socket is not None:
            self._socket.close()
        self._begin()

    # ---- in the application's threads

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record for the agent; never waits for anything but another thread's short turn."""
        try:
            line = self._line_of(record)
        except Exception:  # noqa: BLE001 - logging's own rule: a handler tells of its errors, and raises none
            self.handleError(record)
            return
        with self._changed:
            first_drop = False
            if self._bytes + len(line) > self.max_bytes or self._closed:
                first_drop = not self._untold
                self.dropped += 1
                self._untold += 1
            else:
                self._lines.append(line)
                self._bytes += len(line)
            self._start()
            if len(self._lines) == 1:
                self._changed.notify_all()
        if first_drop:
            _tell(f"the agent at {self.path} takes nothing; records are dropped")

    def _start(self) -> None:
        """The thread, if it is not there; a program that is ending gets none, and its last records are told of as dropped."""
        if self._thread is None and not self._closed:
            thread = self._thread = threading.Thread(target=self._run, name="headrace-handler", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._thread = None

    def _line_of(self, record: logging.LogRecord) -> bytes:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = _FORMATTER.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = record.stack_info
        fields |= {"file": record.pathname, "line": record.lineno, "function": record.funcName}
        fields |= {"process": record.process, "thread": record.threadName}
        for name in sorted(record.__dict__.keys() - _NO_EXTRA):
            fields.setdefault(name, record.__dict__[name])
        try:
            line = _ENCODER.encode(fields)
        except (TypeError, ValueError, RecursionError):  # keys that are no texts, a list that holds itself
            line = _ENCODER.encode({name: value if isinstance(value, _PLAIN) else str(value) for name, value in fields.items()})
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def flush(self) -> None:
        """Wait until the agent has all, or the time is over."""
        until = time.monotonic() + self.flush_timeout_s
        with self._changed:
            while self._lines and self._thread is not None:
                left = until - time.monotonic()
                if left <= 0:
                    self._in_vain_s = time.monotonic()
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Flush, and take no more; what the agent does not have by then is dropped, and told of."""
        if time.monotonic() - self._in_vain_s > self.flush_timeout_s:  # `logging.shutdown` flushes, then closes
            self.flush()
        with self._changed:
            left = 0 if self._closed else len(self._lines)
            self.dropped += left
            self._closed = True
            self._changed.notify_all()
        if left:
            _tell(f"the agent at {self.path} does not take the last {left} records; they are dropped")
        super().close()

    # ---- in the handler's own

    def _run(self) -> None:
        delay_s = _RETRY_LEAST_S
        while self._has_lines():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as self._socket:
                    self._socket.connect(self.path)
                    self._socket.sendall(HELLO + b"\n")
                    delay_s = _RETRY_LEAST_S
                    self._hand_over(_Answers(self._socket))
            except OSError:
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, delay_s):
                        return
                delay_s = min(2 * delay_s, _RETRY_MOST_S)

    def _has_lines(self) -> bool:
        """Wait for one; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closed)
            return not self._closed

    def _hand_over(self, answers: "_Answers") -> None:
        """Send what waits, some at a time, and forget what the agent has; ends with an OSError or the handler."""
        while self._has_lines():
            batch, size = self._batch()
            answers.sock.sendall(b"".join(batch))
            answers.wait(len(batch))
            with self._changed:
                for _ in batch:
                    self._lines.popleft()
                self._bytes = self._bytes - size if self._lines else 0
                told, self._untold = self._untold, 0
                if told:
                    line = self._line_of(_told_of(told))
                    self._lines.append(line)
                    self._bytes += len(line)
                self._changed.notify_all()
            if told:
                _tell(f"the agent at {self.path} is back; {told} records were dropped")

    def _batch(self) -> tuple[list[bytes], int]:
        batch: list[bytes] = []
        size = 0
        with self._changed:
            for line in self._lines:
                if batch and size + len(line) > _BATCH_BYTES:
                    break
                batch.append(line)
                size += len(line)
        return batch, size


class _Answers:
    """How many lines of one connection the agent has called durable. No time limit: a full spool may keep it silent for long,
    and a local peer that is gone is noticed at once."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._sent = self._durable = 0
        self._held = b""

    def wait(self, lines: int) -> None:
        """Wait until the `lines` that were sent last are durable.

        Raises:
            OSError: the agent is gone, or silent.
        """
        self._sent += lines
        while self._durable < self._sent:
            data = self.sock.recv(4096)
            if not data:
                raise ConnectionError("the agent has hung up")
            *answers, self._held = (self._held + data).split(b"\n")
            if answers:
                self._durable = int(answers[-1]) if answers[-1].isdigit() else 0


def _told_of(count: int) -> logging.LogRecord:
    message = "%d records were dropped: the agent took nothing, and no more fit into memory"
    return logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, (count,), None, "emit")


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed stderr
        print(f"headrace.agents.handler: {text}", file=sys.stderr)


def _after_fork() -> None:
    for handler in list(_handlers):
        handler._forked()


os.register_at_fork(after_in_child=_after_fork)
