"""`start` of an input: what is written, and what that means at a moment."""

import pytest

from headrace.agents.start import BEGINNING, Start, start_of

NOW_MS = 1_795_424_400_000


@pytest.mark.parametrize(
    ("text", "start", "earliest_ms"),
    [
        ("end", Start(end=True), None),
        ("24h", Start(age_ms=86_400_000), NOW_MS - 86_400_000),
        ("90s", Start(age_ms=90_000), NOW_MS - 90_000),
        ("7d", Start(age_ms=604_800_000), NOW_MS - 604_800_000),
        ("2026-11-23T10:00:00.500Z", Start(time_ms=1_795_428_000_500), 1_795_428_000_500),
        ("2026-11-23T12:00:00+02:00", Start(time_ms=1_795_428_000_000), 1_795_428_000_000),
    ],
)
def test_what_is_written_means_a_time(text: str, start: Start, earliest_ms: int | None) -> None:
    assert start_of(text) == start
    assert start.earliest_ms(NOW_MS) == earliest_ms
    assert not start.from_beginning


def test_the_beginning_passes_nothing_over() -> None:
    assert start_of("beginning") == BEGINNING
    assert BEGINNING.from_beginning


@pytest.mark.parametrize(
    "text", ["", "start", "24", "24 h", "-1h", "1.5h", "2026-11-23", "20261123", "yesterday", "9" * 10 + "d"]
)
def test_what_is_no_start_says_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match="beginning, end, a time"):
        start_of(text)


def test_a_time_names_its_zone() -> None:
    with pytest.raises(ValueError, match="say its zone"):
        start_of("2026-11-23T10:00:00")
