"""What `rejected.py` calls of `os`, on the real files of one folder: it refuses, tears, and forgets what was not synced."""

import errno
import json
import os
import random
from pathlib import Path
from typing import Any


class Disk:
    """A stand-in for the module `os`; what is not named here is the real one's."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self._rng, self._folder = rng, folder
        self.refuse_rate = 0.0
        self._paths: dict[int, Path] = {}
        self._durable: dict[Path, bytes] = {}
        self._names: set[Path] = set()
        self._kept: set[tuple[str, int]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._may_fail(errno.EMFILE)
        descriptor = os.open(path, flags, mode)
        self._paths[descriptor] = Path(path)
        return descriptor

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        if self._rng.random() < self.refuse_rate:
            os.pwrite(descriptor, data[: self._rng.randint(0, len(data))], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.pwrite(descriptor, data[: self._rng.randint(1, len(data))], offset)

    def ftruncate(self, descriptor: int, size: int) -> None:
        self._may_fail(errno.EIO)
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        self._may_fail(errno.EIO)
        self._kept, path = None, self._paths[descriptor]
        if path == self._folder:
            self._names = set(self._folder.iterdir())
        else:
            self._durable[path] = path.read_bytes()

    def _may_fail(self, number: int) -> None:
        if self._rng.random() < self.refuse_rate:
            raise OSError(number, os.strerror(number))

    def lose_power(self) -> None:
        """Names and bytes that were not synced may be gone."""
        for path in sorted(self._folder.iterdir()) if self._folder.exists() else ():
            if path not in self._names and self._rng.random() < 0.5:
                path.unlink()
                continue
            data, durable = path.read_bytes(), self._durable.get(path, b"")
            if data.startswith(durable):
                durable = data[: self._rng.choice((len(durable), len(data), self._rng.randint(len(durable), len(data))))]
            path.write_bytes(durable)

    @property
    def kept(self) -> set[tuple[str, int]]:
        """Stream and position of every row that no loss of power can take away."""
        if self._kept is None:
            whole = [self._durable[path].rpartition(b"\n")[0] for path in self._names & self._durable.keys()]
            rows = [json.loads(line) for lines in whole for line in lines.splitlines()]
            self._kept = {(row["stream_id"], row["position"]) for row in rows}
        return self._kept
