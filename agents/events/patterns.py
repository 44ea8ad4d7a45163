"""Regular expressions of users: RE2's, whose time is linear in the text whatever the expression (docs/adr/0039).

They see UTF-8; what no UTF-8 can hold (half of a surrogate pair in a JSON field) is escaped first, as in the event.
"""

from functools import lru_cache
from typing import Any

_MEMORY_BYTES = 2 << 20  # per expression; RE2 goes on slower, and as linear, where it would need more


def utf8(text: str) -> bytes:
    r"""UTF-8; what no UTF-8 can hold (half of a surrogate pair, a foreign byte in a file name) is escaped, as `\udcff`."""
    return text.encode("utf-8", "backslashreplace")


class Pattern:
    """One expression, in RE2's syntax; it matches anywhere in a text, unless it says `^` and `$`.

    Raises:
        ValueError: it is none, with RE2's reason.
    """

    def __init__(self, expression: str) -> None:
        import re2  # 4 MB that only an agent with such expressions needs

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MEMORY_BYTES
        try:
            self._regexp: Any = re2.compile(expression.encode(), options)
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace") if error.args else "not an expression"
            raise ValueError(f"{reason} (the syntax is RE2's: no look-around, no backreferences)") from None
        self.groups = {name.decode(): number for name, number in self._regexp.groupindex.items()}

    def found_in(self, text: bytes) -> bool:
        return self._regexp.search(text) is not None

    def spans(self, text: bytes) -> list[tuple[int, int]]:
        """Where it matches, from left to right, without overlaps; empty matches are left out."""
        if self._regexp.search(text) is None:
            return []
        return [span for match in self._regexp.finditer(text) if (span := match.span())[0] < span[1]]

    def named(self, text: bytes) -> dict[str, str] | None:
        """The named groups at the first match, those that took part; None where there is no match."""
        match = self._regexp.search(text)
        if match is None:
            return None
        values = match.groups()
        return {
            name: value.decode("utf-8", "replace")
            for name, number in self.groups.items()
            if (value := values[number - 1]) is not None
        }


@lru_cache(maxsize=256)
def pattern(expression: str) -> Pattern:
    """The expression, compiled once in a process."""
    return Pattern(expression)
