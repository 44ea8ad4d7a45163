"""Pages that requests were received into are used again when nobody looks at them, and not before."""

import numpy as np
import pytest

from headrace.broker.wire.pages import Pages, ReceiveMemory


def address(room: memoryview) -> int:
    return int(np.frombuffer(room, np.uint8).__array_interface__["data"][0])


@pytest.mark.parametrize("size", [16 * 1024, 70_000, 1_000_000, 2 << 20])
def test_pages_are_used_again_once_the_last_view_of_them_is_gone(size: int) -> None:
    memory = ReceiveMemory()
    room = memory.room(size)
    assert len(room) == size
    room[:5] = b"hello"
    first, records = address(room), room.toreadonly()[:5]
    del room
    other = memory.room(size)
    other[:5] = b"world"
    assert address(other) != first
    assert records == b"hello", "what somebody looks at is left alone"
    del records
    assert address(memory.room(size)) == first


def test_of_each_size_eight_are_kept_and_of_large_ones_none() -> None:
    memory = ReceiveMemory()
    rooms = [memory.room(1_000_000) for _ in range(20)]
    kept = {address(room) for room in rooms[:8]}
    rooms.clear()
    again = [memory.room(1 << 20) for _ in range(9)]
    assert {address(room) for room in again[:8]} == kept
    large = memory.room(3 << 20)
    large[:1] = b"x"
    del large
    assert memory.room(3 << 20)[:1] == b"\0", "its pages are new ones"


def test_small_rooms_are_no_pages() -> None:
    assert not isinstance(ReceiveMemory().room(1000).obj, Pages)
