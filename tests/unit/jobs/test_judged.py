"""Windows of a verdict are held in few bytes, and are what they were made of."""

import random

from headrace.audit import WINDOW_MS
from headrace.jobs.audit.judged import SEVERITY, Row, Windows, WindowVerdict, sums_of
from headrace.jobs.audit.reasons import Reason


def random_windows(source: random.Random) -> list[WindowVerdict]:
    found = []
    for n in sorted(source.sample(range(-300, 300), source.randrange(40))):
        start_ms, state = n * WINDOW_MS, source.choice(SEVERITY)
        rows = []
        for agent in source.sample(["a", "b", "c"], source.randrange(4)):
            numbers = [source.choice((0, 0, 0, 7, 1 << 40, -3, 1 << 70)) for _ in range(8)]
            if source.random() < 0.6:
                numbers = [numbers[3], 0, 0, numbers[3], 0, 0, 0, 0]  # damaged records may say anything
            rows.append(Row("t", start_ms, agent, source.choice((None, f"host-{agent}")), *numbers, state))
        if source.random() < 0.2:
            rows.append(Row("t", start_ms, None, None, None, None, None, 5, None, 1, 0, 2, state))
        reasons = (Reason("silent", f"{n}", "a"),) if state != "complete" else ()
        found.append(WindowVerdict("t", start_ms, state, reasons, tuple(rows)))
    return found


def test_what_is_packed_is_what_was_given() -> None:
    for seed in range(60):
        given = random_windows(random.Random(seed))
        windows = Windows(given)
        assert list(windows) == given == windows
        assert list(windows.starts) == [one.window_start_ms for one in given]
        assert list(windows.states()) == [(one.window_start_ms, one.state) for one in given]
        assert list(windows.reasons()) == [(one.window_start_ms, one.reasons) for one in given]
        for state in SEVERITY:
            assert list(windows.of_state(state)) == [one for one in given if one.state == state]
            assert windows.count_of(state) == sum(one.state == state for one in given)
        inside = [one for one in given if -WINDOW_MS * 50 <= one.window_start_ms < WINDOW_MS * 90]
        assert list(windows.between(-WINDOW_MS * 50, WINDOW_MS * 90)) == inside
        assert windows[-3:] == given[-3:]
        sums, rows = sums_of(windows), [row for one in given for row in one.rows]
        assert sums["sent"] == sum(row.sent or 0 for row in rows)
        assert sums["foreign"] == sum(row.landed for row in rows if row.agent is None)


def test_a_time_that_no_calendar_knows_is_held_too() -> None:
    given = [WindowVerdict("t", at * WINDOW_MS, "complete", (), ()) for at in (-(1 << 70), 3, 1 << 70)]
    assert list(Windows(given)) == given
    assert Windows(given).between(0, 9 * WINDOW_MS) == given[1:2]
