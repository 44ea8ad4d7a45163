"""Frames: what a connection's bytes are cut into; bytes in, whole requests out. Knows no socket.

A frame is a big-endian int32 size and that many bytes. The size is the peer's claim: it is checked against the bound before
anything is allocated, and memory is given as bytes arrive, not as they are promised, so that many half-sent giant frames cost
what was sent, and a silent connection nothing.
"""

import struct
from collections.abc import Iterator

from headrace.errors import PeerError

_SIZE = struct.Struct(">i")
RECEIVE_BYTES = 256 * 1024
_FIRST_BYTES = 16 * 1024  # of a frame whose begin has come: at least so much room, and thrice what is there
_GROWTH = 4


class FrameError(PeerError):
    """The peer does not send frames of the Kafka protocol."""


class FrameReader:
    """Cuts a byte stream into frames; fed through `buffer()` and `received(count)` (the shape of asyncio's BufferedProtocol).

    Bytes are received in a buffer that all connections share: between `buffer()` and `received()` no other is read. Whole
    frames are cut out of it; a frame of which a part has come gets its own buffer, so that the rest is received where it stays.
    """

    __slots__ = ("_end", "_max_bytes", "_own", "_own_size", "_rest", "_shared")

    def __init__(self, max_bytes: int, shared: bytearray) -> None:
        """`max_bytes` is the largest frame that is accepted (`socket.request.max.bytes`); `shared` is RECEIVE_BYTES long."""
        self._max_bytes = max_bytes
        self._shared = memoryview(shared)
        self._rest = b""  # up to three bytes of a size
        self._own: bytearray | None = None  # of the size allowed so far; the first _end bytes are there
        self._own_size = self._end = 0

    def accept(self, max_bytes: int) -> None:
        """From the next frame on, accept so large ones."""
        self._max_bytes = max_bytes

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._own is None:
            count = len(self._rest)
            self._shared[:count] = self._rest
            return self._shared[count:]
        if self._end == len(self._own):
            grown = bytearray(min(self._own_size, _GROWTH * len(self._own)))
            grown[: self._end] = self._own  # not resized in place: somebody may still look at the old one
            self._own = grown
        return memoryview(self._own)[self._end :]

    def received(self, count: int) -> Iterator[bytes | memoryview]:
        """Yield the frames that `count` more bytes complete; to be used up before any `buffer()` is called again.

        Raises:
            FrameError: the size is negative, or over the bound.
        """
        if self._own is None:
            yield from self._cut(len(self._rest) + count)
            return
        self._end += count
        if self._end == self._own_size:
            own, self._own = self._own, None
            yield memoryview(own).toreadonly()

    def _cut(self, end: int) -> Iterator[bytes]:
        """The frames in the first `end` bytes of the shared buffer; what is left of them is kept."""
        self._rest = b""
        position = 0
        while end - position >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._shared, position)
            if not 0 <= size <= self._max_bytes:
                raise FrameError(f"frame of {size} bytes, allowed are 0 to {self._max_bytes}")
            begin = position + _SIZE.size
            position = begin + size
            if position > end:
                self._begin_own(self._shared[begin:end], size)
                return
            yield bytes(self._shared[begin:position])
        self._rest = bytes(self._shared[position:end])

    def _begin_own(self, there: memoryview, size: int) -> None:
        self._own = bytearray(min(size, max(_FIRST_BYTES, _GROWTH * len(there))))
        self._own[: len(there)] = there
        self._own_size, self._end = size, len(there)
