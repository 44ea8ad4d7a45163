"""How long a peer is waited for."""

from headrace.broker.network.patience import Patience

LIMIT_MS, BEGAN_MS = 3000, 70_000


def test_a_first_request_that_does_not_come_in_time_is_late() -> None:
    patience = Patience(LIMIT_MS, BEGAN_MS)
    assert not patience.is_over(BEGAN_MS + LIMIT_MS, is_read=True)
    assert patience.is_over(BEGAN_MS + LIMIT_MS + 1, is_read=True)


def test_who_has_asked_may_be_silent() -> None:
    patience = Patience(LIMIT_MS, BEGAN_MS)
    patience.came(100, BEGAN_MS + 5, is_in_frame=False)
    assert not patience.is_over(BEGAN_MS + 1000 * LIMIT_MS, is_read=True)


def test_a_frame_that_comes_a_byte_a_second_is_late_and_one_over_a_slow_line_is_not() -> None:
    slow_line, byte_a_second = Patience(LIMIT_MS, BEGAN_MS), Patience(LIMIT_MS, BEGAN_MS)
    for second in range(1, 60):
        now_ms = BEGAN_MS + 1000 * second
        slow_line.came(20_000, now_ms, is_in_frame=True)
        byte_a_second.came(1, now_ms, is_in_frame=True)
        assert not slow_line.is_over(now_ms, is_read=True)
        assert byte_a_second.is_over(now_ms, is_read=True) is (now_ms - BEGAN_MS > LIMIT_MS)


def test_time_in_which_we_do_not_read_does_not_count() -> None:
    patience = Patience(LIMIT_MS, BEGAN_MS)
    patience.came(10, BEGAN_MS, is_in_frame=True)
    assert not patience.is_over(BEGAN_MS + 50_000, is_read=False)
    assert not patience.is_over(BEGAN_MS + 50_000 + LIMIT_MS, is_read=True)
    assert patience.is_over(BEGAN_MS + 50_000 + LIMIT_MS + 1, is_read=True)


def looks(patience: Patience, count: int) -> list[bool]:
    return [patience.looks_stuck(is_waited_for=True) for _ in range(count)]


def test_who_sends_or_reads_little_from_look_to_look_is_stuck() -> None:
    patience = Patience(LIMIT_MS, BEGAN_MS)
    patience.came(100_000, BEGAN_MS, is_in_frame=True)
    assert looks(patience, 4) == [False, False, False, True], "the first look is the beginning"
    patience.came(10_000, BEGAN_MS, is_in_frame=True)
    assert looks(patience, 1) == [True]
    patience.read(256_000)
    assert looks(patience, 4) == [False, False, False, True]


def test_who_could_not_go_on_because_of_us_is_not_stuck() -> None:
    patience = Patience(LIMIT_MS, BEGAN_MS)
    looks(patience, 3)
    assert not patience.looks_stuck(is_waited_for=False)
    assert looks(patience, 4) == [False, False, False, True]
