"""Streams that count bytes before lines, and streams of lines: the same whole and byte by byte; broken ones are told."""

import pytest

from headrace.agents.sources.framing import BrokenStreamError, CountedCutter, Cutter
from headrace.agents.sources.lines import LineCutter

LINES = [b"first", b"", b"two\nlines", b"x" * 300]
OCTETS = b"".join(b"%d %b" % (len(line), line) for line in LINES)
LENGTHS = b"".join(len(line).to_bytes(4, "big") + line for line in LINES)


def fed(cutter: Cutter, data: bytes, step: int) -> list[bytes]:
    lines: list[bytes] = []
    for at in range(0, len(data), step):
        lines += cutter.feed(data[at : at + step])
    return lines + list(cutter.close())


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(("digits", "data"), [(True, OCTETS), (False, LENGTHS)])
def test_lines_with_their_length_before_them(digits: bool, data: bytes, step: int) -> None:
    assert fed(CountedCutter(1000, digits=digits), data, step) == LINES


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_lines_end_with_a_newline_and_the_last_needs_none(step: int) -> None:
    assert fed(LineCutter(1000), b"a\n\nb\r\nlast", step) == [b"a", b"", b"b\r", b"last"]
    assert fed(LineCutter(1000), b"a\n", step) == [b"a"]


@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_a_line_that_is_too_long_is_cut_between_characters(step: int) -> None:
    cutter = LineCutter(5)
    assert fed(cutter, "éééé\nab\n".encode() + b"\xff" * 12, step) == [
        *("éé".encode(), "éé".encode(), b"ab"),
        *(b"\xff" * 5, b"\xff" * 5, b"\xff" * 2),
    ]
    assert cutter.cut


@pytest.mark.parametrize("broken", [b"x5 hello", b"5x hello", b" hello", b"1234567890 hello", b"2000 hello"])
def test_what_is_no_length_breaks_the_stream_and_what_was_whole_before_it_counts(broken: bytes) -> None:
    cutter = CountedCutter(1000, digits=True)
    with pytest.raises(BrokenStreamError) as told:
        cutter.feed(b"2 ok" + broken)
    assert told.value.lines == [b"ok"]


def test_a_stream_that_ends_within_a_line_gives_what_came_of_it() -> None:
    assert fed(CountedCutter(1000, digits=True), b"10 hello", 100) == [b"hello"]
    assert fed(CountedCutter(1000, digits=False), b"\0\0", 100) == []
