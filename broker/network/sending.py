"""Answers leave here: bytes at once, regions of log files piece by piece as the peer reads (design D1; ADR on the fetch path).

A region is read when the transport has room for it, never before: 256 KiB with `preadv(RWF_NOWAIT)`, which fails rather than
wait for the disk; what is not in the page cache is then read by a thread, so that a cold read stalls nobody else.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter_ns
from typing import Any

from headrace.broker.log.disk import Buffer
from headrace.broker.log.results import FileRegion
from headrace.broker.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)
PIECE_BYTES = 256 * 1024
_HELD_NS = 2_000_000


class Region:
    """A part of an answer that lies in a log file."""

    __slots__ = ("_size", "file", "position")

    def __init__(self, region: FileRegion) -> None:
        self.file, self.position, self._size = region.file, region.position, region.size

    def __len__(self) -> int:
        return self._size


def bytes_in_memory(parts: Iterable[Any]) -> int:
    """The size of the parts that are not in files."""
    return sum(len(part) for part in parts if not isinstance(part, Region))


class Sender:
    """The outgoing side of one connection."""

    def __init__(self, transport: asyncio.Transport, metrics: Metrics, go_on: Callable[[], None]) -> None:
        """`go_on` is called when a piece that a thread had to read is there."""
        transport.set_write_buffer_limits(high=PIECE_BYTES)
        self._transport = transport
        self._metrics = metrics
        self._go_on = go_on
        self._queue: deque[Any] = deque()
        self._sent_of_first = 0  # bytes of the region at the head of the queue that are sent
        self._blocked = False  # the transport is full
        self._stopped = False
        self._reading = False  # a thread reads the next piece
        self._held: list[bytes | bytearray | memoryview] | None = None  # written at `release`
        self._held_bytes = 0
        self._held_since_ns = 0

    @property
    def is_paused(self) -> bool:
        """Whether something waits to be sent: no more requests should be handled meanwhile."""
        return self._blocked or bool(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """What is kept in memory of answers that the peer has not read."""
        if self._stopped or not self.is_paused:
            return 0
        return self._transport.get_write_buffer_size() + bytes_in_memory(self._queue)

    def hold(self) -> None:
        """Keep back what is sent until `release`: many small answers then cost one write (15 µs each)."""
        if self._held is None:
            self._held, self._held_since_ns = [], perf_counter_ns()

    @property
    def is_held_long(self) -> bool:
        """Whether answers have been kept back for as long as may be."""
        return perf_counter_ns() - self._held_since_ns >= _HELD_NS

    def release(self) -> None:
        """Write what was kept back."""
        held, self._held, self._held_bytes = self._held, None, 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def send(self, parts: Sequence[Any]) -> None:
        """Send bytes and regions, in order, after all that was given before: small ones at once, the rest piece by piece."""
        if not self._queue and not self._blocked and len(parts) == 1:
            self._write(parts[0])
            return
        self._queue.extend(parts)

    @property
    def has_more(self) -> bool:
        """Whether `send_piece` has something that may be sent now."""
        return bool(self._queue) and not self._blocked and not self._reading

    def pause(self) -> None:
        """The transport is full."""
        self._blocked = True

    def resume(self) -> None:
        """The transport has room again."""
        self._blocked = False

    def stop(self) -> None:
        """The connection is gone, and let go of: else the two would wait for a garbage collection, which everybody pays for."""
        self._go_on = _nothing
        self._queue.clear()
        self._blocked = self._stopped = True

    def send_piece(self) -> None:
        """Send the next piece of what waits; `has_more` said that there is one."""
        first = self._queue[0]
        if not isinstance(first, Region):
            self._queue.popleft()
            self._write(first)
            return
        size = min(PIECE_BYTES, len(first) - self._sent_of_first)
        position = first.position + self._sent_of_first
        try:
            piece = first.file.pread_cached(size, position)
            if piece is None:
                self._read_on_thread(first.file.fileno(), size, position)
                return
        except OSError as error:
            self._give_up(error)
            return
        self._send_piece(piece)

    def _send_piece(self, piece: Buffer) -> None:
        if not piece:
            self._give_up(OSError("the log file is shorter than its index says"))
            return
        self._sent_of_first += len(piece)
        if self._sent_of_first == len(self._queue[0]):
            self._queue.popleft()
            self._sent_of_first = 0
        self._write(piece)

    def _read_on_thread(self, fd: int, size: int, position: int) -> None:
        self._reading = True
        # The thread has a descriptor of its own: the log may close its one meanwhile, and the number may be used again.
        own = os.dup(fd)
        future = asyncio.get_running_loop().run_in_executor(None, _read_and_close, own, size, position)
        future.add_done_callback(self._on_thread_done)

    def _on_thread_done(self, future: "asyncio.Future[bytes]") -> None:
        self._reading = False
        if not self._queue:  # stopped
            future.exception()
            return
        error = future.exception()
        if error is not None:
            self._give_up(error)
            return
        self._send_piece(future.result())
        self._go_on()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        self._metrics.bytes_out += len(data)
        if self._held is None:
            self._transport.write(data)
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= PIECE_BYTES:
            self.release()
            self.hold()

    def _give_up(self, error: BaseException) -> None:
        """The answer cannot be finished, and its size is already sent: only closing is left."""
        logger.warning("connection closed: a fetch could not be finished: %s", error)
        self.stop()
        self._transport.abort()


def _nothing() -> None:
    """Nobody is there any more."""


def _read_and_close(fd: int, size: int, position: int) -> bytes:
    try:
        return os.pread(fd, size, position)
    finally:
        os.close(fd)
