"""Avro's binary encoding of the values that the agent writes. Source: Avro 1.12 specification, Binary Encoding."""

from collections.abc import Mapping
from functools import lru_cache

from headrace.agents.events.patterns import utf8
from headrace.varints import zigzag

_LENGTHS = [zigzag(length) for length in range(4096)]
NO_FIELDS = b"\x00"
_LONGEST_KEPT_NAME = 64  # so that names kept for the next lines take little memory, whatever lines hold


def length(size: int) -> bytes:
    """A length, an index or any other small number."""
    return _LENGTHS[size] if size < 4096 else zigzag(size)


def string(text: str) -> bytes:
    """A string, by its length."""
    data = utf8(text)
    return length(len(data)) + data


def string_map(fields: Mapping[str, str]) -> bytes:
    """A map of strings, as one block."""
    if not fields:
        return NO_FIELDS
    pieces = [length(len(fields))]
    for name, value in fields.items():
        try:
            data = value.encode()
        except UnicodeEncodeError:
            data = utf8(value)
        size = len(data)
        named = _name(name) if len(name) <= _LONGEST_KEPT_NAME else string(name)
        pieces += (named, _LENGTHS[size] if size < 4096 else zigzag(size), data)
    pieces.append(b"\x00")
    return b"".join(pieces)


@lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    """A field's name; lines mostly share theirs."""
    return string(name)
