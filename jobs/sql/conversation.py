"""Statement after statement of one user: each runs beside the main thread, which tells how far it is and hears Ctrl-C."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from headrace.jobs.sql.limits import own_folder
from headrace.jobs.sql.options import Options
from headrace.jobs.sql.progress import ProgressLine
from headrace.jobs.sql.session import Session
from headrace.jobs.sql.showing import Showing

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.jobs.sql.live.tables import LiveTables
    from headrace.sinks.config import LoadConfig

_LOOK_S: Final = 0.05
_GRACE_S: Final = 2.0
"""How long an interrupted statement may take to end; one that hangs in a store, or within one huge value, is left behind."""


class Conversation:
    """Use it as a context manager.

    Args:
        root: where the tables are.
        live: how the broker is reached that is asked, too; None: it is not.
        is_verbose: say what each statement needed, on standard error.
    """

    def __init__(self, root: str, options: Options, live: "LoadConfig | None" = None, *, is_verbose: bool = False) -> None:
        self.root, self._options, self._is_verbose = root, options, is_verbose
        self._live, self._as_of = live, options.as_of
        self._stack = ExitStack()
        self._session: Session | None = None
        self._tables: LiveTables | None = None
        self._line = ProgressLine(is_seen=False)
        self._left: list[Session] = []
        self._folders: list[Path] = []

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()
        if not self.has_left:
            self._stack.close()
            return
        for folder in self._folders:  # what is left behind may be asking the broker, which goes with the process, too
            shutil.rmtree(folder, ignore_errors=True)
        for session in self._left:
            session.abandon()

    @property
    def has_left(self) -> bool:
        """Whether a statement was left behind that did not end: this process must end without Python's own end (`os._exit`)."""
        return bool(self._left)

    def see_as_of(self, moment: str | None) -> None:
        """Show the tables as of a moment from the next statement on, where it names none itself; None: as they are."""
        self._as_of = moment

    def answer(self, sql: str, showing: Showing) -> None:
        """Run one statement, and show its answer.

        Raises:
            KeyboardInterrupt: it was interrupted, and runs no more.
        """
        session = self._opened()
        self._line = line = ProgressLine(is_seen=sys.stderr.isatty() and showing.is_silent_until_the_end)

        def work() -> None:
            with session.ask(sql) as reader:
                showing.show(_counted(reader, line, lambda: session in self._left), ready=line.hide)

        try:
            self._watch(session, work)
        finally:
            line.hide()
        for fetched in self._tables.told() if self._tables is not None else ():
            print(json.dumps(asdict(fetched)) if showing.format == "json" else fetched, file=sys.stderr)
        if self._is_verbose:
            print(session.told, file=sys.stderr)

    def _opened(self) -> Session:
        """In the main thread: what confines it confines the threads that it starts."""
        if self._session is None:
            self._session = self._open()
        self._session.as_of = self._as_of
        return self._session

    def _open(self) -> Session:
        if self._live is None:
            return Session.open(self.root, self._options)
        from headrace.clock import SystemClock
        from headrace.jobs.sql.live.fetching import Broker
        from headrace.jobs.sql.live.tables import LiveTables

        scratch = self._stack.enter_context(own_folder())
        self._folders.append(scratch)
        broker = self._stack.enter_context(closing(Broker(self._live, SystemClock(), self._fetched)))
        self._tables = LiveTables(self.root, broker, scratch)
        return Session(self._tables, replace(self._options, readable=(str(scratch),)))

    def _fetched(self, topic: str, done: int, total: int) -> None:
        self._line.fetched = topic, done, total

    def _watch(self, session: Session, work: Callable[[], None]) -> None:
        errors: list[BaseException] = []
        done = Event()  # not `is_alive`: a thread whose join is interrupted counts as ended in Python 3.11 (bpo-45274)

        def worker() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - it is raised in the main thread
                errors.append(error)
            finally:
                done.set()

        Thread(target=worker, name="statement", daemon=True).start()
        try:
            while not done.wait(_LOOK_S):
                with suppress(MemoryError):  # the statement has taken all that this process may have: it fails, not we
                    self._line.tell(session.progress)
        except KeyboardInterrupt:
            self._end(session, done)
            errors.clear()
            raise
        if errors:
            raise errors.pop()  # kept nowhere: it holds this frame, and the connection with it

    def _end(self, session: Session, done: Event) -> None:
        """Interrupt a statement until it ends: before DuckDB has begun with it, an interruption is forgotten."""
        deadline_s = time.monotonic() + _GRACE_S
        try:
            while not done.is_set() and time.monotonic() < deadline_s:
                session.interrupt()
                done.wait(_LOOK_S)
        finally:
            if not done.is_set():
                self._session = None  # what it holds goes with the process
                self._left.append(session)


def _counted(reader: "pa.RecordBatchReader", line: ProgressLine, is_left: Callable[[], bool]) -> "pa.RecordBatchReader":
    """The same answer; its rows are counted, and the line is gone when there are no more. What was left behind says nothing."""
    import pyarrow as pa

    def batches() -> "Iterator[pa.RecordBatch]":
        while not is_left() and (batch := next(reader, None)) is not None:
            line.rows += batch.num_rows
            yield batch
        if is_left():
            raise KeyboardInterrupt
        line.hide()

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
