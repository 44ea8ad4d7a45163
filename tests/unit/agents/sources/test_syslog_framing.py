"""Messages on a stream, by RFC 6587's two ways and what senders make of them."""

import pytest

from headrace.agents.sources.syslog_framing import Framed, Framer


def messages(framer: Framer, *received: bytes) -> list[bytes]:
    return [framed.message for data in received for framed in framer.feed(data)]


def test_octets_are_counted_where_a_connection_begins_with_a_length() -> None:
    framer = Framer(100)
    assert messages(framer, b"5 <1>a\n9 <2>b\n", b"<3>c3 <4>") == [b"<1>a\n", b"<2>b\n<3>c", b"<4>"]


def test_a_length_may_come_a_byte_at_a_time() -> None:
    framer = Framer(100)
    assert messages(framer, b"1", b"1", b" ", b"<1>hello wo", b"3 ", b"<2>") == [b"<1>hello wo"[:11], b"<2>"]


@pytest.mark.parametrize("trailer", [b"\n", b"\0"])
def test_a_message_ends_at_the_trailer_that_comes_first_on_its_connection(trailer: bytes) -> None:
    other = b"\0" if trailer == b"\n" else b"\n"
    framer = Framer(100)
    assert messages(framer, b"<1>a" + trailer + b"<2>b" + other + b"c" + trailer) == [b"<1>a", b"<2>b" + other + b"c"]


def test_lines_that_begin_with_a_number_stay_lines_on_a_connection_that_began_with_a_line() -> None:
    assert messages(Framer(100), b"<1>a\n3 men\n10 green bottles\n") == [b"<1>a", b"3 men", b"10 green bottles"]


@pytest.mark.parametrize("line", [b"2026-11-26 a", b"0 a", b"12345678901 a", b" a", b"", b"\xff\xfe"])
def test_what_is_no_length_is_a_line(line: bytes) -> None:
    assert messages(Framer(100), line + b"\n") == [line]


def test_a_newline_behind_a_counted_message_is_passed_over() -> None:
    assert messages(Framer(100), b"4 <1>a\n4 <2>b\n") == [b"<1>a", b"<2>b"]


def test_what_stands_where_a_length_should_and_is_none_breaks_the_connection_after_the_messages_before_it() -> None:
    framer = Framer(100)
    assert messages(framer, b"4 <1>ax") == [b"<1>a"]
    assert framer.broken
    assert framer.feed(b"4 <1>b") == []
    assert framer.close() == []


def test_a_connection_that_ends_within_a_message_gives_what_came_of_it() -> None:
    for received in (b"<1>a\n<2>b", b"4 <1>a9 <2>b"):
        framer = Framer(100)
        assert messages(framer, received) == [b"<1>a"]
        assert [framed.message for framed in framer.close()] == [b"<2>b"]
        assert framer.close() == []


def test_a_connection_that_ends_within_a_length_gives_nothing_more() -> None:
    framer = Framer(100)
    assert messages(framer, b"4 <1>a12") == [b"<1>a"]
    assert framer.close() == []


@pytest.mark.parametrize("received", [b"25 " + b"x" * 25, b"x" * 25 + b"\n"])
def test_a_long_message_is_handed_out_in_pieces_as_it_comes(received: bytes) -> None:
    framer = Framer(10)
    found = [framed for index in range(len(received)) for framed in framer.feed(received[index : index + 1])]
    assert found == [Framed(b"x" * 10, 0, more=True), Framed(b"x" * 10, 1, more=True), Framed(b"x" * 5, 2)]
    assert Framer(10).feed(received) == found
