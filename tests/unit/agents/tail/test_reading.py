"""Which files may continue a stream whose own file is gone."""

from dataclasses import replace

import pytest

from headrace.agents.effects import Now, Read
from headrace.agents.events.pipeline import AUTO
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.tail.identity import digest, running_hash
from headrace.agents.tail.reading import copies
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
    stream.replay.extend(on_their_way)
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
