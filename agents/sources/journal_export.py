"""The journal's export format (systemd.io/JOURNAL_EXPORT_FORMATS): bytes in, entries out. Pure.

An entry is fields and an empty line. A field is `NAME=value` and a newline, or, where the value is not text of one line,
`NAME`, a newline, the value's length as 8 bytes, little-endian, the value, and a newline. A name may come more than once.

What is kept of an entry is bounded (core dumps lie in the journal too): so much of MESSAGE, so much of any other value, and so
much of all others together. How much was left out is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

MOST_MESSAGE_BYTES: Final = 1024 * 1024
MOST_VALUE_BYTES: Final = 64 * 1024
MOST_OTHERS_BYTES: Final = 512 * 1024
MOST_FIELDS: Final = 1024  # as journald's own
_MOST_NAME: Final = 64


class ExportError(Exception):
    """Bytes that are not in the export format."""


@dataclass(slots=True)
class Entry:
    """One entry: values by name, and how many bytes of them were left out."""

    fields: dict[str, list[bytes]] = field(default_factory=dict)
    count: int = 0
    others_bytes: int = 0
    message_cut_bytes: int = 0
    others_cut_bytes: int = 0

    def room_for(self, name: str) -> int:
        """How many bytes of one more value are kept."""
        if name == "MESSAGE":
            return 0 if name in self.fields else MOST_MESSAGE_BYTES
        return 0 if self.count >= MOST_FIELDS else min(MOST_VALUE_BYTES, MOST_OTHERS_BYTES - self.others_bytes)

    def add(self, name: str, value: bytes, cut_bytes: int) -> None:
        """One more value, and how many bytes of it were left out."""
        self.count += 1
        if name == "MESSAGE":
            self.message_cut_bytes += cut_bytes
        else:
            self.others_bytes += len(value) + _MOST_NAME
            self.others_cut_bytes += cut_bytes
        if value or not cut_bytes:
            self.fields.setdefault(name, []).append(value)

    def text(self, name: str) -> str | None:
        """The first value of a field, as text."""
        values = self.fields.get(name)
        return None if values is None else values[0].decode("utf-8", "backslashreplace")


class ExportReader:
    """The entries of one stream."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._entry = Entry()
        self._name = ""  # of the value that is being read
        self._left: int | None = None  # bytes of it that are still to come; None: up to a newline
        self._value = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Take what was read; the entries that are complete by it.

        Raises:
            ExportError: it is not in this format.
        """
        self._held += data
        while self._held:
            if self._name:
                if not self._go_on():
                    return
            elif self._held[:1] == b"\n":
                del self._held[:1]
                if self._entry.count:
                    yield self._entry
                self._entry = Entry()
            elif not self._begin():
                return

    def _begin(self) -> bool:
        """Read a field's name, and a binary value's length; False if it is not all there."""
        head = bytes(self._held[: _MOST_NAME + 9])
        equals, newline = head.find(b"="), head.find(b"\n")
        if equals > 0 and (newline < 0 or equals < newline):
            self._name, self._left = _checked(head[:equals]), None
            del self._held[: equals + 1]
            return True
        if newline < 0:
            if len(head) > _MOST_NAME:
                raise ExportError("a field's name is none")
            return False
        if len(head) < newline + 9:
            _checked(head[:newline])
            return False
        self._name, self._left = _checked(head[:newline]), int.from_bytes(head[newline + 1 : newline + 9], "little")
        del self._held[: newline + 9]
        return True

    def _go_on(self) -> bool:
        """Take what is there of a value; whether it is all there, with the newline behind it."""
        end = self._held.find(b"\n") if self._left is None else self._left
        there = len(self._held) if end < 0 else min(end, len(self._held))
        keep = max(0, min(there, self._entry.room_for(self._name) - len(self._value)))
        self._value += self._held[:keep]
        self._cut += there - keep
        del self._held[:there]
        if self._left is not None:
            self._left -= there
        if not self._held:
            return False
        if self._left:
            return False
        if self._held[:1] != b"\n":
            raise ExportError(f"{self._name} is not as long as it says")
        del self._held[:1]
        self._entry.add(self._name, bytes(self._value), self._cut)
        self._name, self._left, self._value, self._cut = "", None, bytearray(), 0
        return True


def _checked(name: bytes) -> str:
    if not 0 < len(name) <= _MOST_NAME or not name.replace(b"_", b"a").isalnum():
        raise ExportError("a field's name is none")
    return name.decode("ascii")
