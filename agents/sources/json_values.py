"""JSON values one after another, out of bytes that may be a whole request: one value at a time is in memory. Pure.

A window of the bytes is read, and a longer one where the value does not end in it; one that is longer than a few of them may
hold a bounded number of values, because an empty object takes 3 bytes in a text and seventy here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from headrace.agents.sources.scratch import Data

MOST_VALUES: Final = 50_000  # in one value that is not short
_FIRST_BYTES, _SHORT_BYTES = 4096, 64 * 1024
_SPACE: Final = re.compile(rb"[ \t\n\r]*+")


class JsonError(Exception):
    """Bytes that are no JSON, or more of it than is held; `str(error)` says which."""


def _no_constant(name: str) -> Any:
    """Python's own NaN and Infinity."""
    raise ValueError(f"{name} is not JSON")


_STRICT: Final = json.JSONDecoder(parse_constant=_no_constant)
_LENIENT: Final = json.JSONDecoder()


class Values:
    """A place in a JSON text, which moves on with what is read; `lenient`: NaN and Infinity are numbers."""

    def __init__(self, data: Data, *, lenient: bool = False) -> None:
        self._data, self._decode = data, (_LENIENT if lenient else _STRICT).raw_decode
        self.at = 0

    def next(self) -> bytes:
        """The next byte that is no space; none at the end."""
        match = _SPACE.match(self._data, self.at)
        assert match is not None, "nothing is space enough"
        self.at = match.end()
        return bytes(self._data[self.at : self.at + 1])

    def take(self, one_of: bytes) -> bytes:
        """One of these bytes, and go on behind it.

        Raises:
            JsonError: it is none of them.
        """
        found = self.next()
        if not found or found not in one_of:
            raise JsonError(f"neither {' nor '.join(map(chr, one_of))} at byte {self.at}")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value.

        Raises:
            JsonError
        """
        self.next()
        left, size = len(self._data) - self.at, _FIRST_BYTES
        while True:
            window = self._data[self.at : self.at + size]
            text, whole = self._text(window, is_end=size >= left), size >= left
            try:
                value, end = self._decode(text)
                if whole or end < len(text):  # a number may go on behind the window
                    self.at += end if text.isascii() else len(text[:end].encode())
                    return value
            except RecursionError as error:
                raise JsonError("nested too deep") from error
            except ValueError as error:
                if whole:
                    raise JsonError(getattr(error, "msg", None) or str(error)) from error
            size *= 4
            if size > _SHORT_BYTES and sum(map(self._data[self.at : self.at + size].count, (b",", b"[", b"{"))) > MOST_VALUES:
                raise JsonError(f"more than {MOST_VALUES} values in one")

    def _text(self, window: bytes, *, is_end: bool) -> str:
        try:
            return window.decode()
        except UnicodeDecodeError as error:
            if is_end or error.start < len(window) - 3:
                raise JsonError(f"not UTF-8 at byte {self.at + error.start}") from error
            return window[: error.start].decode()

    def elements(self) -> Iterator[None]:
        """The elements of an array: each is to be read by who asks, before the next is asked for.

        Raises:
            JsonError
        """
        self.take(b"[")
        if self.next() == b"]":
            self.at += 1
            return
        while True:
            yield
            if self.take(b",]") == b"]":
                return

    def members(self) -> Iterator[str]:
        """The names of an object's members; each value is to be read by who asks.

        Raises:
            JsonError
        """
        self.take(b"{")
        if self.next() == b"}":
            self.at += 1
            return
        while True:
            if self.next() != b'"':
                raise JsonError(f"no name at byte {self.at}")
            name: str = self.value()
            self.take(b":")
            yield name
            if self.take(b",}") == b"}":
                return

    def skip(self, deep: int) -> None:
        """Pass over the next value; of what is within `deep` others one is in memory at a time.

        Raises:
            JsonError
        """
        first = self.next()
        if deep and first in (b"[", b"{"):
            for _ in self.elements() if first == b"[" else self.members():
                self.skip(deep - 1)
        else:
            self.value()
