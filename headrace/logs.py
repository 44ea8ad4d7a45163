"""A process's own log: one JSON object a line on stderr, never anything else.

`logging` is the interface: `logger.warning("segment rolled", extra={"topic": …})`; the keys of `extra` become keys too. A line
with the key `client` is one that a client can cause as often as it likes: of one kind (its text before values are put in) there
are 20 in ten seconds, and how many were left out is told afterwards. In a process that asks for it that is so of every line, by
the place in the code that writes it: an agent with ten thousand files may have the same to say of each.
"""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TextIO

from headrace.flood import Flood

if TYPE_CHECKING:
    from rich.console import Console

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """`{"ts", "level", "logger", "msg", …extra}`; `ts` is RFC 3339 UTC with milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.gmtime(record.created)
        line: dict[str, object] = {
            "ts": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Lines(Protocol):
    """Where lines of the log go."""

    def write(self, text: str, /) -> object:
        """One line, with its end."""
        ...

    def flush(self) -> object:
        """It may be waited for."""
        ...


class Above:
    """Lines go above what rich keeps drawing on a terminal, whole: the terminal itself wraps them."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def write(self, text: str, /) -> None:
        self._console.print(text.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)

    def flush(self) -> None:
        """Each is shown at once."""


class _Handler(logging.StreamHandler[Lines]):
    def __init__(self, stream: Lines, *, limit_all: bool) -> None:
        super().__init__(stream)
        self._flood = Flood()
        self._limit_all = limit_all

    def emit(self, record: logging.LogRecord) -> None:
        for kind, count in self._flood.left_out(record.created):
            told = {"name": __name__, "levelname": "WARNING", "msg": "lines left out", "like": kind, "count": count}
            super().emit(logging.makeLogRecord({**told, "created": record.created, "msecs": record.msecs}))
        limited = self._limit_all or hasattr(record, "client")
        if not limited or self._flood.admits(self._kind(record), record.created):
            super().emit(record)

    def _kind(self, record: logging.LogRecord) -> str:
        """What a line is counted as: its text before values are put in, and where every line is limited its place too."""
        return f"{record.module}:{record.lineno} {record.msg}" if self._limit_all else str(record.msg)


def log_to_stderr(level: str = "INFO", stream: TextIO = sys.stderr, *, limit_all: bool = False) -> None:
    """Send the process's log to `stream`, as JSON lines; `limit_all` bounds how often each place in the code writes one."""
    handler = _Handler(stream, limit_all=limit_all)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


@contextlib.contextmanager
def log_to(stream: Lines, level: int) -> Iterator[None]:
    """While in the block, the process's log goes to `stream`, from `level` on."""
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, _Handler)]
    before = [(handler, handler.level, handler.setStream(stream)) for handler in handlers]
    for handler in handlers:
        handler.setLevel(level)
    try:
        yield
    finally:
        for handler, own_level, own_stream in before:
            handler.setLevel(own_level)
            handler.setStream(own_stream or stream)
