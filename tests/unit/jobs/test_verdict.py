"""Each rule of audit.md's Verdict, on one window of one topic."""

import dataclasses

import pytest

from headrace.audit import WINDOW_MS, AgentMessage, RetiredMessage, SentMessage
from headrace.jobs.audit.announced import Announcement, fold
from headrace.jobs.audit.evidence import Landed, Recount, Trouble, WindowSum
from headrace.jobs.audit.judged import worst
from headrace.jobs.audit.verdict import excesses, judge
from headrace.jobs.audit.wording import when

WINDOW = 1_763_900_400_000 // WINDOW_MS * WINDOW_MS
PAST = WINDOW + WINDOW_MS + 300_000 + 1
NOW = PAST + 60_000


def agents(*, count=100, content_hash=77, frontier=PAST, state="active", acked=100, agent="a", extra=(), **counts):
    """One agent that sent `count` events in the window, which was then drained."""
    window = SentMessage("logs", agent, "r1", WINDOW, count, count * 20, content_hash, {0: acked}, **counts)
    heartbeat = AgentMessage(agent, "r1", f"host-{agent}", "0.1.0", state, frontier, {"logs": {0: acked}})
    return fold([Announcement(PAST, window), Announcement(PAST + 5, heartbeat), *extra])


def landed(*, count=100, content_hash=77, end=100, agent="a", **rest):
    sums = {(agent, WINDOW): WindowSum(count, content_hash, rest.pop("duplicates", 0))}
    return Landed(ends={0: end}, sums=sums, reached_ms={0: WINDOW}, **rest)


def only_window(agents_, landed_, recounts=None):
    (window,) = judge("logs", agents_, landed_, recounts or {}, now_ms=NOW).windows
    return window


def test_complete_when_drained_landed_and_equal():
    window = only_window(agents(rejected=3), landed(duplicates=4))
    assert (window.state, window.reasons) == ("complete", ())
    (row,) = window.rows
    assert (row.agent, row.host, row.sent, row.landed, row.rejected, row.duplicates) == ("a", "host-a", 100, 100, 3, 4)


@pytest.mark.parametrize("state", ["active", "stopped"])
def test_unknown_until_the_frontier_is_past_the_lateness_for_silent_and_stopped_alike(state):
    window = only_window(agents(frontier=PAST - 1, state=state), landed())
    assert window.state == "unknown"
    assert "agent a (host-a) is drained to" in window.reasons[0]


def test_a_stopped_agent_that_is_past_the_window_does_not_matter():
    assert only_window(agents(state="stopped"), landed()).state == "complete"


def test_a_finished_agent_is_past_every_window():
    assert only_window(agents(frontier=None, state="finished"), landed()).state == "complete"


def test_unknown_for_an_agent_that_claims_nothing_yet():
    assert only_window(agents(frontier=None), landed()).state == "unknown"


def test_unknown_for_a_clone_and_its_runs_are_named():
    twin = [Announcement(PAST + at, AgentMessage("a", "r2", "host-a", "0.1.0", "active", PAST, {})) for at in (0, 70_000)]
    again = [Announcement(PAST + 65_100, AgentMessage("a", "r1", "host-a", "0.1.0", "active", PAST, {}))]
    window = only_window(agents(extra=(*twin, *again)), landed())
    assert window.state == "unknown"
    assert "runs r2 and r1" in window.reasons[0] or "runs r1 and r2" in window.reasons[0]


def test_unknown_while_the_table_is_not_past_an_acknowledged_offset():
    window = only_window(agents(), landed(end=99))
    assert (window.state, window.reasons) == (
        "unknown",
        ("partition 0 has landed up to offset 99; agent a (host-a) had 100 acknowledged",),
    )


def test_unknown_while_a_partition_with_acknowledged_records_has_not_landed_at_all():
    heartbeat = AgentMessage("a", "r1", "host-a", "0.1.0", "active", PAST, {"logs": {3: 1}})
    window = only_window(fold([Announcement(PAST + 9, heartbeat)]), landed())
    assert window.state == "unknown"
    assert window.reasons[0].startswith("partition 3 has landed up to offset 0")


def test_what_is_acknowledged_after_the_first_claim_past_a_window_is_not_waited_for():
    busy = AgentMessage("a", "r1", "host-a", "0.1.0", "active", PAST + 30_000, {"logs": {0: 250, 3: 1}})
    assert only_window(agents(extra=[Announcement(PAST + 30_005, busy)]), landed()).state == "complete"


def test_what_the_windows_own_messages_say_is_acknowledged_is_waited_for_whenever_it_comes():
    late = SentMessage("logs", "a", "r1", WINDOW, 101, 2000, 78, {0: 180})
    window = only_window(agents(extra=[Announcement(PAST + 9, late)]), landed(end=179))
    assert (window.state, window.rows[0].late) == ("unknown", 1)


def test_a_restart_makes_nothing_unknown_that_was_claimed():
    again = AgentMessage("a", "r2", "host-a", "0.1.0", "active", None, {"logs": {0: 100}})
    assert only_window(agents(extra=[Announcement(PAST + 30_005, again)]), landed()).state == "complete"


def test_what_was_claimed_before_there_was_a_clone_stands():
    twin = [
        Announcement(PAST + at, AgentMessage("a", run, "host-a", "0.1.0", "active", PAST + at, {"logs": {0: 100}}))
        for at, run in ((700_000, "r2"), (700_001, "r1"), (770_000, "r1"), (770_001, "r2"), (1_400_000, "r1"))
    ]
    states = [
        window.state
        for window in judge("logs", agents(extra=twin), landed(foreign={WINDOW + WINDOW_MS: 1}), {}, now_ms=NOW).windows
    ]
    assert states == ["complete", "unknown"]


RETIRED = Announcement(PAST + 50, RetiredMessage("a", None))


def test_a_retired_agent_is_not_waited_for_and_that_is_said():
    verdict = judge("logs", agents(frontier=None, extra=[RETIRED]), landed(), {}, now_ms=NOW)
    assert (verdict.state, len(verdict.assumed)) == ("complete", 1)
    assert verdict.assumed[0].startswith("assumed retired: agent a (host-a), silent since 2025-")


def test_what_a_retired_agent_announced_must_have_landed():
    said = agents(frontier=None, extra=[RETIRED])
    assert only_window(said, landed(end=99)).state == "unknown"
    assert only_window(said, landed(count=99)).state == "incomplete"


def test_rows_that_a_retired_agent_could_not_announce_any_more_are_no_excess():
    window = only_window(
        agents(frontier=None, extra=[RETIRED]), landed(count=102), {("a", WINDOW): Recount(102, 102, {0: 102})}
    )
    assert window.state == "complete"


def test_what_a_retired_agent_announced_must_have_landed_as_it_was():
    retired = agents(extra=(Announcement(PAST + 6, RetiredMessage("a", None)),))
    assert only_window(retired, landed(content_hash=78)).state == "incomplete"
    assert judge("logs", retired, landed(), {}, now_ms=NOW).assumed == ()


def test_an_agent_retired_at_a_time_is_still_waited_for_before_it():
    for at_ms, state in ((WINDOW + WINDOW_MS, "unknown"), (WINDOW + WINDOW_MS - 1, "complete")):
        retired = Announcement(PAST + 50, RetiredMessage("a", at_ms))
        assert only_window(agents(frontier=None, extra=[retired]), landed()).state == state


def test_an_agent_is_taken_for_retired_once_it_has_been_silent_for_as_long_as_is_said():
    for retire_after_ms, state in ((NOW - PAST - 5, "unknown"), (NOW - PAST - 6, "complete")):
        verdict = judge("logs", agents(frontier=None), landed(), {}, now_ms=NOW, retire_after_ms=retire_after_ms)
        assert (verdict.state, len(verdict.assumed)) == (state, int(state == "complete"))


def test_a_topic_that_was_announced_and_has_no_table_is_unknown_and_shows_its_window():
    window = only_window(agents(), Landed())
    assert (window.state, window.rows[0].sent, window.rows[0].landed) == ("unknown", 100, 0)


def test_unknown_when_the_table_is_damaged():
    assert only_window(agents(), Landed(damage="record 3 is missing")).reasons == (
        "the table cannot be read: record 3 is missing",
    )


def test_landed_rows_of_an_agent_that_was_never_heard_are_unknown():
    window = only_window({}, landed())
    assert window.state == "unknown"
    assert window.reasons[0] == "agent a has sent no heartbeat that has landed"


def test_more_landed_than_announced_is_awaited_while_nobody_knew_a_row_to_be_in_the_log_when_its_agent_claimed_its_time():
    said, there = agents(), landed(count=103)
    assert excesses("logs", said, there) == {("a", WINDOW)}
    window = only_window(said, there, {("a", WINDOW): Recount(rows=103, distinct=103, ends={0: 103})})
    assert window.state == "unknown"
    assert "3 more have landed" in window.reasons[0]


@pytest.mark.parametrize(("after_ms", "state"), [(-1, "unknown"), (0, "incomplete")])
def test_more_landed_than_announced_is_an_excess_once_its_agent_has_claimed_a_time_at_which_all_rows_were_in_the_log(
    after_ms, state
):
    known = Announcement(PAST + 20, AgentMessage("z", "r1", "h", "0.1.0", "active", PAST, {"logs": {0: 103}}))
    later = Announcement(
        PAST + 90, AgentMessage("a", "r1", "host-a", "0.1.0", "active", PAST + 20 + after_ms, {"logs": {0: 100}})
    )
    said = {**agents(extra=[later]), **fold([known])}
    window = only_window(said, landed(count=103, end=103), {("a", WINDOW): Recount(rows=103, distinct=103, ends={0: 103})})
    assert window.state == state


def test_windows_that_a_rewind_took_rows_from_which_do_not_say_whose_they_are_are_not_compared_and_that_is_said():
    for count in (99, 101):
        rewound = landed(count=count, uncounted_until_ms=WINDOW + 1)
        assert only_window(agents(), rewound).state == "complete"
        (said,) = judge("logs", agents(), rewound, {}, now_ms=NOW).assumed
        assert "not compared by number" in said
        assert only_window(agents(), dataclasses.replace(rewound, uncounted_until_ms=WINDOW)).state != "complete"


def test_repeats_in_the_files_are_an_excess_at_once():
    window = only_window(agents(), landed(count=103), {("a", WINDOW): Recount(rows=103, distinct=100, ends={0: 103})})
    assert window.state == "incomplete"
    assert window.reasons == ("agent a (host-a) sent 100, and 103 have landed: 3 too many, 3 of the 103 rows are repeats",)


def test_incomplete_when_less_has_landed():
    assert "2 are missing" in only_window(agents(), landed(count=98)).reasons[0]
    assert only_window(agents(), landed(count=98)).state == "incomplete"
    assert "2 are missing; 3 more came and were repeats" in only_window(agents(), landed(count=98, duplicates=3)).reasons[0]


def test_incomplete_when_as_many_have_landed_but_not_the_same():
    window = only_window(agents(), landed(content_hash=78))
    assert window.state == "incomplete"
    assert "hashes differ" in window.reasons[0]


def test_incomplete_when_the_agent_dropped_some_and_the_cause_is_named():
    window = only_window(agents(dropped={"destroyed": 2, "other": 0}), landed())
    assert window.state == "incomplete"
    assert window.reasons == ("agent a (host-a) dropped 2 (destroyed: 2)",)


def test_a_drop_is_reported_where_nothing_was_sent():
    window = only_window(agents(count=0, content_hash=0, dropped={"destroyed": 2}), Landed(ends={0: 100}))
    assert (window.state, window.rows[0].dropped) == ("incomplete", 2)


def test_lost_records_make_every_window_that_overlaps_them_incomplete():
    window = only_window(agents(), landed(lost=(Trouble(6, WINDOW + 5_000, WINDOW + 9_000),)))
    assert window.state == "incomplete"
    assert window.rows[-1].agent is None
    assert (window.rows[-1].lost, window.rows[-1].sent) == (6, None)


def test_what_was_lost_is_named_also_where_a_window_is_unknown_for_another_reason():
    lost = Trouble(1, WINDOW + 5_000, WINDOW + 9_000, "partition 0, offsets 30 to 31")
    window = only_window(agents(frontier=PAST - 1), landed(lost=(lost,)))
    assert window.state == "unknown"
    assert str(window.reasons[-1]) == "1 lost before they landed: partition 0, offsets 30 to 31"


def test_lost_records_of_another_time_appear_in_their_own_windows_and_leave_this_one_alone():
    there = dataclasses.replace(landed(), lost=(Trouble(6, WINDOW + WINDOW_MS, WINDOW + 3 * WINDOW_MS),))
    states = {
        window.window_start_ms: window.state
        for window in judge("logs", agents(frontier=NOW * 2), there, {}, now_ms=NOW).windows
    }
    assert states == {WINDOW: "complete", WINDOW + WINDOW_MS: "incomplete", WINDOW + 3 * WINDOW_MS: "incomplete"}


def test_a_loss_of_unknown_beginning_overlaps_everything_before_its_end():
    there = dataclasses.replace(landed(), lost=(Trouble(6, None, WINDOW + WINDOW_MS),))
    assert [window.state for window in judge("logs", agents(frontier=NOW * 2), there, {}, now_ms=NOW).windows] == [
        "incomplete"
    ] * 2


def test_quarantined_records_are_shown_and_do_not_spoil_the_verdict():
    window = only_window(agents(), dataclasses.replace(landed(), quarantined=(Trouble(5, WINDOW, WINDOW + 1),)))
    assert window.state == "complete"
    assert [(row.agent, row.quarantined) for row in window.rows] == [("a", 0), (None, 5)]


def test_the_state_is_the_windows_and_stands_in_every_row():
    both = {**agents(), **agents(agent="b", count=50, content_hash=5, acked=100)}
    there = Landed(ends={0: 100}, sums={("a", WINDOW): WindowSum(100, 77), ("b", WINDOW): WindowSum(49, 4)})
    assert [row.state for row in only_window(both, there).rows] == ["incomplete", "incomplete"]


def test_unknown_goes_before_incomplete():
    both = {**agents(frontier=PAST - 1), **agents(agent="b", count=50, content_hash=5)}
    there = Landed(ends={0: 100}, sums={("a", WINDOW): WindowSum(100, 77), ("b", WINDOW): WindowSum(49, 4)})
    assert only_window(both, there).state == "unknown"


def test_an_agent_of_another_topic_is_not_waited_for():
    other = fold([Announcement(PAST, AgentMessage("z", "r1", "h", "0.1.0", "active", None, {"orders": {0: 5}}))])
    assert only_window({**agents(), **other}, landed()).state == "complete"


def test_an_agent_that_has_named_no_topic_yet_is_waited_for():
    fresh = fold([Announcement(PAST, AgentMessage("z", "r1", "h", "0.1.0", "active", None, {}))])
    assert only_window({**agents(), **fresh}, landed()).state == "unknown"


def test_rows_of_no_agent_beside_an_agent_are_shown_and_not_judged():
    window = only_window(agents(), dataclasses.replace(landed(), foreign={WINDOW: 9}))
    assert window.state == "complete"
    assert (window.rows[1].agent, window.rows[1].sent, window.rows[1].landed) == (None, None, 9)


@pytest.mark.parametrize(("reached_ms", "state"), [(PAST - 1, "unknown"), (PAST, "complete")])
def test_a_topic_without_agents_is_complete_once_every_partition_has_landed_past_the_window(reached_ms, state):
    there = Landed(ends={0: 4, 1: 9}, foreign={WINDOW: 13}, reached_ms={0: reached_ms, 1: NOW})
    assert only_window({}, there).state == state


def test_a_topic_without_windows_is_complete_once_its_agents_have_finished():
    finished = fold([Announcement(PAST, AgentMessage("a", "r1", "h", "0.1.0", "finished", None, {}))])
    busy = fold([Announcement(PAST, AgentMessage("a", "r1", "h", "0.1.0", "active", None, {}))])
    assert judge("logs", finished, Landed(), {}, now_ms=NOW).state == "complete"
    assert judge("logs", busy, Landed(), {}, now_ms=NOW).state == "unknown"
    assert judge("logs", {}, Landed(), {}, now_ms=NOW).state == "unknown"


def test_since_and_until_choose_the_windows_that_overlap_them():
    def starts(**bounds):
        return [window.window_start_ms for window in judge("logs", agents(), landed(), {}, now_ms=NOW, **bounds).windows]

    assert starts(since_ms=WINDOW + WINDOW_MS - 1, until_ms=WINDOW + 1) == [WINDOW]
    assert starts(since_ms=WINDOW + WINDOW_MS) == []
    assert starts(until_ms=WINDOW) == []


def test_worst_puts_unknown_before_incomplete_before_complete():
    assert worst(["complete", "unknown", "incomplete"]) == "unknown"
    assert worst(["complete", "incomplete"]) == "incomplete"
    assert worst([]) == "complete"


@pytest.mark.parametrize(("at_ms", "said"), [(-(2**63), "0001-01-01 00:00:00Z"), (2**63, "9999-12-31 23:59:59Z")])
def test_a_time_that_no_calendar_knows_is_said_and_raises_nothing(at_ms, said):
    assert when(at_ms) == said


def with_clock(ahead_ms, frontier, heard_ms=PAST):
    heartbeat = AgentMessage("a", "r1", "host-a", "0.1.0", "active", frontier, {"logs": {0: 100}}, clock_ms=heard_ms + ahead_ms)
    return fold([Announcement(heard_ms, heartbeat)])


@pytest.mark.parametrize(
    ("ahead_ms", "heard_ms", "said"),
    [
        (-3 * 3_600_000, PAST, "; its clock is 3 h behind the broker's, which holds that back"),
        (-60_000, PAST, ""),
        (90_000, PAST - 2, "; its clock is 90 s ahead of the broker's, and so are windows of what it reads"),
        (90_000, PAST, ""),
    ],
)
def test_a_large_offset_of_a_clock_is_told_where_a_window_waits_for_it(ahead_ms, heard_ms, said):
    (reason,) = (each for each in only_window(with_clock(ahead_ms, PAST - 1, heard_ms), landed()).reasons if "drained" in each)
    assert reason.partition(f"not past {when(PAST - 1)}")[2].removesuffix(f"; last heard {when(heard_ms)}") == said


def test_a_stopped_agent_s_excess_is_awaited_until_it_runs_again_or_is_retired():
    stopped = agents(state="stopped")
    known = {("a", WINDOW): Recount(101, 101, {0: 101})}
    window = only_window(stopped, landed(count=101, end=101), known)
    assert (window.state, window.reasons) == (
        "unknown",
        ("1 more have landed than agent a (host-a) has announced; it was stopped: its next run's heartbeat is awaited",),
    )
    retired = agents(state="stopped", extra=(Announcement(PAST + 6, RetiredMessage("a", None)),))
    assert only_window(retired, landed(count=101, end=101), known).state == "complete"


def test_an_excess_on_a_busy_partition_is_told_by_the_heartbeats_of_the_last_minutes():
    beats = []
    for at in range(6):  # some rows more with each, none of which passes a window that no one before has
        sent_ms = PAST + 30_000 * at
        beats.append(
            Announcement(sent_ms, AgentMessage("b", "r1", None, "0.1.0", "active", PAST, {"logs": {0: 100 + 10 * at}}))
        )
    last = AgentMessage("a", "r1", "host-a", "0.1.0", "active", PAST + 70_000, {"logs": {0: 100}})
    everyone = agents(extra=(*beats, Announcement(PAST + 200_000, last)))
    for end, state in ((111, "incomplete"), (121, "unknown")):
        found = {("a", WINDOW): Recount(101, 101, {0: end})}
        assert only_window(everyone, landed(count=101, end=200), found).state == state
