"""logfmt, as Go's loggers write it: `level=info msg="it is \\"so\\"" took=3ms cached`.

A value in quotes has Go's escapes; a key without a value is `true`; of a key that comes twice the last value counts. A line
without a single `=` is none, nor is one with an open quote or a value without a key.
"""

import re

from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times

_PAIR = re.compile(r'[ \t]*+(?:([^\s="]++)(?:(=)(?:"((?:[^"\\]++|\\.)*+)"|([^\s"]*+)))?+(?=[ \t\r]|\Z)|(?=\r?\Z)())')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r"}


def logfmt(times: Times) -> Attempt:
    def attempt(text: str, read_time_us: int) -> Parsed | None:
        fields: dict[str, str] = {}
        at, pairs = 0, False
        while True:
            match = _PAIR.match(text, at)
            if match is None:
                return None
            key, equals, quoted, bare, end = match.groups()
            if end is not None:
                break
            pairs = pairs or equals is not None
            if quoted is not None:
                fields[key] = _ESCAPE.sub(_unescaped, quoted) if "\\" in quoted else quoted
            else:
                fields[key] = "true" if bare is None else bare
            at = match.end()
        return (times.in_fields(fields, read_time_us), fields) if pairs else None

    return attempt


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _PLAIN.get(match[3], match[3])
