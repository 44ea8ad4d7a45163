"""Any bytes on a syslog stream, however they are cut: the same messages, bounded memory, nothing left out."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.sources.syslog_framing import Framed, Framer
from headrace.agents.sources.syslog_message import sender_of

_LIKE_SYSLOG = st.lists(
    st.sampled_from(
        [b"<1>", b"1", b"12", b" ", b"\n", b"\0", b"<34>1 - h a - - - ", b"0", b"x", b"\xff", b"<13>Feb  5 17:32:18 h a: "]
    )
).map(b"".join)
STREAMS = st.one_of(st.binary(max_size=200), _LIKE_SYSLOG)


def framed(framer: Framer, received: list[bytes]) -> list[Framed]:
    return [each for data in received for each in framer.feed(data)] + framer.close()


@given(STREAMS, st.integers(1, 40), st.data())
def test_messages_do_not_depend_on_how_the_stream_is_cut(stream: bytes, most: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert framed(Framer(most), parts) == framed(Framer(most), [stream])


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1), st.integers(1, 100))
def test_counted_messages_come_back(sent: list[bytes], most: int) -> None:
    # A newline where a length may stand is passed over (senders that count and end lines too): none begins with one here.
    stream = b"".join(b"%d %s" % (len(message), message) for message in sent)
    found = framed(Framer(most), [stream])
    assert all(len(each.message) <= most for each in found)
    joined: list[bytes] = []
    for each in found:
        joined = [*joined[:-1], joined[-1] + each.message] if each.number else [*joined, each.message]
    assert joined == sent


@given(STREAMS.map(lambda text: b"<" + text), st.integers(1, 40))
def test_every_byte_of_lines_is_shipped(stream: bytes, most: int) -> None:
    found = framed(Framer(most), [stream])
    told = b"".join(each.message if each.more else each.message + b"|" for each in found)
    trailers = [trailer for trailer in (b"\n", b"\0") if trailer in stream]
    trailer = min(trailers, key=stream.index) if trailers else b"\n"
    assert told.rstrip(b"|") == stream.replace(trailer, b"|").rstrip(b"|")
    assert all(len(each.message) <= most for each in found)


@given(st.one_of(STREAMS, st.text(max_size=300).map(str.encode)))
def test_any_message_has_a_sender_or_none(message: bytes) -> None:
    for name in sender_of(message):
        assert name is None or (name and name.isascii())
