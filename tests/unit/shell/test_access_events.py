"""headrace.access_events: the demo's own events."""

import re
from datetime import UTC, datetime

from headrace.access_events import access_log

DAY = datetime(2026, 3, 4, tzinfo=UTC)
COMBINED = re.compile(r'[\d.]+ - - \[04/Mar/2026:\d\d:\d\d:\d\d \+0000\] "(GET|POST) \S+ HTTP/1\.1" \d{3} \d+ "[^"]*" "[^"]*"')


def test_the_same_seed_gives_the_same_lines() -> None:
    assert list(access_log(day=DAY, count=50, seed=5)) == list(access_log(day=DAY, count=50, seed=5))
    assert list(access_log(day=DAY, count=50, seed=5)) != list(access_log(day=DAY, count=50, seed=6))


def test_every_line_is_of_the_combined_format_and_in_order() -> None:
    lines = list(access_log(day=DAY, count=300, seed=1))
    assert len(lines) == 300
    assert all(COMBINED.fullmatch(line) for line in lines)
    times = [line.split("[")[1][:20] for line in lines]
    assert times == sorted(times)
