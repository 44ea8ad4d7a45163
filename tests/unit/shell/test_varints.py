"""Variable-length integers are those of an Avro library."""

import io

import fastavro
import pytest

from headrace.errors import CorruptError
from headrace.varints import read_zigzag, unsigned, zigzag


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -64, -65, 8191, 1 << 33, (1 << 63) - 1, -(1 << 63)])
def test_a_signed_one_is_a_long_of_avro_s(number: int) -> None:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", number)
    assert zigzag(number) == out.getvalue()
    assert read_zigzag(b"?" + out.getvalue() + b"?", 1) == (number, 1 + len(out.getvalue()))


@pytest.mark.parametrize(("number", "written"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_an_unsigned_one_has_the_lowest_bits_first(number: int, written: bytes) -> None:
    assert unsigned(number) == written


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 20])
def test_one_that_is_cut_off_or_too_long_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError):
        read_zigzag(data, 0)
