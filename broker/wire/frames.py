"""Frames: what a connection's bytes are cut into; bytes in, whole requests out. Knows no socket.

A frame is a big-endian int32 size and that many bytes. The size is the peer's claim: it is checked against the bound before
anything is allocated, and memory is given as bytes arrive, not as they are promised, so that many half-sent giant frames cost
what was sent, and a silent connection nothing.
"""

import struct

from headrace.broker.wire.pages import ReceiveMemory
from headrace.errors import PeerError

_SIZE = struct.Struct(">i")
_TLS = 0x1603  # the first bytes of a TLS client, read as the begin of a size
RECEIVE_BYTES = 256 * 1024  # of the rest of a large frame, at a time


class FrameError(PeerError):
    """The peer does not send frames of the Kafka protocol."""


class FrameReader:
    """Cuts a byte stream into frames; fed through `buffer()` and `received(count)` (the shape of asyncio's BufferedProtocol).

    Bytes are received in a buffer that all connections share: between `buffer()` and `settle()` no other is read. Frames are
    cut out of it one by one, as there is time for them; `settle` keeps what is left. A frame of which a part has come gets its
    own memory, so that the rest is received where it stays.
    """

    __slots__ = ("_data", "_end", "_max_bytes", "_memory", "_own", "_own_end", "_position", "_rest", "_shared")

    def __init__(self, max_bytes: int, memory: ReceiveMemory) -> None:
        """`max_bytes` is the largest frame that is accepted (`socket.request.max.bytes`)."""
        self._max_bytes, self._memory = max_bytes, memory
        self._shared = memory.shared
        self._data = self._shared  # what is being cut: from _position to _end
        self._position = self._end = 0
        self._rest = b""  # up to three bytes of a size
        self._own: memoryview | None = None  # of the size that was promised; the first _own_end bytes are there
        self._own_end = 0

    @property
    def held_bytes(self) -> int:
        """Bytes that have been received, and are kept."""
        return self._own_end + self._end - self._position

    @property
    def is_in_frame(self) -> bool:
        """Whether a frame has begun, and more of it has to come."""
        return (self._own is not None and self._own_end < len(self._own)) or bool(self._rest)

    @property
    def has_frame(self) -> bool:
        """Whether `take` has something to give, or an error to raise."""
        if self._own is not None:
            return self._own_end == len(self._own)
        left = self._end - self._position
        if left < _SIZE.size:
            return False
        size: int = _SIZE.unpack_from(self._data, self._position)[0]
        return size <= left - _SIZE.size or size > self._max_bytes

    def accept(self, max_bytes: int) -> None:
        """From the next frame on, accept so large ones."""
        self._max_bytes = max_bytes

    def buffer(self, most: int = RECEIVE_BYTES) -> memoryview:
        """Where the next bytes go, up to `most` of them; never empty. All whole frames have been taken before."""
        if self._own is not None:
            return self._own[self._own_end : self._own_end + most]
        count = len(self._rest)
        self._shared[:count] = self._rest
        return self._shared[count:most]

    def received(self, count: int) -> None:
        """Bytes have come into the buffer."""
        if self._own is not None:
            self._own_end += count
            return
        self._data, self._position, self._end = self._shared, 0, len(self._rest) + count
        self._rest = b""

    def take(self) -> bytes | memoryview | None:
        """The next whole frame, if there is one.

        Raises:
            FrameError: its size is negative, or over the bound.
        """
        if self._own is not None:
            return self._take_own()
        begin = self._position + _SIZE.size
        if begin > self._end:
            return None
        (size,) = _SIZE.unpack_from(self._data, self._position)
        if not 0 <= size <= self._max_bytes:
            if size >> 16 == _TLS:
                raise FrameError("the client speaks TLS, which this listener does not; set its security.protocol")
            raise FrameError(f"frame of {size} bytes, allowed are 0 to {self._max_bytes}")
        end = begin + size
        if end > self._end:
            return None
        self._position = end
        return bytes(self._data[begin:end])

    def settle(self) -> None:
        """Keep what has not been taken: the shared buffer may be another's from now on."""
        left = self._end - self._position
        if not left:
            self._data, self._position, self._end = self._shared, 0, 0
        elif not self.has_frame:
            self._begin_frame(self._data[self._position : self._end])
        elif self._data is self._shared:
            self._data, self._position, self._end = memoryview(bytes(self._data[self._position : self._end])), 0, left

    def clear(self) -> None:
        """Forget everything: the connection is gone."""
        self._data, self._position, self._end = self._shared, 0, 0
        self._own, self._own_end, self._rest = None, 0, b""

    def _take_own(self) -> memoryview | None:
        own = self._own
        if own is None or self._own_end < len(own):
            return None
        self._own, self._own_end = None, 0
        return own.toreadonly()

    def _begin_frame(self, there: memoryview) -> None:
        if len(there) < _SIZE.size:
            self._rest = bytes(there)
        else:
            (size,) = _SIZE.unpack_from(there)
            own = self._own = self._memory.room(size)
            self._own_end = len(there) - _SIZE.size
            own[: self._own_end] = there[_SIZE.size :]
        self._data, self._position, self._end = self._shared, 0, 0
