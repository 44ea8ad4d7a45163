"""How long failed logins are held back."""

from headrace.failed_logins import FailedLogins


def delays(failed: FailedLogins, *attempts: tuple[str, str | None], now_ms: int = 1000) -> list[int]:
    return [failed.failed(address, name, now_ms=now_ms) for address, name in attempts]


def test_each_further_failure_of_an_address_or_a_name_waits_twice_as_long_up_to_a_bound() -> None:
    failed = FailedLogins(100)
    assert delays(failed, ("10.0.0.1", "alice"), ("10.0.0.1", "bob"), ("10.0.0.1", None)) == [100, 200, 400]
    assert delays(failed, ("10.0.0.2", "alice"), ("10.0.0.3", "alice")) == [200, 400]
    assert delays(failed, *[("10.0.0.1", None)] * 2000)[-1] == 5000


def test_a_success_forgives_the_name_and_not_the_address() -> None:
    failed = FailedLogins(100)
    delays(failed, *[("10.0.0.1", "alice")] * 3)
    failed.succeeded("alice")
    assert delays(failed, ("10.0.0.9", "alice"), ("10.0.0.1", "carol")) == [100, 800]


def test_failures_are_forgotten_after_ten_quiet_minutes() -> None:
    failed = FailedLogins(100)
    delays(failed, *[("10.0.0.1", None)] * 3)
    assert delays(failed, ("10.0.0.1", None), now_ms=601_001) == [100]


def test_a_delay_of_0_stays_0_and_memory_is_bounded() -> None:
    failed = FailedLogins(0)
    assert set(delays(failed, *[(str(number), "x" * number) for number in range(20_000)])) == {0}
    assert len(failed) <= 10_000
