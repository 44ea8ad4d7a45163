"""Where lines and the parts of lines end. Pure.

A line ends at `\\n`; `\\r`, NULs and any other bytes belong to it. A line is UTF-8 if all of it is valid, otherwise
ISO-8859-1 (which every byte string is). A part holds at most so many bytes *of UTF-8*, which is what the event carries: a
byte above 0x7f of an ISO-8859-1 line counts twice. Source: interfaces.md, A line.
"""

import codecs

UTF_8 = "utf-8"
ISO_8859_1 = "iso-8859-1"
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HIGH = bytes(range(0x80, 0x100))


def encoding_of(line: bytes) -> str:
    """The encoding of a whole line (without its newline)."""
    try:
        line.decode()
    except UnicodeDecodeError:
        return ISO_8859_1
    return UTF_8


def changed(text: str, encoding: str) -> tuple[bytes, bytes, str]:
    """A message that steps changed: its bytes (as the audit counts them), its UTF-8, and its encoding."""
    message = text.encode()
    if encoding == ISO_8859_1:
        try:
            return text.encode(ISO_8859_1), message, encoding
        except UnicodeEncodeError:
            pass
    return message, message, UTF_8


def decoded(line: bytes) -> tuple[str, str, bytes]:
    """A line's encoding, its text, and its message in UTF-8."""
    try:
        return UTF_8, line.decode(), line
    except UnicodeDecodeError:
        text = line.decode(ISO_8859_1)
        return ISO_8859_1, text, text.encode()


def begins_utf_16(data: bytes) -> bool:
    """Whether a file that begins so says that it is UTF-16, as programs on Windows export."""
    return data.startswith(_UTF_16_MARKS)


class EncodingScan:
    """The encoding of a line that is read piece by piece."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder(UTF_8)()
        self._valid = True

    def feed(self, piece: bytes, *, final: bool = False) -> None:
        """Take the next piece; `final` with the last."""
        if self._valid:
            try:
                self._decoder.decode(piece, final)
            except UnicodeDecodeError:
                self._valid = False

    @property
    def encoding(self) -> str:
        return UTF_8 if self._valid else ISO_8859_1


def utf8_length(line: bytes, encoding: str) -> int:
    """How many bytes of UTF-8 the message of these bytes takes."""
    if encoding == UTF_8 or line.isascii():
        return len(line)
    return 2 * len(line) - len(line.translate(None, _HIGH))


def part_length(data: bytes, encoding: str, limit: int) -> int:
    """How many of `data`'s bytes make its first part: the most that stay within `limit` bytes of UTF-8 and end a character.

    Args:
        data: the rest of a line, or at least its first `limit` + 1 bytes.
        limit: at least 4, the longest character.
    """
    if utf8_length(data, encoding) <= limit:
        return len(data)
    if encoding == UTF_8:
        end = limit
        while end > limit - 4 and data[end] & 0xC0 == 0x80:  # a continuation byte: the character began before
            end -= 1
        return end
    low, high = limit // 2, min(limit, len(data))
    while low < high:  # the longest prefix whose message fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if utf8_length(data[:middle], encoding) <= limit else (low, middle - 1)
    return low


def cut(line: bytes, encoding: str, limit: int) -> list[bytes]:
    """Cut a whole line into its parts; an empty line is one empty part."""
    parts = []
    rest = line
    while utf8_length(rest, encoding) > limit:
        length = part_length(rest[: limit + 4], encoding, limit)
        parts.append(rest[:length])
        rest = rest[length:]
    parts.append(rest)
    return parts
