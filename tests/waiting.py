"""Waiting for what another process does."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], *, timeout_s: float = 90) -> None:
    """Return once something holds; it has to within so long."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
