"""Real file systems for tests, and how they are filled."""

from collections.abc import Callable
from pathlib import Path

Mounting = Callable[..., Path]


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return filler
