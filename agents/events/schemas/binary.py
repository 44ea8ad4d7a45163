"""Avro's binary encoding of the values that the agent writes. Source: Avro 1.12 specification, Binary Encoding."""

from collections.abc import Mapping

from headrace.agents.events.patterns import utf8
from headrace.varints import zigzag

_LENGTHS = [zigzag(length) for length in range(4096)]
NO_FIELDS = b"\x00"


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
        pieces.append(string(name))
        pieces.append(string(value))
    pieces.append(b"\x00")
    return b"".join(pieces)
