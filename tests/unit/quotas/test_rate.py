"""A rate over windows, and the delay that brings it down: Kafka's arithmetic (Rate, SampledStat, QuotaUtils)."""

import pytest

from headrace.broker.quotas.rate import MAX_THROTTLE_MS, Rate, Windows

WINDOWS = Windows(11, 1000)  # Kafka's defaults: ten whole windows and the current one


def rate(*events: tuple[int, float]) -> Rate:
    made = Rate(WINDOWS)
    for now_ms, value in events:
        made.record(value, now_ms)
    return made


def test_a_first_burst_counts_as_if_ten_silent_windows_lay_before_it() -> None:
    assert rate((5_000, 300)).per_second(5_000) == 30


def test_the_rate_is_the_sum_over_the_time_since_the_oldest_window_began() -> None:
    steady = rate(*((now_ms, 100) for now_ms in range(7_000, 27_000, 500)))
    assert steady.per_second(27_000) == pytest.approx(200, rel=0.05)


def test_within_the_bound_nothing_is_throttled() -> None:
    assert rate((5_000, 300)).throttle_ms(30, 5_000) == 0


def test_the_delay_brings_the_rate_down_to_the_bound() -> None:
    burst = rate((5_000, 300))
    delay_ms = burst.throttle_ms(20, 5_000)
    assert delay_ms == 5_000  # (30 - 20) / 20 of ten seconds
    assert burst.per_second(5_000 + delay_ms) <= 30


def test_a_burst_is_forgotten_when_all_windows_have_passed() -> None:
    burst = rate((5_000, 300))
    assert not burst.is_forgotten(15_999)
    assert burst.is_forgotten(16_000)
    assert burst.per_second(16_000) == 0


def test_what_is_taken_back_does_not_count() -> None:
    changed = rate((5_000, 300), (5_100, 900), (5_100, -900))
    assert changed.per_second(5_100) == rate((5_000, 300)).per_second(5_100)


def test_the_windows_are_used_again_and_again() -> None:
    long_run = rate(*((now_ms, 3) for now_ms in range(1_000, 200_000, 250)))
    assert long_run.per_second(200_000) == pytest.approx(12, rel=0.1)


def test_the_longest_delay_fits_the_wire() -> None:
    assert rate((5_000, 1e15)).throttle_ms(1, 5_000) == MAX_THROTTLE_MS


def test_with_one_window_a_first_event_is_over_any_bound_and_nothing_divides_by_zero() -> None:
    single = Rate(Windows(1, 1000))
    single.record(5, 1_000)
    assert single.throttle_ms(100, 1_000) == 49
