import math

from headrace.audit import WINDOW_MS, AgentMessage, RetiredMessage, SentMessage, Total
from headrace.jobs.audit.announced import MOST_CLAIMS, Announcement, fold

WINDOW = 1_763_900_400_000 // WINDOW_MS * WINDOW_MS
END = WINDOW + WINDOW_MS


def heartbeat(at_ms, drained_to_ms, *, run="r1", state="active", acked=None):
    return Announcement(at_ms, AgentMessage("a", run, "web-1", "0.1.0", state, drained_to_ms, acked or {"logs": {0: 7}}))


def sent(at_ms, count, *, run="r1", content_hash=11, acked=None, window=WINDOW):
    return Announcement(at_ms, SentMessage("logs", "a", run, window, count, count * 9, content_hash, acked or {0: count}))


def test_the_whole_message_with_the_greatest_count_is_taken_wherever_it_stands():
    agent = fold([sent(1, 5, content_hash=50), sent(2, 9, content_hash=90), sent(3, 8, content_hash=80)])["a"]
    assert (agent.sent["logs"][WINDOW].count, agent.sent["logs"][WINDOW].content_hash) == (9, 90)


def test_of_messages_with_equal_counts_the_later_is_taken():
    agent = fold([sent(1, 9, content_hash=50), sent(2, 9, content_hash=90)])["a"]
    assert agent.sent["logs"][WINDOW].content_hash == 90


def test_acknowledged_ends_are_the_greatest_per_partition_over_heartbeats_and_windows_of_all_runs():
    said = [
        heartbeat(1, 0, acked={"logs": {0: 7, 1: 3}}),
        sent(2, 5, acked={1: 4, 2: 1}),
        heartbeat(3, 0, run="r2", acked={"logs": {0: 2}}),
    ]
    assert fold(said)["a"].acked == {"logs": {0: 7, 1: 4, 2: 1}}


def test_the_state_comes_from_the_run_heard_last_and_what_was_claimed_stays_claimed():
    agent = fold([heartbeat(1, 5_000), heartbeat(2, 3_000, run="r2", state="stopped"), heartbeat(3, None, run="r3")])["a"]
    assert (agent.frontier_ms, agent.state, agent.heard_ms) == (5_000, "active", 3)


def test_the_first_claim_past_a_window_counts_with_what_was_acknowledged_then():
    said = [heartbeat(at, END + at, acked={"logs": {0: at}}) for at in (300_000, 300_001, 300_002, 900_001, 900_002)]
    agent = fold(said)["a"]
    firsts = [agent.claim_past("logs", end + 300_000) for end in (END, END + WINDOW_MS)]
    assert [claim and claim.ends for claim in firsts] == [{0: 300_001}, {0: 900_001}]
    assert agent.claim_past("logs", END + 900_002) is None


def test_a_claim_is_of_the_topics_that_the_heartbeat_names():
    said = [heartbeat(1, END), heartbeat(2, END + 5, acked={"logs": {0: 7}, "web": {1: 2}})]
    agent = fold(said)["a"]
    assert agent.claim_past("web", WINDOW).ends == {1: 2}
    assert agent.drained_to_ms("other") == -math.inf


def test_that_a_run_has_finished_counts_only_while_no_other_has_spoken():
    finished = heartbeat(1, None, state="finished")
    assert fold([finished])["a"].drained_to_ms("logs") == math.inf
    assert fold([finished, heartbeat(2, None, run="r2")])["a"].drained_to_ms("logs") == -math.inf


def test_of_old_windows_the_oldest_claims_are_let_go_and_the_next_stands_for_them():
    said = [heartbeat(n, END + n * WINDOW_MS, acked={"logs": {0: n}}) for n in range(1, 1000)]
    agent = fold(said)["a"]
    assert len(agent.claims["logs"]) == MOST_CLAIMS
    assert agent.claim_past("logs", END).ends == {0: 1000 - MOST_CLAIMS}


def test_a_partition_was_known_to_be_written_when_it_was_first_acknowledged():
    said = [heartbeat(10, END, acked={"logs": {0: 7}}), sent(20, 9), heartbeat(30, END + 1, acked={"logs": {0: 9}})]
    agent = fold(said)["a"]
    assert [agent.acknowledged_ms("logs", 0, offset) for offset in (6, 8, 9)] == [10, 20, math.inf]


def test_an_agent_is_retired_until_it_speaks_again():
    retired = Announcement(9, RetiredMessage("a", 5_000))
    assert fold([heartbeat(1, END), retired])["a"].retired_ms == 5_000
    assert fold([heartbeat(1, END), Announcement(9, RetiredMessage("a", None))])["a"].retired_ms == -math.inf
    assert fold([heartbeat(1, END), retired, heartbeat(10, END)])["a"].retired_ms is None


def test_the_chapters_of_a_window_add_up_and_of_each_the_greatest_counts():
    parts = [(1, 40, 0), (2, 5, 3), (3, 7, 3), (4, 30, 0)]
    said = [
        Announcement(at, SentMessage("logs", "a", "r1", WINDOW, count, count, count, {0: at}, {}, 1, chapter))
        for at, count, chapter in parts
    ]
    said.insert(1, heartbeat(1, END + 300_001))
    window = fold(said)["a"].sent["logs"][WINDOW]
    assert (window.count, window.content_hash, window.rejected, window.late, window.acked) == (47, 47, 2, 7, {0: 3})


def test_of_a_window_that_a_claim_has_passed_any_later_message_takes_the_place_of_what_it_said():
    starts = [WINDOW + n * WINDOW_MS for n in range(5)]
    said = [sent(1, 40 + n, window=start, content_hash=n) for n, start in enumerate(starts)]
    said.append(heartbeat(2, END + 5 * WINDOW_MS))
    again = [
        sent(3, 50, window=starts[2], acked={0: 9}),
        sent(4, 43, window=starts[3], content_hash=7),
        sent(5, 1, window=WINDOW),
    ]
    windows = fold([*said, *again])["a"].sent["logs"]
    assert sorted(windows) == starts
    assert [windows[start].count for start in starts] == [40, 41, 50, 43, 44]
    assert [windows[start].content_hash for start in starts] == [0, 1, 11, 7, 4]
    assert [windows[start].late for start in starts] == [0, 0, 8, 0, 0]
    assert windows[starts[2]].acked == {0: 9}


def test_a_finished_run_has_an_infinite_frontier_and_one_that_claims_nothing_has_none():
    assert fold([heartbeat(1, None, state="finished")])["a"].frontier_ms == math.inf
    assert fold([heartbeat(1, None)])["a"].frontier_ms == -math.inf


def test_an_agent_known_by_its_windows_only_claims_nothing():
    agent = fold([sent(1, 5)])["a"]
    assert (agent.frontier_ms, agent.host, agent.heard_ms) == (-math.inf, None, None)


def test_two_runs_that_overlap_for_more_than_a_minute_are_a_clone():
    agent = fold([heartbeat(0, 0), heartbeat(10_000, 0, run="r2"), heartbeat(70_001, 0), heartbeat(90_000, 0, run="r2")])["a"]
    assert agent.clone is not None
    assert (agent.clone.runs, agent.clone.from_ms, agent.clone.to_ms) == (("r1", "r2"), 10_000, 70_001)


def test_a_run_that_takes_over_within_a_minute_is_no_clone():
    assert (
        fold([heartbeat(0, 0), heartbeat(10_000, 0, run="r2"), heartbeat(70_000, 0), heartbeat(90_000, 0, run="r2")])["a"].clone
        is None
    )


def test_a_short_run_inside_a_long_one_is_a_clone_though_another_stands_between():
    said = [
        heartbeat(0, 0),
        heartbeat(1_000, 0, run="r2"),
        heartbeat(2_000, 0, run="r3"),
        heartbeat(99_000, 0, run="r3"),
        heartbeat(200_000, 0),
    ]
    clone = fold(said)["a"].clone
    assert clone is not None
    assert clone.runs == ("r1", "r3")


def test_events_announced_after_the_frontier_has_passed_the_window_are_late():
    said = [sent(1, 40), heartbeat(2, END + 300_001), sent(3, 47), heartbeat(4, END + 400_000)]
    assert fold(said)["a"].sent["logs"][WINDOW].late == 7


def test_events_announced_within_the_lateness_are_not_late():
    said = [sent(1, 40), heartbeat(2, END + 300_000), sent(3, 47), heartbeat(4, END + 400_000)]
    assert fold(said)["a"].sent["logs"][WINDOW].late == 0


def test_a_window_that_first_appears_behind_the_frontier_is_late_as_a_whole():
    assert fold([heartbeat(2, END + 300_001), sent(3, 4), sent(4, 6)])["a"].sent["logs"][WINDOW].late == 6


def test_an_agent_that_has_named_no_topic_may_still_write_to_any():
    unnamed = fold([Announcement(1, AgentMessage("a", "r1", "h", "0.1.0", "active", None, {}))])["a"]
    named = fold([heartbeat(1, None, acked={"logs": {}})])["a"]
    assert unnamed.writes_to("orders")
    assert named.writes_to("logs")
    assert not named.writes_to("orders")


def test_what_is_shipped_after_a_finite_input_had_finished_is_not_late():
    said = [
        sent(1, 40),
        heartbeat(2, None, state="finished"),
        sent(3, 47, run="r2"),
        heartbeat(4, None, run="r2", state="finished"),
    ]
    assert fold(said)["a"].sent["logs"][WINDOW].late == 0


def with_totals(at_ms, **totals):
    said = AgentMessage("a", "r1", "web-1", "0.1.0", "active", at_ms, {"logs": {0: 7}}, totals)
    return Announcement(at_ms, said)


def test_where_some_is_gone_a_topic_is_known_from_the_beginning_once_its_totals_agree():
    agent = fold([with_totals(5, logs=Total(0, 0), web=Total(3, 1)), sent(6, 4)], is_whole=False)["a"]
    assert (agent.known_since_ms, agent.agreed) == (5, {"logs"})


def test_of_an_agent_that_was_heard_before_it_sent_anything_nothing_is_gone():
    said = [with_totals(5), with_totals(9, logs=Total(4, 11))]
    agent = fold(said, is_whole=False)["a"]
    assert agent.known_since_ms == -math.inf
    assert [gap.more for gap in agent.gaps["logs"]] == [Total(4, 11)]
