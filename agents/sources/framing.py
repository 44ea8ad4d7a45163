"""Where lines begin and end in a stream that counts bytes before them. Pure: bytes in, lines out.

`octets` is `LENGTH SP bytes` (RFC 6587 §3.4.1), `length` four bytes, big-endian, before the bytes. What comes where a length
should be and is none leaves nothing to go by: the stream is broken, and whoever reads it hangs up.
"""

import struct
from collections.abc import Sequence
from typing import Protocol

_MOST_DIGITS = 9
_LENGTH = struct.Struct(">I")


class BrokenStreamError(Exception):
    """What came is no length, or one beyond the bound. `lines` are those that were whole before it."""

    def __init__(self, message: str, lines: Sequence[bytes]) -> None:
        super().__init__(message)
        self.lines = lines


class Cutter(Protocol):
    """Lines of one stream."""

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The lines that end within `data`.

        Raises:
            BrokenStreamError: what follows cannot be understood.
        """

    def close(self) -> Sequence[bytes]:
        """What the stream ended within."""


class CountedCutter:
    """Lines whose length stands before them; `digits`: in decimal, with a space behind it."""

    def __init__(self, most_bytes: int, *, digits: bool) -> None:
        self._most_bytes, self._digits = most_bytes, digits
        self._held = bytearray()

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The lines that end within `data`."""
        self._held += data
        lines: list[bytes] = []
        at = 0
        while (found := self._length_at(at, lines)) is not None:
            length, begin = found
            if length > self._most_bytes:
                raise BrokenStreamError(f"a line of {length} bytes; at most {self._most_bytes} are taken", lines)
            if len(self._held) - begin < length:
                break
            lines.append(bytes(self._held[begin : begin + length]))
            at = begin + length
        del self._held[:at]
        return lines

    def close(self) -> Sequence[bytes]:
        """The beginning of a line whose end did not come."""
        found = self._length_at(0, [])
        rest = bytes(self._held[found[1] :]) if found is not None else b""
        self._held.clear()
        return [rest] if rest else []

    def _length_at(self, at: int, lines: Sequence[bytes]) -> tuple[int, int] | None:
        """The length that stands there, and where its line begins; None where more has to come."""
        if not self._digits:
            whole = len(self._held) - at >= _LENGTH.size
            return (_LENGTH.unpack_from(self._held, at)[0], at + _LENGTH.size) if whole else None
        space = self._held.find(b" ", at, at + _MOST_DIGITS + 1)
        digits = bytes(self._held[at : space if space >= 0 else at + _MOST_DIGITS + 1])
        if (digits and not digits.isdigit()) or (space >= 0 and not digits) or len(digits) > _MOST_DIGITS:
            raise BrokenStreamError(f"{digits[:20]!r} is no length", lines)
        return (int(digits), space + 1) if space >= 0 else None
