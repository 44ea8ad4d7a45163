"""Lines out of bytes as they come. Pure."""

from collections.abc import Sequence

_CONTINUES = 0x80  # a byte of a UTF-8 character that is not its first has these two bits


class LineCutter:
    """Cuts a stream of bytes at newlines; a line that gets longer than `most_bytes` is cut there, between characters."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.cut = 0  # how often a line was too long

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The lines that end within `data`, without their newlines."""
        first, *others = data.split(b"\n")
        self._hold(first)
        if not others and self._held_bytes <= self._most_bytes:
            return ()
        lines = self._shortened(self._let_go()) if others else self._overflow()
        for line in others[:-1]:
            lines.extend(self._shortened(line))
        if others:
            self._hold(others[-1])
            lines.extend(self._overflow())
        return lines

    def close(self) -> Sequence[bytes]:
        """The last line, where it has no newline."""
        return self._shortened(self._let_go()) if self._held_bytes else ()

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._held_bytes += len(piece)

    def _let_go(self) -> bytes:
        line = b"".join(self._held)
        self._held, self._held_bytes = [], 0
        return line

    def _overflow(self) -> list[bytes]:
        """Of what is held, what is too long to be held on."""
        if self._held_bytes <= self._most_bytes:
            return []
        *lines, rest = self._shortened(self._let_go())
        self._hold(rest)
        return lines

    def _shortened(self, line: bytes) -> list[bytes]:
        if len(line) <= self._most_bytes:
            return [line]
        lines, at = [], 0
        while len(line) - at > self._most_bytes:
            end = at + self._most_bytes
            least = end - 3
            while end > least and line[end] & 0xC0 == _CONTINUES:
                end -= 1
            lines.append(line[at:end])
            at = end
            self.cut += 1
        lines.append(line[at:])
        return lines
