"""Lines of a posted body: each element of a JSON array, each line of NDJSON or text, as it was written. Pure.

All or nothing: what is wrong with one is wrong with all, and the first is named.
"""

import json
import re
from collections.abc import Generator, Iterator
from typing import Any, Final

from headrace.agents.sources.http_refusals import RequestError

_SPACE: Final = re.compile(r"[ \t\n\r]*+")


def _no_constant(name: str) -> Any:
    """Python's own NaN and Infinity."""
    raise ValueError(f"{name} is not JSON")


_decoder: Final = json.JSONDecoder(parse_constant=_no_constant)


def text_lines(body: bytes) -> Iterator[bytes]:
    """Lines end at a newline; blank ones count; the last needs no end."""
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return iter(lines)


def ndjson_lines(body: bytes) -> Iterator[bytes]:
    """One JSON value a line; blank lines are passed over.

    Raises:
        RequestError: 400, naming the first line that is none.
    """
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            what = f"line {number}"
            text = _text(line, what)
            if _past_space(text, _end_of_value(text, _past_space(text, 0), what)) < len(text):
                raise RequestError(400, f"{what} is not JSON: there is more behind its value")
            yield line


def json_lines(body: bytes) -> Iterator[bytes]:
    """The elements of an array, or the one value that the body is.

    Raises:
        RequestError: 400, naming the first element that is none.
    """
    text = _text(body, "the body")
    start = _past_space(text, 0)
    if text[start : start + 1] == "[":
        end = yield from _elements(text, start + 1)
    else:
        end = _end_of_value(text, start, "the body")
        yield text[start:end].encode()
    if _past_space(text, end) < len(text):
        raise RequestError(400, "the body is not JSON: there is more behind its value; several values are NDJSON")


def _elements(text: str, at: int) -> Generator[bytes, None, int]:
    """The elements of an array that begins before `at`; where it ends."""
    at = _past_space(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    number = 0
    while True:
        number += 1
        end = _end_of_value(text, at, f"element {number}")
        yield text[at:end].encode()
        at = _past_space(text, end)
        if text[at : at + 1] == "]":
            return at + 1
        if text[at : at + 1] != ",":
            raise RequestError(400, f"the body is not JSON: neither , nor ] behind element {number}")
        at = _past_space(text, at + 1)


def _end_of_value(text: str, at: int, what: str) -> int:
    try:
        return _decoder.raw_decode(text, at)[1]
    except (ValueError, RecursionError) as error:
        said = getattr(error, "msg", None) or str(error)
        raise RequestError(400, f"{what} is not JSON: {said}") from error


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(400, f"{what} is not JSON: not UTF-8 at byte {error.start}") from error


def _past_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None, "nothing is space enough"
    return match.end()
