"""Frames come out whole and in order, however the bytes were cut; lying sizes are errors before memory is spent."""

import os
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.broker.wire.frames import FrameError, FrameReader
from headrace.broker.wire.pages import PIECE_BYTES, Pages, ReceiveMemory

MAX_BYTES = 3_000_000


def feed(reader: FrameReader, data: bytes) -> list[bytes]:
    """Give the reader everything, as much at a time as it offers room for."""
    frames: list[bytes] = []
    while data:
        room = reader.buffer()
        taken = min(len(room), len(data))
        room[:taken] = data[:taken]
        reader.received(taken)
        frames += taken_now(reader)
        reader.settle()
        data = data[taken:]
    return frames


def taken_now(reader: FrameReader, most: int = 1 << 30) -> list[bytes]:
    """The whole frames that are there."""
    frames: list[bytes] = []
    while len(frames) < most:
        had = reader.has_frame
        frame = reader.take()
        assert had is (frame is not None)
        if frame is None:
            break
        frames.append(bytes(frame))
    return frames


def new_reader(max_bytes: int = MAX_BYTES) -> FrameReader:
    return FrameReader(max_bytes, ReceiveMemory())


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(0, 50), st.sampled_from([262_139, 262_140, 262_141, 300_000, 1_048_577])), max_size=6),
    chunks=st.lists(st.integers(1, 400_000), min_size=1, max_size=8),
)
def test_frames_are_the_same_however_the_bytes_were_cut(sizes: list[int], chunks: list[int]) -> None:
    bodies = [bytes([index % 251]) * size for index, size in enumerate(sizes, 1)]
    data, reader, frames = memoryview(framed(*bodies)), new_reader(), []
    for chunk in chunks:
        frames += feed(reader, bytes(data[:chunk]))
        data = data[chunk:]
    frames += feed(reader, bytes(data))
    assert frames == bodies


def test_connections_that_share_a_buffer_do_not_mix() -> None:
    rng, shared = random.Random(3), ReceiveMemory()
    readers = [FrameReader(MAX_BYTES, shared) for _ in range(3)]
    bodies = [[bytes([name]) * size for size in (5, 70_000, 0, 3, 300_000)] for name in range(3)]
    left = [framed(*bodies[name]) for name in range(3)]
    frames: list[list[bytes]] = [[], [], []]
    while any(left):
        turn = rng.choice([name for name in range(3) if left[name]])
        size = rng.choice([1, 2, 5, 9, 30_000, 80_000])
        frames[turn] += feed(readers[turn], left[turn][:size])
        left[turn] = left[turn][size:]
    assert frames == bodies


def test_many_frames_in_one_read_all_come_out() -> None:
    bodies = [b"x" * (index % 7) for index in range(5000)]
    assert feed(new_reader(), framed(*bodies)) == bodies


@pytest.mark.parametrize("size", [-1, -(1 << 31), MAX_BYTES + 1, (1 << 31) - 1])
def test_size_out_of_bounds_is_an_error(size: int) -> None:
    with pytest.raises(FrameError, match=str(size)):
        feed(new_reader(), struct.pack(">i", size))


def test_frames_before_a_bad_size_still_come_out() -> None:
    reader = new_reader()
    data = framed(b"good") + struct.pack(">i", -2)
    reader.buffer()[: len(data)] = data
    reader.received(len(data))
    assert reader.take() == b"good"
    with pytest.raises(FrameError):
        reader.take()


def test_frames_that_had_no_time_are_kept_while_others_use_the_buffer() -> None:
    shared = ReceiveMemory()
    reader, other = FrameReader(MAX_BYTES, shared), FrameReader(MAX_BYTES, shared)
    data = framed(b"one", b"two", b"three", b"x" * 100_000)[:20_000]
    reader.buffer()[: len(data)] = data
    reader.received(len(data))
    assert taken_now(reader, 1) == [b"one"]
    reader.settle()
    assert feed(other, framed(b"y" * 60_000)) == [b"y" * 60_000]
    assert reader.has_frame
    assert taken_now(reader) == [b"two", b"three"]
    reader.settle()
    assert reader.is_in_frame
    assert feed(reader, framed(b"x" * 100_000)[20_000 - len(framed(b"one", b"two", b"three")) :]) == [b"x" * 100_000]
    assert reader.held_bytes == 0


@pytest.mark.parametrize("count", [1, 1000])
def test_promised_bytes_cost_nothing_until_they_arrive(count: int) -> None:
    before = resident_bytes()
    shared = ReceiveMemory()
    readers = [FrameReader(1 << 30, shared) for _ in range(count)]
    for reader in readers:
        feed(reader, struct.pack(">i", 100_000_000) + b"only this")
    assert sum(reader.held_bytes for reader in readers) == count * len(b"only this")
    assert resident_bytes() - before < 2_000_000 + count * 10_000


def test_the_memory_of_a_large_frame_goes_back_in_pieces_once_nobody_looks_at_it() -> None:
    large: list[Pages] = []
    reader = FrameReader(1 << 30, ReceiveMemory(large.append))
    reader_of_small = FrameReader(1 << 30, ReceiveMemory(large.append))
    feed(reader_of_small, framed(bytes(1_000_000)))
    data = memoryview(struct.pack(">i", 9_000_000) + b"x" * 9_000_000)
    while data:
        room = reader.buffer()
        count = min(len(room), len(data))
        room[:count] = data[:count]
        reader.received(count)
        reader.settle()
        data = data[count:]
    del room
    frame = reader.take()
    assert isinstance(frame, memoryview)
    records = frame[1000:]
    del frame
    assert not large
    assert records[-1:] == b"x"
    del records
    (pages,) = large
    before, position = resident_bytes(), 0
    positions = [position := pages.give_back(position) for _ in range(3)]
    assert positions == [PIECE_BYTES, 2 * PIECE_BYTES, 9_000_000]
    assert before - resident_bytes() > 8_500_000
    large.clear()
    del pages
    assert not large, "they are let go of once"


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
