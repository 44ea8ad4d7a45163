import math

from headrace.audit import WINDOW_MS, AgentMessage, SentMessage
from headrace.jobs.audit.announced import Announcement, fold

WINDOW = 1_763_900_400_000 // WINDOW_MS * WINDOW_MS
END = WINDOW + WINDOW_MS


def heartbeat(at_ms, drained_to_ms, *, run="r1", state="active", acked=None):
    return Announcement(at_ms, AgentMessage("a", run, "web-1", "0.1.0", state, drained_to_ms, acked or {"logs": {0: 7}}))


def sent(at_ms, count, *, run="r1", content_hash=11, acked=None, window=WINDOW):
    return Announcement(at_ms, SentMessage("logs", "a", run, window, count, count * 9, content_hash, acked or {0: count}))


def test_the_whole_message_with_the_greatest_count_is_taken_wherever_it_stands():
    agent = fold([sent(1, 5, content_hash=50), sent(2, 9, content_hash=90), sent(3, 8, content_hash=80)])["a"]
    assert (agent.sent["logs", WINDOW].message.count, agent.sent["logs", WINDOW].message.content_hash) == (9, 90)


def test_of_messages_with_equal_counts_the_later_is_taken():
    agent = fold([sent(1, 9, content_hash=50), sent(2, 9, content_hash=90)])["a"]
    assert agent.sent["logs", WINDOW].message.content_hash == 90


def test_acknowledged_ends_are_the_greatest_per_partition_over_heartbeats_and_windows_of_all_runs():
    said = [
        heartbeat(1, 0, acked={"logs": {0: 7, 1: 3}}),
        sent(2, 5, acked={1: 4, 2: 1}),
        heartbeat(3, 0, run="r2", acked={"logs": {0: 2}}),
    ]
    assert fold(said)["a"].acked == {"logs": {0: 7, 1: 4, 2: 1}}


def test_frontier_and_state_come_from_the_run_heard_last_even_if_they_go_back():
    agent = fold([heartbeat(1, 5_000), heartbeat(2, 3_000, run="r2", state="stopped")])["a"]
    assert (agent.frontier_ms, agent.state, agent.heard_ms) == (3_000, "stopped", 2)


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
    assert fold(said)["a"].sent["logs", WINDOW].late == 7


def test_events_announced_within_the_lateness_are_not_late():
    said = [sent(1, 40), heartbeat(2, END + 300_000), sent(3, 47), heartbeat(4, END + 400_000)]
    assert fold(said)["a"].sent["logs", WINDOW].late == 0


def test_a_window_that_first_appears_behind_the_frontier_is_late_as_a_whole():
    assert fold([heartbeat(2, END + 300_001), sent(3, 4), sent(4, 6)])["a"].sent["logs", WINDOW].late == 6


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
    assert fold(said)["a"].sent["logs", WINDOW].late == 0
