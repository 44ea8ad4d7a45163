"""Memory of large requests is given back piece by piece, and who asks little goes before it."""

import weakref

from headrace.broker.network.returning import Returning
from headrace.broker.wire.pages import PIECE_BYTES, Pages
from tests.unit.broker.test_turns import Client, Loop


class Counted(Pages):
    """Pages that take half a millisecond of the loop's time for each piece."""

    loop: Loop

    def give_back(self, position: int) -> int:
        self.loop.now_ns += 500_000
        self.loop.done.append(("memory", self.loop.now_ns))
        return super().give_back(position)


def counted(loop: Loop, size_bytes: int) -> Counted:
    pages = Counted(size_bytes)
    assert isinstance(pages, Counted)
    pages.loop = loop
    return pages


def test_memory_goes_back_in_turns_and_others_have_theirs_between() -> None:
    loop = Loop()
    returning = Returning(loop.turns, lambda: loop.now_ns, loop.calls.append)
    for _ in range(2):
        returning.take(counted(loop, 3 * PIECE_BYTES))
    client = Client(loop, "client", 10_000)
    for _ in range(12):
        client.send(1)
        loop.run(1)
    names = [name for name, _ in loop.done]
    assert (names.count("memory"), names.count("client")) == (6, 12)
    assert "memory memory" not in " ".join(names), "one piece, then whoever asks little"


def test_no_more_than_two_frames_wait_to_be_given_back_also_before_the_loop_goes_on() -> None:
    loop = Loop()
    returning = Returning(loop.turns, lambda: loop.now_ns, loop.calls.append)
    frames = [counted(loop, 3 * PIECE_BYTES) for _ in range(4)]
    still_there = [weakref.ref(frame) for frame in frames]
    while frames:
        returning.take(frames.pop(0))
    assert [frame() is not None for frame in still_there] == [True, True, False, False]
