"""What a line says without what is only around it: colours, the mark at a file's beginning, NULs of a crash, a `\\r`, UTF-16.

Parsers see it where they do not understand the line as it is. The message stays what it was.
"""

import re
from typing import Final

_CONTROL = re.compile(r"\x1b\[[0-9;:?]*+[ -/]*+[@-~]")
_AROUND: Final = "\ufeff\0"
BEGINNINGS: Final = frozenset(f"\x1b{_AROUND}ÿþ")
"""What begins lines that begin otherwise once they are bare."""


def bare(text: str) -> str:
    """The line alone; the very same object where there is nothing around it."""
    if "\0" in text:
        text = _of_utf_16(text)
    if "\x1b" in text:
        text = _CONTROL.sub("", text)
    return text.strip(_AROUND).removesuffix("\r")


def _of_utf_16(text: str) -> str:
    """A line of a UTF-16 file as the text that it is; any other as it is.

    Cut at bytes 0x0A, it lacks half of its newline, or begins with half of the newline before. Nothing but a file's first line
    tells the order of its bytes: the others are read as Windows writes them, little end first, the same for Latin letters.
    """
    if "\0\0" in text or (not text.isascii() and max(text) > "\xff"):
        return text
    data, codec, zeros = text.encode("iso-8859-1"), "utf-16-le", 1
    if data.startswith(b"\xfe\xff"):
        data, codec, zeros = data[2:].removesuffix(b"\0"), "utf-16-be", 0
    elif data.startswith(b"\xff\xfe"):
        data = data[2:]
    elif data.startswith(b"\0"):
        data = data[1:]
    if len(data) % 2 or data[zeros::2].count(0) * 4 < len(data):
        return text
    return data.decode(codec, "replace")
