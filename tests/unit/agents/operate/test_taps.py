"""Watching what is sent costs the agent a bounded share of its time, and what is not shown is counted."""

from headrace.agents.operate.tap_command import Shown
from headrace.agents.operate.taps import BYTES_PER_SECOND, Piece, Taps


class Time:
    def __init__(self) -> None:
        self.now_ms = 5_000

    def __call__(self) -> int:
        return self.now_ms


def test_everything_is_seen_while_it_is_little() -> None:
    taps = Taps(Time())
    watcher = taps.watch()
    taps.offer("web", "app", "{}", [b"one", b"two"])
    taps.offer("db", "sql", "{}", [b"three"])
    assert watcher.take(0) == Piece("web", "app", "{}", [b"one", b"two"], 0)
    assert watcher.take(0) == Piece("db", "sql", "{}", [b"three"], 0)
    assert watcher.take(0) is None


def test_what_is_too_much_is_thinned_out_evenly_and_counted() -> None:
    time = Time()
    taps = Taps(time)
    watcher = taps.watch()
    values = [b"%08d" % number for number in range(3 * BYTES_PER_SECOND // 8)]  # three times what a second may have
    taps.offer("web", "app", "{}", values)
    piece = watcher.take(0)
    assert piece is not None
    assert piece.values == values[::3]
    assert piece.left_out == len(values) - len(values[::3])
    taps.offer("web", "app", "{}", values)
    assert watcher.take(0) is None
    time.now_ms += 1000
    taps.offer("web", "app", "{}", [b"later"])
    assert watcher.take(0) == Piece("web", "app", "{}", [b"later"], len(values))


def test_a_watcher_that_takes_nothing_costs_no_more_memory_and_nobody_waits_for_it() -> None:
    taps = Taps(Time())
    slow = taps.watch()
    for _ in range(1000):
        taps.offer("web", "app", "{}", [b"x"])
    pieces = []
    while (piece := slow.take(0)) is not None:
        pieces.append(piece)
    assert len(pieces) == 64
    taps.offer("web", "app", "{}", [b"y"])
    assert slow.take(0) == Piece("web", "app", "{}", [b"y"], 1000 - 64)


def test_one_who_left_is_offered_nothing() -> None:
    taps = Taps(Time())
    first, second = taps.watch(), taps.watch()
    taps.leave(first)
    taps.offer("web", "app", "{}", [b"x"])
    assert first.take(0) is None
    assert second.take(0) is not None


def test_no_more_than_so_many_events_a_second_are_shown_and_the_others_are_counted() -> None:
    shown = Shown(rate=3, count=None)
    assert [shown.admits(10.0 + number / 10) for number in range(5)] == [True, True, True, False, False]
    assert shown.admits(11.5)
    assert (shown.shown, shown.left_out) == (4, 2)


def test_after_as_many_as_were_asked_for_nothing_is_shown() -> None:
    shown = Shown(rate=100, count=2)
    assert [shown.admits(10.0) for _ in range(4)] == [True, True, False, False]
    assert shown.enough
