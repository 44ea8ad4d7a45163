"""Days as people write them on a command line: every command reads them alike."""

from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest

from headrace.cli import main
from headrace.errors import UsageError
from headrace.sinks.times import parse_day, today_in

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-11-22", (2026, 11, 22)), ("today", (2026, 11, 27)), ("yesterday", (2026, 11, 26)), ("2d", (2026, 11, 25))],
)
def test_a_day_is_a_date_a_word_or_so_many_days_ago(text, expected):
    assert parse_day(text, "--day", TODAY) == date(*expected)


@pytest.mark.parametrize("text", ["", "2026-99-26", "tomorrow", "2h", "999999d", "1d2d"])
def test_what_is_no_day_is_told_with_its_option(text):
    with pytest.raises(UsageError, match=f"^--since {text}: write a day as 2026-11-22, today, yesterday, or 2d for"):
        parse_day(text, "--since", TODAY)


def test_today_is_what_the_zone_says():
    late_ms = 1_795_822_200_000  # 2026-11-27T23:30Z
    assert (today_in(UTC, late_ms), today_in(ZoneInfo("Europe/Zurich"), late_ms)) == (TODAY, date(2026, 11, 28))


def test_every_command_tells_the_same_of_a_day_that_is_none(tmp_path, capsys):
    (tmp_path / "landed").mkdir()
    (tmp_path / "n.yaml").write_text(f"nightly: {{root: {tmp_path / 'landed'}, jobs: [{{job: counts}}]}}")
    commands = (
        ["audit", "--root", str(tmp_path / "landed")],
        ["job", "run", "counts", "--root", str(tmp_path / "landed")],
        ["nightly", "run", "--config", str(tmp_path / "n.yaml")],
    )
    for command in commands:
        assert main([*command, "--day", "2026-99-26"]) == 2
        assert "--day 2026-99-26: write a day as 2026-11-22, today, yesterday, or 2d" in capsys.readouterr().err
