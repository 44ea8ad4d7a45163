"""Which files may continue a stream whose own file is gone; where chunks end that hold events of several lines."""

from dataclasses import replace

import pytest

from headrace.agents.effects import Input, Now, Read, Stat
from headrace.agents.events.pipeline import AUTO, definition
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.tail.identity import FileStat, digest, running_hash
from headrace.agents.tail.proof import copies
from headrace.agents.tail.reading import Limits, Planned, read_on
from headrace.agents.tail.stream import Stream

LINES = b"".join(b"line %d of the log\n" % number for number in range(20))
SENT = ChunkRow("s-1", 0, 100, 0, 0, 1_795_424_400_123, AUTO, 64, digest(LINES[:100]))
ROW = StreamRow("s-1", "logs", 3, "h", "a", "/a.log", "/a.log", 7, 99, 5, head_bytes=100, head=digest(LINES[:100]))


def continued_by(stream: Stream, content: bytes) -> bool:
    steps = copies(stream, 5, len(content))
    answer = None
    try:
        while True:
            effect = steps.send(answer)
            assert isinstance(effect, Read)
            answer = content[effect.offset : effect.offset + effect.length]
    except StopIteration as end:
        return bool(end.value)


def stream_at(position: int, *on_their_way: ChunkRow) -> Stream:
    row = replace(ROW, position=position, crc=running_hash(LINES[:position], 0))
    stream = Stream(row, None, complete=None, now=Now(0, 0), saved=True)
    stream.replay += on_their_way
    return stream


@pytest.mark.parametrize("position", [0, 40])
def test_a_copy_continues_a_stream_of_which_only_the_first_lines_were_on_their_way(position: int) -> None:
    sent = replace(SENT, start=position, since=position, content=digest(LINES[position:100]))
    stream = stream_at(position, sent)
    assert continued_by(stream, LINES)
    assert stream.handle == 5


def test_a_file_with_another_head_or_too_short_does_not() -> None:
    assert not continued_by(stream_at(40, SENT), b"another log\n" * 20)
    assert not continued_by(stream_at(0, SENT), b"another log\n" * 20)
    assert not continued_by(stream_at(40, SENT), LINES[:30])


def test_a_stream_of_which_nothing_was_sent_is_not_continued() -> None:
    assert not continued_by(stream_at(0), LINES)


TRACES = definition(
    parse={"type": "plain"},
    multiline={"traces": ["java"], "timeout_ms": 1000, "max_lines": 100, "max_bytes": 2000},
)
E = b"E 1\n\tat a\n\tat b\n"


class Reader:
    """One stream of a file that grows."""

    def __init__(self, *, chunk_bytes: int = 64, chunk_lines: int = 100) -> None:
        self.stream = Stream(ROW_OF_NOTHING, Input("logs", TRACES, split_bytes=2000), complete=None, now=Now(0, 0), saved=True)
        self.stream.hold(5, b"", b"")
        self.limits = Limits(chunk_bytes=chunk_bytes, chunk_lines=chunk_lines)
        self.content = b""
        self.bytes_read = 0

    def read(self, at_ms: int, *, once: bool = False) -> bytes | None:
        """The bytes of the next chunk, which is then on its way."""
        steps = read_on(self.stream, Now(at_ms, at_ms), self.limits, once=once)
        answer: object = None
        try:
            while True:
                effect = steps.send(answer)
                if isinstance(effect, Stat):
                    answer = FileStat(7, 99, len(self.content), len(self.content), 1)
                else:
                    assert isinstance(effect, Read)
                    answer = self.content[effect.offset : effect.offset + effect.length]
                    self.bytes_read += len(self.content[effect.offset : effect.offset + effect.length])
        except StopIteration as end:
            planned = end.value
        if planned is None:
            return None
        assert isinstance(planned, Planned)
        self.stream.sent(planned.chunk, planned.data, planned.after, planned.cost_bytes)
        return planned.data


ROW_OF_NOTHING = StreamRow("s-1", "logs", 3, "h", "a", "/a.log", "/a.log", 7, 99, 5)


def test_the_last_event_waits_for_a_line_that_begins_another() -> None:
    reader = Reader()
    reader.content = E[:8]
    assert reader.read(0) is None
    reader.content = E + b"plain\nno end"
    assert reader.read(500) == E
    assert reader.read(600) is None
    reader.content += b"\n"
    assert reader.read(900) == b"plain\n"


def test_it_waits_until_the_file_was_quiet_for_the_time_out_and_its_unterminated_line_longer() -> None:
    reader = Reader()
    reader.content = E + b"\tat"
    assert [reader.read(at_ms) for at_ms in (0, 500, 999)] == [None, None, None]
    assert reader.bytes_read == len(reader.content)
    assert reader.read(1000) == E
    assert [reader.read(at_ms) for at_ms in (1001, 2000, 60_000)] == [None, None, None]
    reader.content += b" c\n"
    assert reader.read(60_001) is None
    assert reader.read(61_001) == b"\tat c\n"


def test_in_a_finite_run_an_unterminated_line_belongs_to_the_event_before() -> None:
    reader = Reader()
    reader.content = b"plain\n" + E + b"\tat c"
    assert [reader.read(0, once=True), reader.read(0, once=True)] == [b"plain\n", E + b"\tat c"]
    assert reader.stream.tail_open


def test_a_first_line_that_comes_in_pieces_is_not_cut_from_what_follows() -> None:
    reader = Reader()
    reader.content = E[:2]
    assert reader.read(0) is None
    reader.content = E + b"plain\n"
    assert reader.read(100) == E


@pytest.mark.parametrize(("chunk_bytes", "chunk_lines"), [(8, 1), (64, 2), (1000, 1000)])
def test_an_event_longer_than_a_chunk_is_one_chunk(chunk_bytes: int, chunk_lines: int) -> None:
    reader = Reader(chunk_bytes=chunk_bytes, chunk_lines=chunk_lines)
    long = b"E 2\n" + b"\tat somewhere\n" * 40
    reader.content = E + long + b"plain\n"
    read = b""
    while (data := reader.read(0)) is not None:
        read += data
        assert data.startswith(b"E")
    assert read == E + long


def test_a_line_too_long_to_be_read_as_a_whole_ends_the_event_before_it() -> None:
    reader = Reader()
    reader.content = E + b"\tat " + b"x" * 10_000
    assert reader.read(0) == E
    reader.content += b"\n"
    found = next(data for data in iter(lambda: reader.read(1), 0) if data is not None)
    assert found == (b"\tat " + b"x" * 10_000)[:2000]
