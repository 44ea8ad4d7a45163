"""What this process has asked of stores elsewhere and not been told: said aloud, and not waited for without end.

A call into a store's client cannot be broken off: it returns when the client gives up, which takes a request's time-out and
those of its retries. So it is watched from a thread of its own. A process that
is to end is ended where the store has told it nothing for a while, as by a crash, which every protocol on a store survives.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import BinaryIO, Final

logger = logging.getLogger(__name__)

SILENCE_S: Final = 10.0
"""After this a call that has not returned is told of, and again after as long."""
LAST_WAIT_S: Final = 15.0
"""How long a process that is to end waits for a store that tells it nothing."""
DEAD_S: Final = 300.0
"""A call that takes longer will not return: every client has time-outs, and together they are shorter."""
LOOK_INTERVAL_S: Final = 0.5


class Watch:
    """The calls under way. Thread-safe."""

    def __init__(self, now_s: Callable[[], float], end: Callable[[str], None]) -> None:
        """`end`: ends the process, for the reason given."""
        self._now_s, self._end = now_s, end
        self._calls: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count()
        self._heard_s = now_s()
        """When the store last told something, or was asked after all that it had been asked was answered."""
        self._owes = False
        """Whether something that was asked since was not answered."""
        self._told_s = now_s()
        self._stop: Event | None = None
        self._stopped_s: float | None = None

    def end_with(self, stop: Event) -> None:
        """From when `stop` is set, wait for a store that tells nothing for `LAST_WAIT_S` at most."""
        self._stop = stop

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """While a store is asked; that something is not there is an answer, other errors are none."""
        number, now_s = next(self._numbers), self._now_s()
        if not self._owes:
            self._heard_s, self._owes = now_s, True
        self._calls[number] = (what, now_s)
        try:
            yield
            self.heard()
        except (FileNotFoundError, FileExistsError):
            self.heard()
            raise
        finally:
            del self._calls[number]

    def heard(self) -> None:
        """A store has answered, or has taken a piece of a file."""
        self._heard_s, self._owes = self._now_s(), len(self._calls) > 1

    def look(self) -> None:
        """Say what is waited for, or end the process."""
        now_s, heard_s = self._now_s(), self._heard_s
        if self._stop is not None and self._stop.is_set() and self._stopped_s is None:
            self._stopped_s = now_s
        calls = sorted(self._calls.copy().values(), key=lambda call: call[1])
        if not calls:
            return
        what, since_s = calls[0][0], max(heard_s, calls[0][1])
        if self._stopped_s is not None and now_s - max(heard_s, self._stopped_s) > LAST_WAIT_S:
            self._end(f"the store has told nothing for {LAST_WAIT_S:g} s: {what}")
        elif now_s - since_s > DEAD_S:
            self._end(f"the store has not answered for {DEAD_S:g} s: {what}")
        elif now_s - max(since_s, self._told_s) > SILENCE_S:
            self._told_s = now_s
            logger.warning("the store has not answered for %d s: %s", now_s - since_s, what)


class Carried:
    """A local file on its way into a store: each byte that is read for the first time shows that the store takes some."""

    def __init__(self, file: BinaryIO, heard: Callable[[], None]) -> None:
        self._file, self._heard = file, heard
        self._furthest = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if (position := self._file.tell()) > self._furthest:
            self._furthest = position
            self._heard()
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def start() -> Watch:
    """A watch of this process, on a thread of its own, which ends it with exit status 1."""
    watch = Watch(time.monotonic, _end)

    def look_again_and_again() -> None:
        while True:
            time.sleep(LOOK_INTERVAL_S)
            watch.look()

    threading.Thread(target=look_again_and_again, name="store-watch", daemon=True).start()
    return watch


def _end(why: str) -> None:
    logger.error("given up: %s; the next start goes on from what the store has", why)
    os._exit(1)  # nothing may run any more: it would wait again
