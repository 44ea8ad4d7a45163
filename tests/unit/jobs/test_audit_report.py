"""The audit's report for people: what is not complete comes first and whole, what is complete is folded."""

import io
import json
import re

import pytest

from headrace.jobs.audit.report import print_report, span
from tests.audit_verdicts import DAY, verdict


@pytest.fixture
def shown(capsys):
    def show(found, format_="table", **options):
        print_report(found, format_, **options)
        return capsys.readouterr().out

    return show


def test_a_day_of_many_complete_windows_and_one_that_is_not_fits_a_screen_and_says_which_and_what_to_do(shown):
    lines = shown(verdict(logs="c" * 100 + "i" + "c" * 43)).splitlines()
    assert lines[2].split() == [
        "logs", "2025-11-23", "00:00", "–", "2025-11-24", "00:00", "143", "1", "0", "14,400", "14,397", "72",
    ]  # fmt: skip
    assert lines[3].rstrip() == "logs  2025-11-23 16:40–16:50  agent a (web-1) sent 100, and 97 have landed: 3 are missing"
    assert lines[4].startswith("  → look into the quarantine")
    assert lines[5] == "logs  complete: 2025-11-23 00:00–16:40 (100), 2025-11-23 16:50 – 2025-11-24 00:00 (43)"
    assert lines[6] == "incomplete: 14,397 landed of 14,400 sent, in 144 windows of 1 topic"
    assert len(lines) == 7


def test_topics_that_are_not_complete_come_first_and_a_silent_agent_is_told_once_for_all_of_them(shown):
    out = shown(verdict(calm="ccc", slow="ccu", bad="cic", slower="cuu"))
    assert re.findall(r"^(\w+) +2025\S+ 00:00–", out, re.MULTILINE) == ["bad", "slow", "slower", "calm"]
    assert "slow and 1 more  2025-11-23 00:20–00:30" in out
    assert out.count("last heard") == 1
    assert "calm  complete" not in out


def test_all_windows_are_shown_one_by_one_where_that_is_asked_for(shown):
    out = shown(verdict(logs="cci"), every_window=True)
    assert re.findall(r"^logs +(\S+Z) .*?(\w+) *$", out, re.MULTILINE) == [
        ("2025-11-23T00:00:00Z", "complete"), ("2025-11-23T00:10:00Z", "complete"), ("2025-11-23T00:20:00Z", "incomplete"),
    ]  # fmt: skip


def test_many_topics_and_many_reasons_are_cut_and_counted(shown):
    out = shown(verdict(**{f"t{n:03}": "cic" for n in range(200)}))
    assert "… and 140 more topics" in out
    assert "… and 160 more reasons" in out


def test_names_of_topics_do_nothing_to_a_terminal(shown):
    found = verdict(**{"\x1b[31mred": "ci", "[bold]": "c"})
    for options in ({}, {"every_window": True}):
        out = shown(found, **options)
        assert "\x1b" not in out
        assert "\\x1b[31mred" in out
        assert "[bold]" in out


def test_rows_are_the_agreed_ones_whatever_people_are_shown(shown):
    rows = [json.loads(line) for line in shown(verdict(logs="ci"), "json").splitlines()]
    assert rows[1] == {
        "topic": "logs", "window_start": "2025-11-23T00:10:00Z", "agent": "a", "host": "web-1", "sent": 100, "rejected": 0,
        "dropped": 0, "landed": 97, "late": 1, "quarantined": 0, "duplicates": 0, "lost": 0, "state": "incomplete",
    }  # fmt: skip


def test_nothing_at_all_is_said_in_a_line(shown):
    assert shown(verdict()) == "complete: 0 landed of 0 sent, in 0 windows of 0 topics\n"


def test_on_a_terminal_states_have_colours(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    print_report(verdict(logs="ciu"), "table")
    assert "\x1b[1;31m" in screen.getvalue()
    assert "\x1b[33m" in screen.getvalue()


def test_a_span_says_its_day_once():
    assert span(DAY, DAY + 600_000) == "2025-11-23 00:00–00:10"
    assert span(DAY, DAY + 86_400_000) == "2025-11-23 00:00 – 2025-11-24 00:00"
