"""What a gzip file holds, read anywhere in bounded memory. Shell: it reads a descriptor and decides nothing.

A stream of members (RFC 1952) is decoded piece by piece. Kept are the last bytes that were decoded and, at distances that
double backwards, copies of the decoder: reading `d` bytes before where it is costs decoding about `d` bytes again, and nothing
is unpacked to a disk. Where bytes are damaged, all that can be decoded before is content; zeros behind the last are padding.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any

MAGIC = b"\x1f\x8b"
TRUNCATED = "truncated"
CORRUPT = "corrupt"

_INPUT_BYTES = 16 * 1024
_PIECE_BYTES = 256 * 1024
_WINDOW_BYTES = 1024 * 1024
_POINT_BYTES = 1024 * 1024
_MEMBER = zlib.MAX_WBITS | 16  # with gzip's head and trailer, which zlib checks


@dataclass(slots=True)
class _Decoder:
    """A decoder before byte `at` of the file and byte `position` of the content; `inflate` None: between two members."""

    inflate: Any = None
    at: int = 0
    position: int = 0

    def copy(self) -> "_Decoder":
        return _Decoder(None if self.inflate is None else self.inflate.copy(), self.at, self.position)


class GzipContent:
    """The content of an open gzip file that does not change.

    `measured_to` is how far it was measured, `end` where the content ends, None until that is known; `broken` says why it ends
    early, and `lost_bytes` how many bytes of the file (at least one) could not be decoded then.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = descriptor
        self._decoder = _Decoder()
        self._points = [self._decoder.copy()]
        self._window, self._window_start = b"", 0
        self.measured_to = 0
        self._crcs: dict[tuple[int, int], int] = {}
        self.end: int | None = None
        self.broken = ""
        self.lost_bytes = 0

    def trailer(self) -> tuple[int, int]:
        """What the last member says of its content: its CRC-32, and its length modulo 2³²."""
        size = os.fstat(self._file).st_size
        last = os.pread(self._file, 8, max(0, size - 8))
        found: tuple[int, int] = struct.unpack("<II", last) if len(last) == 8 else (0, 0)
        return found

    def measure(self, most_bytes: int, marks: tuple[tuple[int, int], ...]) -> int:
        """Decode so many bytes more and return how long the content is as far as known; `end` says when it is over.

        The CRC-32 of each range of `marks` is in `crcs` once it is measured beyond; the marks are those of the first call.
        """
        if not self.measured_to:
            self._crcs = dict.fromkeys(marks, 0)
        until = self.measured_to + most_bytes
        while self.measured_to < until and self.measured_to != self.end:
            piece = self.read(self.measured_to, _PIECE_BYTES)
            for start, end in self._crcs:
                part = piece[max(0, start - self.measured_to) : max(0, end - self.measured_to)]
                self._crcs[start, end] = zlib.crc32(part, self._crcs[start, end])
            self.measured_to += len(piece)
        return self.measured_to

    @property
    def crcs(self) -> dict[tuple[int, int], int]:
        """The CRC-32 of each marked range, as far as it was measured."""
        return dict(self._crcs)

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes of the content at `offset`, fewer only at its end."""
        found = b""
        while len(found) < length:
            at = offset + len(found) - self._window_start
            if 0 <= at < len(self._window):
                found += self._window[at : at + length - len(found)]
                continue
            self._seek(offset + len(found))
            if not self._step():
                break
        return found

    def _seek(self, position: int) -> None:
        """Go on from the nearest point before a position, unless the decoder itself stands nearer."""
        point = max((point for point in self._points if point.position <= position), key=lambda point: point.position)
        if self._decoder.position > position or point.position > self._decoder.position:
            self._decoder = point.copy()
            self._window, self._window_start = b"", point.position

    def _step(self) -> bool:
        """Decode the next piece into the window; False at the end."""
        decoder = self._decoder
        piece = b""
        while not piece and decoder.position != self.end:
            piece = self._decode()
            decoder.position += len(piece)
        self._window = (self._window + piece)[-_WINDOW_BYTES:]
        self._window_start = decoder.position - len(self._window)
        if decoder.position >= self._points[-1].position + _POINT_BYTES:
            self._points.append(decoder.copy())
            self._thin_points()
        return bool(piece)

    def _thin_points(self) -> None:
        """Keep few points far behind: one goes where the gap that it leaves is smaller than its distance from the newest."""
        newest = self._points[-1].position
        for index in range(len(self._points) - 2, 0, -1):
            before, after = self._points[index - 1].position, self._points[index + 1].position
            if after - before <= (newest - after) // 2:
                del self._points[index]

    def _decode(self) -> bytes:
        """Some bytes more, perhaps none; sets `end` where no more can come."""
        decoder = self._decoder
        data = os.pread(self._file, _INPUT_BYTES, decoder.at)
        if decoder.inflate is None:
            if not self._begin_member(data):
                return b""
            decoder.inflate = zlib.decompressobj(_MEMBER)
        before = decoder.inflate.copy()
        try:
            piece: bytes = decoder.inflate.decompress(data, _PIECE_BYTES)
        except zlib.error:
            return self._salvage(before, data)
        left = len(decoder.inflate.unconsumed_tail) + len(decoder.inflate.unused_data)
        decoder.at += len(data) - left
        if decoder.inflate.eof:
            decoder.inflate = None
        elif not data and not piece:
            self._end(decoder.position, TRUNCATED, 1)
        return piece

    def _begin_member(self, data: bytes) -> bool:
        """Whether a member begins here; otherwise the content ends, and whatever follows is padding or damage."""
        at, position = self._decoder.at, self._decoder.position
        if data.startswith(MAGIC) or (data == MAGIC[:1] and at == 0):
            return True
        block, offset = data, at
        while block and not block.strip(b"\0"):
            offset += len(block)
            block = os.pread(self._file, _INPUT_BYTES, offset)
        self._end(position, CORRUPT if block else "", os.fstat(self._file).st_size - at)
        return False

    def _salvage(self, inflate: Any, data: bytes) -> bytes:
        """All that comes out of damaged bytes before the damage, byte by byte, so that it is the same every time."""
        found = b""
        used = 0
        for used in range(len(data)):
            try:
                found += inflate.decompress(data[used : used + 1])
            except zlib.error:
                break
        size = os.fstat(self._file).st_size
        self._end(self._decoder.position + len(found), CORRUPT, size - self._decoder.at - used)
        return found

    def _end(self, position: int, broken: str, lost_bytes: int) -> None:
        self.end, self.broken = position, broken
        self.lost_bytes = max(1, lost_bytes) if broken else 0
