"""The audit of real tables on disk: what is taken away, lost, doubled or altered is noticed."""

import dataclasses
import json
import uuid

import pytest

from headrace.audit import HASH_MODULUS, WINDOW_MS, RetiredMessage, Total, window_start_ms
from headrace.cli import main
from headrace.errors import StorageError
from headrace.jobs.audit.auditor import Auditor, overall_verdict
from headrace.sinks.stores.local import LocalStore
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import Gap
from headrace.sinks.table.seen import SeenEnd, tell_seen
from headrace.sinks.table.store import carry_out
from tests.landed_tables import TEXT, AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000
HOUR = 3_600_000
AT = T0 + 9_000_000
EVENTS = [Event("a", n * 30, T0 + n * 45_000) for n in range(60)]


@pytest.fixture
def root(tmp_path):
    """Topic `logs`: three load records of one finished agent's sixty events, and its announcements in two."""
    root = tmp_path / "landed"
    root.mkdir()
    table = TableWriter(root, "logs")
    for first in (0, 20, 40):
        table.land_events(EVENTS[first : first + 20])
    said = announce("logs", EVENTS, AT, acked={0: 60})
    AuditWriter(root).land(*said[:-1])
    AuditWriter(root).land(said[-1])
    return root


def audit(root, *arguments):
    return main(["audit", "--root", str(root), *arguments])


def states(root, topic="logs"):
    return {window.state for window in Auditor(root).judge(topic, now_ms=AT).windows}


def test_what_has_all_landed_is_complete(root):
    assert overall_verdict(root, "logs") == "complete"
    assert states(root) == {"complete"}


def test_without_the_head_record_and_its_files_it_is_unknown(root):
    TableWriter(root, "logs").remove_record(2)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "unknown"
    assert "partition 0 has landed up to offset 40; agent a (host-a) had 60 acknowledged" in verdict.windows[0].reasons


def test_without_a_record_in_the_middle_and_its_files_it_is_unknown_and_says_where(root):
    TableWriter(root, "logs").remove_record(1)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "unknown"
    assert "00000000000000000001.json is missing" in verdict.windows[0].reasons[0]


def test_without_a_file_that_the_log_names_it_is_unknown(root):
    next((root / "logs").glob("dt=*/hour=*/*.parquet")).unlink()
    assert overall_verdict(root, "logs") == "unknown"


def test_with_a_damaged_file_that_must_be_counted_again_it_is_unknown(root):
    TableWriter(root, "logs").land_events([Event("a", 9_999, T0)])
    assert overall_verdict(root, "logs") == "incomplete"
    for file in (root / "logs").glob("dt=*/hour=12/*.parquet"):
        file.write_bytes(b"PAR1" * 9)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "unknown"
    assert "cannot be read" in verdict.windows[0].reasons[0]


def test_without_the_table_it_is_unknown_and_the_windows_are_still_shown(root):
    (root / "logs").rename(root.parent / "elsewhere")
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "unknown"
    assert sum(row.sent for window in verdict.windows for row in window.rows) == 60
    assert audit(root) == 0


def test_without_the_audit_record_of_the_last_heartbeat_it_is_unknown(root):
    TableWriter(root, "_audit", TEXT).remove_record(1)
    assert states(root) == {"unknown"}


def test_without_any_of_the_audit_it_is_unknown(root):
    (root / "_audit").rename(root.parent / "elsewhere")
    assert overall_verdict(root, "logs") == "unknown"


@pytest.mark.parametrize("missing", range(5))
def test_without_one_windows_announcement_there_is_an_excess(root, missing):
    (root / "_audit").rename(root.parent / "elsewhere")
    said = announce("logs", EVENTS, AT, acked={0: 60})
    del said[missing]
    AuditWriter(root).land(*said)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "incomplete"
    (faulty,) = (window for window in verdict.windows if window.state != "complete")
    assert "too many, 0 of the" in faulty.reasons[0]


def test_unless_rows_may_be_read_what_was_not_announced_is_awaited(root):
    (root / "_audit").rename(root.parent / "elsewhere")
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 60})[1:])
    assert overall_verdict(root, "logs") == "incomplete"
    assert overall_verdict(root, "logs", read_rows=False) == "unknown"


def test_a_damaged_audit_table_is_an_error(root):
    TableWriter(root, "_audit", TEXT).remove_record(0)
    with pytest.raises(StorageError, match="is missing"):
        overall_verdict(root, "logs")


def fresh(tmp_path, landed, sent=EVENTS, **record):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(landed, **record)
    if sent:
        AuditWriter(root).land(*announce("logs", sent, AT, acked={0: len(sent)}))
    return root


def test_an_event_lost_by_the_loader_is_found(tmp_path):
    root = fresh(tmp_path, EVENTS[:30] + EVENTS[31:], gaps=(Gap(59, 60, "compacted"),))
    assert overall_verdict(root, "logs") == "incomplete"


def test_an_event_doubled_by_the_loader_is_found(tmp_path):
    root = fresh(tmp_path, [*EVENTS, EVENTS[7]])
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "incomplete"
    assert "1 too many, 1 of the 15 rows are repeats" in str([window.reasons for window in verdict.windows])


def test_an_event_altered_by_the_loader_is_found(tmp_path):
    altered = [dataclasses.replace(event, message="GET / 500") if event.position == 90 else event for event in EVENTS]
    assert overall_verdict(fresh(tmp_path, altered), "logs") == "incomplete"


def test_one_event_lost_and_one_doubled_do_not_cancel_out(tmp_path):
    assert overall_verdict(fresh(tmp_path, [*EVENTS[:5], EVENTS[4], *EVENTS[6:]]), "logs") == "incomplete"


def test_more_than_announced_is_awaited_while_the_agent_is_not_past_the_rows(tmp_path):
    later = Event("a", 9_999, T0 + 1_000, read_ms=AT + 60_000)
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events([*EVENTS, later])
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 60}, state="active", drained_to_ms=AT))
    assert states(root) == {"complete", "unknown"}


def test_a_loss_recorded_by_the_loader_makes_its_windows_incomplete(tmp_path):
    root = fresh(tmp_path, EVENTS, gaps=(Gap(60, 67, "lost", T0 + 60_000, T0 + 70_000),))
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "incomplete"
    assert [row.lost for row in verdict.windows[0].rows] == [0, 7]


def test_quarantined_records_are_shown_in_a_row_of_nobody(root):
    TableWriter(root, "logs").land([], quarantined=[T0 + 1_000, T0 + 2_000])
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "complete"
    assert [(row.agent, row.quarantined) for row in verdict.windows[0].rows] == [("a", 0), (None, 2)]


def test_rows_of_no_agent_are_counted_from_the_files(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    orders = TableWriter(root, "orders", TEXT)
    orders.land([{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(30)])
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 60}))
    verdict = Auditor(root).judge("orders", now_ms=AT)
    assert [(row.agent, row.sent, row.landed) for window in verdict.windows for row in window.rows] == [(None, None, 10)] * 3
    assert [window.state for window in verdict.windows] == ["complete", "complete", "unknown"]


def test_a_record_of_the_audit_that_is_no_message_is_named_and_has_no_say(root, capsys):
    TableWriter(root, "_audit", TEXT).land([{"_key": b"agent/x", "value": '{"version": 1}', "_timestamp": AT + 5}])
    assert audit(root, "--wait", "--timeout", "0") == 0
    assert "ignored: _audit message agent/x cannot be read" in capsys.readouterr().err


def test_a_message_of_a_newer_version_is_refused(root, capsys):
    TableWriter(root, "_audit", TEXT).land([{"_key": b"agent/x/r", "value": '{"version": 3}', "_timestamp": AT + 5}])
    assert audit(root) == 1
    assert "version 3; this headrace reads up to 2: upgrade it" in capsys.readouterr().err


def test_partitions_of_a_topic_created_again_are_past_only_in_their_newest_incarnation(root):
    TableWriter(root, "logs").land_events([Event("a", 9_999, T0)], incarnation=1)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert verdict.state == "unknown"
    assert "partition 0 has landed up to offset 1" in str(verdict.windows[0].reasons)


def test_what_agents_announced_expires_only_where_the_audits_topic_is_named(root, capsys):
    assert main(["expire", "--root", str(root), "--older-than", "1h", "--format", "json"]) == 0
    assert [json.loads(line)["topic"] for line in capsys.readouterr().out.splitlines()] == ["logs"]
    assert Auditor(root).topics() == ["logs"]
    assert overall_verdict(root, "logs") == "complete"


def totals(events):
    return {"logs": Total(len(events), sum(event.hash for event in events) % HASH_MODULUS)}


@pytest.fixture
def expired(tmp_path):
    """Of sixty events the first twenty were announced at noon, which has expired; six of them again, and the rest, later."""
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    for first, until, at_ms in ((0, 20, AT - 2 * HOUR), (20, 20, AT), (14, 40, AT + 2), (40, 60, AT + 4)):
        said = announce(
            "logs", EVENTS[:until], at_ms, acked={0: until}, state="active", drained_to_ms=AT, totals=totals(EVENTS[:until])
        )
        windows = {window_start_ms(event.event_ms) for event in EVENTS[first:until]}
        AuditWriter(root).land(*(one for one in said[:-1] if one[1].window_start_ms in windows), said[-1])
    assert overall_verdict(root, "logs") == "complete"
    oldest = min(snapshot(root, "_audit").files, key=lambda file: file.max_event_time_ms)
    TableWriter(root, "_audit", TEXT).take_out(oldest.name)
    return root


def test_messages_that_expired_make_nothing_incomplete_and_their_windows_unknown(expired):
    verdict = Auditor(expired).judge("logs", now_ms=AT)
    assert [window.state for window in verdict.windows] == ["unknown", *["complete"] * 4]
    assert verdict.reasons == ()
    assert "14 more have landed than is known of agent a (host-a): what it said before" in verdict.windows[0].reasons[0]


def test_a_message_lost_later_is_noticed_though_early_ones_expired(expired):
    more, later = [*EVENTS, Event("a", 9_999, AT)], AT + HOUR
    for at_ms in (later, later + HOUR):
        said = announce("logs", more, at_ms, acked={0: 60}, state="active", drained_to_ms=at_ms, totals=totals(more))
        AuditWriter(expired).land(said[-1])
    verdict = Auditor(expired).judge("logs", now_ms=AT)
    assert [window.state for window in verdict.windows[:5]] == ["unknown", *["complete"] * 4]
    assert {reason.kind for window in verdict.windows[5:] for reason in window.reasons} == {"unsaid"}


def test_json_is_one_object_a_line_with_the_agreed_keys(root, capsys):
    assert audit(root, "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert list(rows[0]) == [
        "topic", "window_start", "agent", "host", "sent", "rejected", "dropped", "landed", "late", "quarantined", "duplicates",
        "lost", "state",
    ]  # fmt: skip
    assert (sum(row["sent"] for row in rows), rows[0]["window_start"]) == (60, "2025-11-23T12:20:00Z")


def test_csv_has_a_header_and_a_line_for_each_row(root, capsys):
    assert audit(root, "--format", "csv", "--topic", "logs") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("topic,window_start,agent,host,sent,")
    assert len(lines) == 1 + 5


def test_the_table_ends_with_the_state_and_says_why(root, capsys):
    TableWriter(root, "logs").remove_record(2)
    assert audit(root) == 0
    out = capsys.readouterr().out
    assert "had 60 acknowledged" in out
    assert out.splitlines()[-1] == "unknown: 40 landed of 60 sent, in 5 windows of 1 topic"


def test_since_and_until_choose_windows(root, capsys):
    assert audit(root, "--format", "json", "--since", "2025-11-23T12:40", "--until", "2025-11-23T13:00Z") == 0
    starts = [json.loads(line)["window_start"] for line in capsys.readouterr().out.splitlines()]
    assert starts == ["2025-11-23T12:40:00Z", "2025-11-23T12:50:00Z"]


def test_until_waits_for_agents_to_be_past_it_though_every_window_so_far_is_complete(tmp_path, capsys):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 60}, state="active", drained_to_ms=AT))
    assert audit(root, "--wait", "--timeout", "0") == 0
    assert audit(root, "--wait", "--timeout", "0", "--until", "2025-11-24") == 4
    assert "agent a (host-a) is drained to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "log"], "no table 'log'; did you mean logs? (tables: logs)"),
        (["--since", "yesterday"], "--since yesterday: write a time as 2026-11-22"),
        (["--timeout", "-1"], "--timeout -1"),
    ],
)
def test_usage_errors_exit_2_in_one_line(root, capsys, arguments, said):
    assert audit(root, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_place_without_tables_exits_2_and_says_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path / "nowhere"))
    assert main(["audit"]) == 2
    assert "no landed tables there; name a data directory" in capsys.readouterr().err
    assert audit(tmp_path) == 2
    assert "nothing has landed there yet" in capsys.readouterr().err


def test_what_was_compacted_between_two_heartbeats_before_it_landed_makes_nothing_incomplete(tmp_path):
    """Of the second run a window's first message is gone, which a later one repeats, but after the run's last heartbeat."""
    root = fresh(tmp_path, EVENTS, sent=[])
    said = announce("logs", EVENTS, AT, acked={0: 60})
    first, last = said[0], said[-1]
    all_hashes = sum(event.hash for event in EVENTS) % HASH_MODULUS
    before = Total(60 - first[1].count, (all_hashes - first[1].content_hash) % HASH_MODULUS)
    audit = AuditWriter(root)
    audit.land(*said[1:-1], (AT, dataclasses.replace(last[1], totals={"logs": before})), gaps=(Gap(5, 6, "compacted"),))
    audit.land((AT + 1, dataclasses.replace(last[1], run="r2", totals={"logs": Total(60, all_hashes)})))
    assert "unsaid" not in {
        reason.kind for window in Auditor(root).judge("logs", now_ms=AT).windows for reason in window.reasons
    }
    audit.land(first)
    assert Auditor(root).judge("logs", now_ms=AT).state == "complete"


def settle(root, offset):
    """A record a day that tells nothing, for four days: the log does not tell the windows apart any more."""
    for day in range(1, 5):
        gap = Gap(offset + day - 1, offset + day, "compacted")
        TableWriter(root, "logs").land([], gaps=(gap,), created_ms=1_763_900_000_000 + day * 24 * HOUR)


def test_a_day_of_which_windows_are_not_told_apart_is_complete_as_announced(root):
    before = Auditor(root).judge("logs", now_ms=AT)
    settle(root, 60)
    assert Auditor(root).judge("logs", now_ms=AT) == before


def test_what_is_missing_or_altered_on_such_a_day_is_said_of_the_day(tmp_path):
    root = fresh(tmp_path, EVENTS[:30] + EVENTS[31:], gaps=(Gap(59, 60, "compacted"),))
    settle(root, 60)
    verdict = Auditor(root).judge("logs", now_ms=AT)
    assert {window.state for window in verdict.windows} == {"incomplete"}
    (reason,) = {str(reason) for window in verdict.windows for reason in window.reasons}
    told = "of 2025-11-23, of which windows are not told apart any more, agents sent 60, and 59 have landed: 1 are missing"
    assert reason == told


def test_rows_beyond_what_was_announced_of_such_a_day_are_unknown_unless_their_agent_is_retired(tmp_path):
    root = fresh(tmp_path, EVENTS, sent=EVENTS[:59])
    settle(root, 60)
    assert {window.state for window in Auditor(root).judge("logs", now_ms=AT).windows} == {"unknown"}
    AuditWriter(root).land((AT, RetiredMessage("a", T0)))
    assert {window.state for window in Auditor(root).judge("logs", now_ms=AT).windows} == {"complete"}


def tell(root, topic, **ends):
    carry_out(
        tell_seen({(0, int(name[1:])): SeenEnd(*end) for name, end in ends.items()}, str(uuid.uuid4())),
        LocalStore(root / topic),
    )


def test_of_a_topic_without_agents_a_partition_counts_from_when_loaders_have_seen_it(root):
    rows = [{"_key": b"k", "value": "{}", "_timestamp": T0 + n * 60_000} for n in range(60)]
    TableWriter(root, "orders", TEXT).land(rows)

    def state():
        return Auditor(root).judge("orders", now_ms=AT, until_ms=T0 + 2 * WINDOW_MS).state

    assert state() == "complete"  # what no loader has told, nobody knows
    tell(root, "orders", p1=(0, 0))
    (reason, *_) = Auditor(root).judge("orders", now_ms=AT, until_ms=T0 + 2 * WINDOW_MS).windows[0].reasons
    assert "partition 1 has landed up to nothing, not past" in reason
    tell(root, "orders", p1=(7, T0 + HOUR))  # there is something in it, which has not landed
    assert state() == "unknown"
    tell(root, "orders", p1=(0, T0 + HOUR + 1))  # there was nothing in it until then
    assert state() == "complete"
