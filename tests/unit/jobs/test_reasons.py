"""Reasons of many windows, told once; and that each kind has a remedy."""

from typing import get_args

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.reasons import REMEDIES, Kind, Reason, spells

AT = 1_763_900_400_000


def behind(agent, until):
    return Reason("behind", f"agent {agent} is drained to 12:00, not past {until}", agent)


def windows(*reasons):
    return [(AT + n * WINDOW_MS, each) for n, each in enumerate(reasons)]


def test_every_kind_has_a_remedy():
    assert set(REMEDIES) == set(get_args(Kind))


def test_an_agent_that_is_not_past_many_windows_is_one_spell_that_names_the_last():
    (spell,) = spells("logs", windows([behind("a", 10)], [behind("a", 20)], [behind("a", 30)]))
    assert (spell.starts, spell.end_ms) == ((AT, AT + WINDOW_MS, AT + 2 * WINDOW_MS), AT + 3 * WINDOW_MS)
    assert spell.reason.endswith("not past 30")


def test_a_reason_that_comes_again_after_a_window_without_it_is_another_spell():
    assert [spell.starts for spell in spells("logs", windows([behind("a", 1)], [], [behind("a", 3)]))] == [
        (AT,),
        (AT + 2 * WINDOW_MS,),
    ]


def test_two_agents_and_what_is_missing_in_two_windows_are_told_apart():
    missing = [Reason("missing", f"agent a sent 9, and {n} have landed", "a") for n in (7, 8)]
    found = spells("logs", windows([behind("b", 1), missing[0]], [behind("b", 2), missing[1], behind("a", 2)]))
    assert [(spell.reason.kind, spell.reason.agent, len(spell.starts)) for spell in found] == [
        ("behind", "b", 2),
        ("missing", "a", 1),
        ("missing", "a", 1),
        ("behind", "a", 1),
    ]
