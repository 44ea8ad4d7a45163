"""Lines of a posted body: each element of a JSON array, each line of NDJSON or text, as it was written. Pure.

What is wrong with one is wrong with all: the first is named.
"""

from collections.abc import Iterator

from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.json_values import JsonError, Values
from headrace.agents.sources.scratch import Data


def text_lines(body: Data) -> Iterator[bytes]:
    """Lines end at a newline; blank ones count; the last needs no end."""
    at, end = 0, len(body)
    while at < end:
        newline = body.find(b"\n", at)
        stop = newline if newline >= 0 else end
        yield body[at:stop]
        at = stop + 1


def ndjson_lines(body: Data) -> Iterator[bytes]:
    """One JSON value a line; blank lines are passed over.

    Raises:
        RequestError: 400, naming the first line that is none.
    """
    for number, line in enumerate(text_lines(body), 1):
        if line.strip():
            values = Values(line)
            _value(values, f"line {number}")
            if values.next():
                raise RequestError(400, f"line {number} is not JSON: there is more behind its value")
            yield line


def json_lines(body: Data) -> Iterator[bytes]:
    """The elements of an array, or the one value that the body is.

    Raises:
        RequestError: 400, naming the first element that is none.
    """
    values = Values(body)
    if values.next() == b"[":
        yield from _elements(body, values)
    else:
        start = values.at
        _value(values, "the body")
        yield body[start : values.at]
    if values.next():
        raise RequestError(400, "the body is not JSON: there is more behind its value; several values are NDJSON")


def _elements(body: Data, values: Values) -> Iterator[bytes]:
    number = 0
    try:
        for _ in values.elements():
            number += 1
            values.next()
            start = values.at
            _value(values, f"element {number}")
            yield body[start : values.at]
    except JsonError as error:
        raise RequestError(400, f"the body is not JSON: neither , nor ] behind element {number}") from error


def _value(values: Values, what: str) -> None:
    try:
        values.value()
    except JsonError as error:
        raise RequestError(400, f"{what} is not JSON: {error}") from error
