"""Where syslog messages begin and end on a stream (RFC 6587, RFC 5425). Pure: bytes in, messages out.

A connection counts octets (`MSG-LEN SP SYSLOG-MSG`, §3.4.1) if its first byte is a digit other than 0 and a length and a space
follow; otherwise each message ends at a trailer (§3.4.2): LF or NUL, whichever comes first on the connection. It keeps to what
it began with, so that a later line that begins with a number is a line.

A message longer than the bound is handed out in pieces as its bytes come: nothing of it is lost, and no more than the bound is
held. What is behind a broken length is not understood, and the connection is closed.
"""

from typing import NamedTuple

_MOST_DIGITS = 9  # of a length


class Framed(NamedTuple):
    """One message, or a piece of it. `number` is the piece's, from 0; `more` says that another follows."""

    message: bytes
    number: int = 0
    more: bool = False


class Framer:
    """The messages of one connection."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` of a message are handed out together, and held."""
        self._most = most_bytes
        self._held = bytearray()
        self._counts: bool | None = None  # None: not known yet
        self._trailer = b""
        self._left = 0  # bytes of the counted message that are still to come
        self._piece = 0
        self.broken = False  # what came where a length should be is none: nothing that follows is understood

    def feed(self, data: bytes) -> list[Framed]:
        """Take what was received; the messages that are complete by it. Once it is `broken` there are no more."""
        if self.broken:
            return []
        self._held += data
        if self._counts is None:
            self._counts = self._begins_with_length()
        if self._counts is None:
            return []
        return self._counted() if self._counts else self._ended()

    def close(self) -> list[Framed]:
        """The connection has ended: what has no end yet is a message all the same."""
        rest, self._held = bytes(self._held), bytearray()
        return [Framed(rest, self._piece)] if rest and (self._left or not self._counts) else []

    def _begins_with_length(self) -> bool | None:
        head = bytes(self._held[: _MOST_DIGITS + 1])
        length, space, _ = head.partition(b" ")
        if space:
            return _is_length(length)
        return None if _is_length(head) and len(head) <= _MOST_DIGITS else False

    def _counted(self) -> list[Framed]:
        found: list[Framed] = []
        while self._left or self._next_length():
            take = min(self._left, self._most)
            if len(self._held) < take:
                break
            self._left -= take
            found.append(Framed(self._taken(take), self._piece, more=self._left > 0))
            self._piece = self._piece + 1 if self._left else 0
        return found

    def _next_length(self) -> bool:
        """Read the next length; False if it is not all there, or is none."""
        while self._held[:1] == b"\n":  # senders that count and end lines as well
            del self._held[:1]
        length, space, _ = bytes(self._held[: _MOST_DIGITS + 1]).partition(b" ")
        if not length and not space:
            return False
        self.broken = not _is_length(length)
        if self.broken or not space:
            return False
        del self._held[: len(length) + 1]
        self._left = int(length)
        return True

    def _ended(self) -> list[Framed]:
        found: list[Framed] = []
        if not self._trailer:
            ends = [(at, trailer) for trailer in (b"\n", b"\0") if (at := self._held.find(trailer)) >= 0]
            self._trailer = min(ends)[1] if ends else b""
        if self._trailer:
            *messages, rest = bytes(self._held).split(self._trailer)
            if messages and not self._piece and max(map(len, messages)) <= self._most:
                found = [Framed(message) for message in messages]
            else:
                for message in messages:
                    found += self._pieces(message)
            self._held = bytearray(rest)
        while len(self._held) > self._most:
            found.append(Framed(self._taken(self._most), self._piece, more=True))
            self._piece += 1
        return found

    def _pieces(self, message: bytes) -> list[Framed]:
        """A message, or the last bytes of one that began before."""
        first, self._piece = self._piece, 0
        pieces = [message[start : start + self._most] for start in range(0, len(message), self._most)] or [b""]
        return [Framed(piece, first + index, more=index + 1 < len(pieces)) for index, piece in enumerate(pieces)]

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


def _is_length(text: bytes) -> bool:
    return text.isdigit() and text[:1] != b"0" and len(text) <= _MOST_DIGITS
