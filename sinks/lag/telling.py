"""Who looks at a loader while it runs sees how it gets on: bars or a line in a terminal, JSON lines in the log elsewhere.

On threads of their own, a few times a second: the loader's loop does nothing for it. In a terminal the log shows only warnings
and errors, above the bars.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from headrace.logs import Above, log_to
from headrace.sinks.lag.progress import Progress, total
from headrace.sinks.lag.standings import Standings

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

LOG_EVERY: Final = 10
"""Looks, of which there is one a second."""
REFRESHES_PER_SECOND: Final = 4


@contextlib.contextmanager
def telling(standings: Standings, *, once: bool) -> Iterator[None]:
    """While in the block, tell how the loader with these standings gets on; an endless one only in a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with _drawing(Progress(standings), console, once=once):
            yield
    elif once:
        with _logging(Progress(standings)):
            yield
    else:
        yield


@contextlib.contextmanager
def _drawing(progress: Progress, console: "Console", *, once: bool) -> Iterator[None]:
    from rich.console import RenderableType
    from rich.live import Live

    from headrace.sinks.lag.drawing import bars, line

    def draw() -> RenderableType:
        if once:
            return bars(progress, time.monotonic(), lines=console.height)
        return line(progress, time.monotonic(), time.time_ns() // 1_000_000)

    live = Live(
        get_renderable=draw,
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
        transient=not once,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with live, log_to(Above(console), logging.WARNING):
        yield


@contextlib.contextmanager
def _logging(progress: Progress) -> Iterator[None]:
    done = Event()

    def log() -> None:
        looks = 0
        while not done.wait(1.0):
            looks += 1
            said = as_fields(progress, time.monotonic())
            if looks % LOG_EVERY == 0:
                logger.info("progress", extra=said)

    thread = Thread(target=log, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def as_fields(progress: Progress, now_s: float) -> dict[str, object]:
    """What a program is told, in offsets and seconds."""
    topics = progress.topics()
    every = total(topics)
    speed = progress.speed(now_s, every.left)
    left_s = speed.seconds_left
    return {
        "offsets": every.offsets,
        "offsets_read": every.read,
        "offsets_landed": every.landed,
        "topics_left": sum(one.left > 0 for one in topics),
        "records_per_second": round(speed.records_per_second),
        "seconds_left": None if left_s is None else round(left_s),
        "failing": sorted(progress.standings.troubles()),
    }
