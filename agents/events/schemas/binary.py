"""Avro's binary encoding of the values that the agent writes. Source: Avro 1.12 specification, Binary Encoding."""

from collections.abc import Iterable, Mapping

from headrace.agents.events.patterns import utf8
from headrace.varints import unsigned, zigzag

_LENGTHS = [zigzag(length) for length in range(4096)]
_LOW_BITS = 13
_LOW = [bytes((2 * low & 0x7F | 0x80, low >> 6 | 0x80)) for low in range(1 << _LOW_BITS)]  # the lowest two bytes, more behind
NO_FIELDS = b"\x00"
_MOST_KEPT_FORMS, _LONGEST_KEPT_FORM = 128, 1024  # so that they take little memory, whatever lines hold


def length(size: int) -> bytes:
    """A length, an index or any other small number."""
    return _LENGTHS[size] if size < 4096 else zigzag(size)


def lengths(items: Iterable[bytes]) -> list[bytes]:
    """The length of each."""
    return [_LENGTHS[size] if size < 4096 else zigzag(size) for size in map(len, items)]


def zigzags(numbers: Iterable[int]) -> list[bytes]:
    """What `zigzag` writes for each; positions and times of neighbours mostly share all but their lowest bits."""
    written, last, high = [], 0, b""
    for number in numbers:
        if number >> _LOW_BITS != last:
            last = number >> _LOW_BITS
            high = unsigned(last) if last > 0 else b""
        written.append(_LOW[number & 0x1FFF] + high if high else zigzag(number))
    return written


def string(text: str) -> bytes:
    """A string, by its length."""
    data = utf8(text)
    return length(len(data)) + data


def string_map(fields: Mapping[str, str]) -> bytes:
    """A map of strings, as one block."""
    if not fields:
        return NO_FIELDS
    names = tuple(fields)
    pieces = []
    for value in fields.values():
        try:
            data = value.encode()
        except UnicodeEncodeError:
            data = utf8(value)
        size = len(data)
        pieces.append(_LENGTHS[size] if size < 4096 else zigzag(size))
        pieces.append(data)
    return (_forms.get(names) or _form(names)) % tuple(pieces)


_forms: dict[tuple[str, ...], bytes] = {}
"""What maps with these names have around their values; lines mostly share theirs, or nearly."""


def _form(names: tuple[str, ...]) -> bytes:
    written = [string(name).replace(b"%", b"%%") + b"%b%b" for name in names]
    form = length(len(names)).replace(b"%", b"%%") + b"".join(written) + b"\x00"
    if len(form) <= _LONGEST_KEPT_FORM:
        if len(_forms) >= _MOST_KEPT_FORMS:
            _forms.clear()
        _forms[names] = form
    return form
