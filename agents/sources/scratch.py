"""What requests hold at a time, in memory and beyond that on disk. Shell.

A body that is not short lies in a file without a name, in the agent's state directory, until it is taken in: so four clients
with bodies of four megabytes, or two hundred that send theirs byte by byte, cost the disk that, for a moment, and not memory.
"""

import mmap
import os
import tempfile
from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Final

from headrace.agents.sources.http_refusals import RequestError

Data = bytes | mmap.mmap
_SHORT_BYTES: Final = 64 * 1024


class Allowance:
    """So many bytes at a time."""

    def __init__(self, most_bytes: int) -> None:
        self._free = most_bytes

    def take(self, size_bytes: int) -> bool:
        """Hold so many more, if there is room; they are to be given back."""
        if size_bytes > self._free:
            return False
        self._free -= size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """They are held no more."""
        self._free += size_bytes


class Storage:
    """What all requests of an input may hold: `memory_bytes`, and `disk_bytes` in a folder that is there."""

    def __init__(self, folder: Path, memory_bytes: int, disk_bytes: int) -> None:
        self.folder, self.memory, self.disk = folder, Allowance(memory_bytes), Allowance(disk_bytes)


class Scratch:
    """Bytes that are added to, and then read; to be closed."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._held = bytearray()
        self._file: IO[bytes] | None = None
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """More of them.

        Raises:
            RequestError: 503, there is no room.
        """
        if self._file is None:
            if len(self._held) + len(data) <= _SHORT_BYTES and self._storage.memory.take(len(data)):
                self._held += data
                self.size_bytes += len(data)
                return
            self._to_disk()
        self._write(data)
        self.size_bytes += len(data)

    def _to_disk(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=self._storage.folder, buffering=0)  # noqa: SIM115 - `close` does
        except OSError as error:
            raise _no_room(error.strerror) from error
        held, self._held = bytes(self._held), bytearray()
        self.size_bytes = 0
        self._storage.memory.give(len(held))
        self._write(held)
        self.size_bytes = len(held)

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        if not self._storage.disk.take(len(data)):
            raise _no_room(None)
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._storage.disk.give(len(data))
            raise _no_room(error.strerror) from error

    @contextmanager
    def opened(self) -> Iterator[Data]:
        """All of them, while in the block."""
        if self._file is None:
            yield bytes(self._held)
            return
        with mmap.mmap(self._file.fileno(), self.size_bytes, access=mmap.ACCESS_READ) as data:
            yield data

    def read(self, offset: int, length: int) -> bytes:
        """Some of them."""
        if self._file is None:
            return bytes(self._held[offset : offset + length])
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        """They are gone."""
        if self._file is None:
            self._storage.memory.give(self.size_bytes)
        else:
            self._file.close()
            self._storage.disk.give(self.size_bytes)
        self._held, self._file, self.size_bytes = bytearray(), None, 0


class Turns:
    """Who works at a time: as many as have so much weight together, in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._most, self._free = most, most
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    @asynccontextmanager
    async def of(self, weight: int) -> AsyncIterator[None]:
        """Wait for one's turn; a weight beyond all of it works alone."""
        weight = min(weight, self._most)
        turn: Future[None] = get_running_loop().create_future()
        self._waiting.append((weight, turn))
        self._next()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._free += weight
            else:
                self._waiting.remove((weight, turn))
            self._next()

    def _next(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free:
            weight, turn = self._waiting.popleft()
            self._free -= weight
            turn.set_result(None)


def _no_room(why: str | None) -> RequestError:
    said = "too many requests wait to be taken in" if why is None else f"the disk: {why}"
    return RequestError(503, f"{said}; come again", {"Retry-After": "1"})
