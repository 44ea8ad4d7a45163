"""logfmt, as Go's loggers write it: `level=info msg="it is \\"so\\"" took=3ms cached`.

A value in quotes has Go's escapes; a key without a value is `true`; of a key that comes twice the last value counts. A line
without a single `=` is none, nor is one with an open quote or a value without a key.
"""

import re

from headrace.agents.events.parsers.parser import Attempt, Parsed
from headrace.agents.events.times import Times

_PAIR = re.compile(r'[ \t]*+(?:([^\s="]++)(?:(=)(?:"((?:[^"\\]++|\\.)*)"|([^\s"]*+)))?(?=[ \t\r]|\Z)|(?=\r?\Z)())')
_FIRST_KEY = re.compile(r"[A-Za-z_@][\w.@/-]*+=")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r"}


def logfmt(times: Times, *, only_pairs: bool = False) -> Attempt:
    """`only_pairs`: at least two, each a key with its value and nothing between them, so that no sentence counts."""
    in_fields, at_start = times.in_fields, times.at_start

    def attempt(text: str, read_time_us: int) -> Parsed | None:
        if only_pairs and ("=" not in text or _FIRST_KEY.match(text) is None):
            return None
        fields: dict[str, str] = {}
        at, pairs = 0, 0
        while True:
            match = _PAIR.match(text, at)
            if match is None:
                return None
            key, equals, quoted, bare, end = match.groups()
            if end is not None:
                break
            if equals is not None:
                pairs += 1
            elif only_pairs:
                return None
            if quoted is not None:
                fields[key] = _ESCAPE.sub(_unescaped, quoted) if "\\" in quoted else quoted
            elif only_pairs and bare[-1:] == ",":
                return None
            else:
                fields[key] = "true" if bare is None else bare
            at = match.end()
        if pairs < (2 if only_pairs else 1):
            return None
        event_time_us = in_fields(fields, read_time_us)
        return at_start(text, read_time_us) if event_time_us is None else event_time_us, fields

    return attempt


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _PLAIN.get(match[3], match[3])
