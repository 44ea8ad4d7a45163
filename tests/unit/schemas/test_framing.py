"""Five bytes before every registered value."""

import pytest

from headrace.schemas.framing import frame, header, parse


def test_a_framed_value_is_a_zero_the_id_big_endian_and_the_payload() -> None:
    assert frame(0x01020304, b"xyz") == b"\x00\x01\x02\x03\x04xyz"
    assert header(7) + b"xyz" == frame(7, b"xyz")
    assert parse(frame(0x01020304, b"xyz")) == (0x01020304, b"xyz")
    assert parse(frame(9, b"")) == (9, b"")


@pytest.mark.parametrize("value", [b"", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00\x01x", b'{"a":1}'])
def test_other_values_are_not_taken_for_framed_ones(value: bytes) -> None:
    assert parse(value) is None
