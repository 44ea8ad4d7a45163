"""Frames: what a connection's bytes are cut into; bytes in, whole requests out. Knows no socket.

A frame is a big-endian int32 size and that many bytes. The size is the peer's claim: it is checked against the bound before
anything is allocated, and memory is given as bytes arrive, not as they are promised, so that many half-sent giant frames cost
what was sent.
"""

import struct
from collections.abc import Iterator

from headrace.errors import PeerError

_SIZE = struct.Struct(">i")
_SHARED_BYTES = 256 * 1024
_TRUSTED_BYTES = 1024 * 1024


class FrameError(PeerError):
    """The peer does not send frames of the Kafka protocol."""


class FrameReader:
    """Cuts a byte stream into frames; fed through `buffer()` and `received(count)` (the shape of asyncio's BufferedProtocol).

    Small frames are cut out of one shared buffer; a frame that does not fit there gets a buffer of its own, so that its bytes
    are received where they stay.
    """

    __slots__ = ("_end", "_large", "_large_size", "_max_bytes", "_shared", "_start")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is the largest frame that is accepted (`socket.request.max.bytes`)."""
        self._max_bytes = max_bytes
        self._shared = bytearray(_SHARED_BYTES)
        self._start = self._end = 0  # the unread bytes of the shared buffer
        self._large: bytearray | None = None  # of the size allowed so far; the first _end bytes are there
        self._large_size = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._large is None:
            return memoryview(self._shared)[self._end :]
        if self._end == len(self._large):
            grown = bytearray(min(self._large_size, 2 * len(self._large)))
            grown[: self._end] = self._large  # not resized in place: somebody may still look at the old one
            self._large = grown
        return memoryview(self._large)[self._end :]

    def received(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield the frames that `count` more bytes complete; to be used up before `buffer()` is called again.

        Raises:
            FrameError: the size is negative, or over the bound.
        """
        self._end += count
        if self._large is not None:
            if self._end == self._large_size:
                large, self._large = self._large, None
                self._start = self._end = 0
                yield memoryview(large).toreadonly()
            return
        yield from self._cut()

    def _cut(self) -> Iterator[bytes]:
        while self._end - self._start >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._shared, self._start)
            if not 0 <= size <= self._max_bytes:
                raise FrameError(f"frame of {size} bytes, allowed are 0 to {self._max_bytes}")
            begin = self._start + _SIZE.size
            if begin + size > self._end:
                if begin + size > _SHARED_BYTES:
                    self._make_room(begin, size)
                return
            self._start = begin + size
            yield bytes(memoryview(self._shared)[begin : begin + size])
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > _SHARED_BYTES - _SIZE.size:
            self._move_to_front()

    def _make_room(self, begin: int, size: int) -> None:
        """The frame does not fit behind `begin`: move it to the front, or out into a buffer of its own."""
        if size + _SIZE.size <= _SHARED_BYTES:
            self._move_to_front()
            return
        there = memoryview(self._shared)[begin : self._end]
        self._large = bytearray(min(size, _TRUSTED_BYTES))
        self._large[: len(there)] = there
        self._large_size, self._start, self._end = size, 0, len(there)

    def _move_to_front(self) -> None:
        length = self._end - self._start
        self._shared[:length] = self._shared[self._start : self._end]
        self._start, self._end = 0, length
