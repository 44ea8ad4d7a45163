"""Calls into stores elsewhere that do not return: what is said of them, and when a process is ended. Time is moved by hand."""

import contextlib
import io
from threading import Event

import pytest

from headrace.sinks.stores.watch import DEAD_S, LAST_WAIT_S, SILENCE_S, Carried, Watch


class World:
    """A watch, its clock, and why it has ended the process."""

    def __init__(self) -> None:
        self.now_s = 7_000.0
        self.ends: list[str] = []
        self.stop = Event()
        self.watch = Watch(lambda: self.now_s, self.ends.append)
        self.watch.end_with(self.stop)

    def wait(self, seconds: float) -> None:
        """Let time go by, looked at twice a second."""
        for _ in range(round(seconds * 2)):
            self.now_s += 0.5
            self.watch.look()


def test_a_call_that_does_not_return_is_told_of_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with world.watch.asking("orders/log/7.json"):
        world.wait(SILENCE_S)
        assert not caplog.messages
        world.wait(2 * SILENCE_S + 2)
    assert caplog.messages == [f"the store has not answered for {s} s: orders/log/7.json" for s in (10, 21, 31)]
    assert not world.ends


def test_nothing_is_said_of_calls_that_return(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.stop.set()
    for _ in range(9):
        with world.watch.asking("orders/log/7.json"):
            world.wait(SILENCE_S - 1)
        world.wait(60)
    assert not caplog.messages
    assert not world.ends


def test_a_process_that_is_to_end_waits_for_a_silent_store_no_longer_than_it_must() -> None:
    world = World()
    with world.watch.asking("orders/log/7.json"):
        world.wait(60)
        world.stop.set()
        world.wait(LAST_WAIT_S)
        assert not world.ends
        world.wait(1)
    assert "orders/log/7.json" in world.ends[0]


def test_calls_that_fail_one_after_the_other_are_as_silent_as_one_that_hangs() -> None:
    world = World()
    world.stop.set()
    for _ in range(4):
        with contextlib.suppress(OSError), world.watch.asking("orders/log/7.json"):
            world.wait(5)
            raise OSError("timed out")
    assert world.ends


def test_a_store_that_answers_at_all_is_waited_for_at_the_end() -> None:
    world = World()
    world.stop.set()
    for _ in range(9):
        with world.watch.asking("orders/a.parquet"):
            world.wait(8)
        with contextlib.suppress(FileNotFoundError), world.watch.asking("orders/b.parquet"):
            world.wait(8)
            raise FileNotFoundError
    assert not world.ends


def test_a_long_upload_lives_as_long_as_the_store_takes_pieces_that_it_had_not() -> None:
    world = World()
    world.stop.set()
    file = Carried(io.BytesIO(bytes(90)), world.watch.heard)
    with world.watch.asking("orders/a.parquet"):
        while file.read(10):
            world.wait(LAST_WAIT_S - 1)
        assert not world.ends
        file.seek(0)  # tried again
        assert file.read(10)
        world.wait(5)
    assert world.ends


def test_a_call_beside_one_that_hangs_does_not_hide_it(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with world.watch.asking("orders/a.parquet"):
        for _ in range(4):
            with world.watch.asking("orders/b.parquet"):
                world.wait(1)
        world.wait(SILENCE_S + 1)
    assert caplog.messages == ["the store has not answered for 10 s: orders/a.parquet"]


def test_a_call_that_will_never_return_ends_the_process() -> None:
    world = World()
    with world.watch.asking("orders/log/7.json"):
        world.wait(DEAD_S)
        assert not world.ends
        world.wait(1)
    assert "orders/log/7.json" in world.ends[0]
