"""Frames come out whole and in order, however the bytes were cut; lying sizes are errors before memory is spent."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.broker.wire.frames import FrameError, FrameReader

MAX_BYTES = 3_000_000


def feed(reader: FrameReader, data: bytes) -> list[bytes]:
    """Give the reader everything, as much at a time as it offers room for."""
    frames: list[bytes] = []
    while data:
        room = reader.buffer()
        taken = min(len(room), len(data))
        room[:taken] = data[:taken]
        frames += [bytes(frame) for frame in reader.received(taken)]
        data = data[taken:]
    return frames


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 50), st.sampled_from([262_139, 262_140, 262_141, 300_000, 1_048_577])), max_size=6),
    chunks=st.lists(st.integers(1, 400_000), min_size=1, max_size=8),
)
def test_frames_are_the_same_however_the_bytes_were_cut(sizes: list[int], chunks: list[int]) -> None:
    bodies = [bytes([index % 251]) * size for index, size in enumerate(sizes, 1)]
    data, reader, frames, turn = framed(*bodies), FrameReader(MAX_BYTES), [], 0
    least = 1 if len(data) < 1000 else 5000  # megabytes byte by byte show no more, and take half a minute
    while data:
        chunk = max(least, chunks[turn % len(chunks)])
        turn += 1
        frames += feed(reader, data[:chunk])
        data = data[chunk:]
    assert frames == bodies


def test_many_frames_in_one_read_all_come_out() -> None:
    bodies = [b"x" * (index % 7) for index in range(5000)]
    assert feed(FrameReader(MAX_BYTES), framed(*bodies)) == bodies


@pytest.mark.parametrize("size", [-1, -(1 << 31), MAX_BYTES + 1, (1 << 31) - 1])
def test_size_out_of_bounds_is_an_error(size: int) -> None:
    with pytest.raises(FrameError, match=str(size)):
        feed(FrameReader(MAX_BYTES), struct.pack(">i", size))


def test_frames_before_a_bad_size_still_come_out() -> None:
    reader, frames = FrameReader(MAX_BYTES), []
    data = framed(b"good") + struct.pack(">i", -2)
    reader.buffer()[: len(data)] = data
    with pytest.raises(FrameError):
        frames.extend(bytes(frame) for frame in reader.received(len(data)))
    assert frames == [b"good"]


def test_promised_bytes_cost_nothing_until_they_arrive() -> None:
    reader = FrameReader(1 << 30)
    feed(reader, struct.pack(">i", 1 << 30) + b"only this")
    assert len(reader.buffer()) <= 1 << 20
