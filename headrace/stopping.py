"""A stop in stages that cannot hang unnoticed: told again, or over its time, it says what it waits for and ends the process."""

import logging
import os
import signal
import threading
import time
from typing import Any

logger = logging.getLogger(__name__)
SAME_WISH_S = 5.0


class Stop:
    """The stop of one process; made in the main thread when it begins, and finished when there is nothing more to do."""

    def __init__(self, bound_s: float, same_wish_s: float) -> None:
        """After `bound_s` the process ends, whatever it waits for.

        A second signal within `same_wish_s` is the same wish: a supervisor and the process group may both pass it on.
        """
        self._same_wish_s = same_wish_s
        self._began_s = time.monotonic()
        self._stage = "the beginning"
        self._timer = threading.Timer(bound_s, self._give_up, (f"it took longer than {bound_s:g} s",))
        self._timer.daemon = True
        self._timer.start()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._told_again)

    def waits_for(self, stage: str) -> None:
        """What the stop waits for from now on."""
        self._stage = stage

    def finished(self) -> float:
        """Seconds that it took."""
        self._timer.cancel()
        return time.monotonic() - self._began_s

    def _told_again(self, *_: Any) -> None:
        if time.monotonic() - self._began_s > self._same_wish_s:
            self._give_up("it was told again")

    def _give_up(self, why: str) -> None:
        seconds = round(time.monotonic() - self._began_s, 1)
        logger.error("stop given up: %s", why, extra={"waits_for": self._stage, "seconds": seconds})
        os._exit(1)  # nothing may run any more: it would wait again
