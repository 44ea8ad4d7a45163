"""Room on the disk that is kept for what must be written when it is full: deleting a topic, which makes room, needs some first.

A file of zeros beside the store. It is given back to the disk when a write finds no room, and taken again when there is some.
"""

import contextlib
import os
from pathlib import Path

SIZE_BYTES = 1 << 20  # tens of changes of the store


class Reserve:
    """The file; its failures are nobody's trouble."""

    def __init__(self, path: Path) -> None:
        """Holds nothing yet."""
        self._path = path

    def hold(self) -> None:
        """Take the room, unless it is held, or there is none."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(descriptor).st_size < SIZE_BYTES:
                    os.posix_fallocate(descriptor, 0, SIZE_BYTES)
            except OSError:
                os.ftruncate(descriptor, 0)
                raise
            finally:
                os.close(descriptor)

    def release(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            was_held = self._path.stat().st_size > 0
            os.truncate(self._path, 0)
        except OSError:
            return False
        return was_held
