"""Cutting lines: whatever the bytes, the parts are the line, within the limit, and whole characters."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.events.lines import EncodingScan, cut, encoding_of, part_length, utf8_length

line = st.one_of(st.binary(max_size=200), st.text(max_size=120).map(lambda text: text.encode("utf-8", "ignore")))


@given(line, st.integers(4, 70))
def test_parts_are_the_line_cut_between_characters(data: bytes, limit: int) -> None:
    encoding = encoding_of(data)
    parts = cut(data, encoding, limit)
    assert b"".join(parts) == data
    for part in parts:
        message = part.decode(encoding)
        assert len(message.encode()) == utf8_length(part, encoding) <= limit
    assert all(parts) or parts == [b""]
    for part, following in itertools.pairwise(parts):  # no part could have held one character more
        assert len((part.decode(encoding) + following.decode(encoding)[0]).encode()) > limit


@given(line, st.integers(4, 70))
def test_the_first_part_needs_only_a_little_more_than_the_limit(data: bytes, limit: int) -> None:
    encoding = encoding_of(data)
    assert part_length(data[: limit + 4], encoding, limit) == len(cut(data, encoding, limit)[0])


@given(line, st.lists(st.integers(0, 200), max_size=6))
def test_an_encoding_found_piece_by_piece_is_that_of_the_whole(data: bytes, cuts: list[int]) -> None:
    scan = EncodingScan()
    bounds = [0, *sorted(min(at, len(data)) for at in cuts), len(data)]
    for start, end in itertools.pairwise(bounds):
        scan.feed(data[start:end])
    scan.feed(b"", final=True)
    assert scan.encoding == encoding_of(data)
