"""Moves the wall clock of a Python process that has this folder in PYTHONPATH, by the seconds that a file says at each look."""

import os
import time
from pathlib import Path

_file, _real_ns = Path(os.environ["MOVED_CLOCK"]), time.time_ns


def _moved_ns() -> int:
    return _real_ns() + int(_file.read_text() or 0) * 1_000_000_000


time.time_ns = _moved_ns
time.time = lambda: _moved_ns() / 1e9
