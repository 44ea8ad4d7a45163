"""A step that hides what must not leave the host: e-mail addresses, card numbers, and what users' expressions match.

It changes the message and all fields, and what was found becomes `[email]`, or `[email:0123456789abcdef]` with a keyed hash
of it, so that equal ones can be told without being known. Nothing becomes longer than it was (Record.room_bytes): where that
does not fit, asterisks stand there, or as many digits of the hash. The hash is BLAKE2b's, keyed by what `redaction_key` makes
of the user's secret; the secret itself is kept nowhere. Card numbers are told by their length, first digit and check digit
(ISO/IEC 7812-1, Luhn), with spaces or dashes between.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from headrace.agents.events.patterns import pattern, utf8
from headrace.agents.events.transforms.record import Record, Step

_EMAIL = r"[\pL\pN._%+'-]+@(?:[\pL\pN-]+\.)+\pL{2,}"
_DIGITS = re.compile(rb"\d(?:[ -]?\d){12,}+")
_CARD_DIGITS = range(13, 20)
_Hidden = Callable[[str, bytes], bytes]
_Hide = Callable[[bytes, _Hidden], bytes]


def redaction_key(secret: str) -> str:
    """The key (hex) that a definition holds in place of the secret."""
    return blake2b(secret.encode(), digest_size=32, person=b"headrace-redact").hexdigest()


def redact(rule: Mapping[str, Any]) -> Step:
    """`email`, `card`: whether to hide those; `patterns`: what else; `key`: hash with it, else mask."""
    ways: list[_Hide] = []
    if rule.get("email"):
        ways.append(_emails())
    if rule.get("card"):
        ways.append(_cards)
    ways += [_matches(expression) for expression in rule.get("patterns", [])]
    hidden = _mask if "key" not in rule else _hash(bytes.fromhex(rule["key"]))

    def clean(text: str) -> str:
        before = data = utf8(text)
        for way in ways:
            data = way(data, hidden)
        return text if data is before else data.decode()

    def step(record: Record) -> None:
        record.text = clean(record.text)
        for name, value in record.fields.items():
            record.fields[name] = clean(value)

    return step


def _mask(kind: str, found: bytes) -> bytes:
    characters = len(found.decode())
    mask = b"[%b]" % kind.encode()
    return mask if len(mask) <= characters else b"*" * characters


def _hash(key: bytes) -> _Hidden:
    def hidden(kind: str, found: bytes) -> bytes:
        characters = len(found.decode())
        digits = blake2b(found, key=key, digest_size=8).hexdigest().encode()
        told = b"[%b:%b]" % (kind.encode(), digits)
        return told if len(told) <= characters else digits[:characters]

    return hidden


def _emails() -> _Hide:
    spans = pattern(_EMAIL).spans

    def hide(data: bytes, hidden: _Hidden) -> bytes:
        if b"@" not in data:
            return data
        return _replaced(data, [(start, end, "email") for start, end in spans(data)], hidden)

    return hide


def _matches(expression: str) -> _Hide:
    spans = pattern(expression).spans
    return lambda data, hidden: _replaced(data, [(start, end, "redacted") for start, end in spans(data)], hidden)


def _cards(data: bytes, hidden: _Hidden) -> bytes:
    found = [(start, end, "card") for run in _DIGITS.finditer(data) for start, end in _cards_in(run.group(), run.start())]
    return _replaced(data, found, hidden)


def _cards_in(run: bytes, offset: int) -> list[tuple[int, int]]:
    """The card numbers in a run of digits with single spaces or dashes between; one begins and ends where a group does."""
    at = [index for index, byte in enumerate(run) if byte not in b" -"]
    digits = [run[index] - 48 for index in at]
    begins = [not number or at[number] != at[number - 1] + 1 for number in range(len(at))] + [True]
    found, number = [], 0
    while number < len(at):
        size = 0
        if begins[number] and 2 <= digits[number] <= 6:
            size = next((size for size in _CARD_DIGITS if _is_card(digits, number, size, begins)), 0)
        if size:
            found.append((offset + at[number], offset + at[number + size - 1] + 1))
        number += size or 1
    return found


def _is_card(digits: list[int], number: int, size: int, begins: list[bool]) -> bool:
    if number + size > len(digits) or not begins[number + size]:
        return False
    total = sum(
        digit if index % 2 == 0 else digit * 2 - 9 * (digit > 4)
        for index, digit in enumerate(digits[number : number + size][::-1])
    )
    return total % 10 == 0


def _replaced(data: bytes, found: list[tuple[int, int, str]], hidden: _Hidden) -> bytes:
    if not found:
        return data
    pieces, at = [], 0
    for start, end, kind in found:
        pieces += [data[at:start], hidden(kind, data[start:end])]
        at = end
    return b"".join([*pieces, data[at:]])
