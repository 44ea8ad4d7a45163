"""The gate of a nightly job, on real tables on disk: what opens it, what it waits for, and what it says of the rest."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from headrace.audit import AgentMessage
from headrace.cli import main
from headrace.errors import StorageError, UsageError
from headrace.jobs.audit.announced import LATENESS_MS
from headrace.jobs.audit.gate import Gate, gate
from headrace.jobs.audit.heads import Heads
from headrace.sinks.table.record import Gap
from tests.landed_tables import AuditWriter, Event, TableWriter, announce

T0 = 1_763_900_400_000  # 2025-11-23T12:20Z
DAY = 1_763_856_000_000
AT = DAY + 86_400_000 + 600_000
EVENTS = [Event("a", n * 30, T0 + n * 45_000) for n in range(60)]


@pytest.fixture
def root(tmp_path):
    """Topic `logs`: forty of one agent's sixty events have landed, and it has announced all and is past the day."""
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS[:40])
    AuditWriter(root).land(*announce("logs", EVENTS, AT, acked={0: 60}, state="active", drained_to_ms=AT))
    return root


def land_the_rest(root):
    TableWriter(root, "logs").land_events(EVENTS[40:])


class Meanwhile:
    """Waits no time: does the next of some things each time that the gate would wait, and says stop after the last."""

    def __init__(self, *things):
        self.things, self.waits = list(things), []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        if not self.things:
            return True
        self.things.pop(0)()
        return False


def audit(root, *arguments):
    return main(["audit", "--root", str(root), *arguments])


def test_it_opens_when_the_rest_has_landed_and_tells_what_it_waits_for(root):
    told = []
    meanwhile = Meanwhile(lambda: None, lambda: land_the_rest(root))
    times = {"since_ms": DAY, "until_ms": DAY + 86_400_000, "timeout_s": 99}
    verdict = gate(root, ["logs"], **times, stop=meanwhile, tell=lambda *saying: told.append(saying))
    assert (verdict.state, verdict.exit_status, verdict.spells()) == ("complete", 0, [])
    assert [(each.state, trouble) for each, trouble in told] == [("unknown", None)] * 2
    assert "partition 0 has landed up to offset 40" in told[0][0].spells()[0].reason
    assert meanwhile.waits[0] == pytest.approx(1.0)


def test_it_stays_shut_until_the_stop_and_its_summary_is_json_that_says_why(root):
    verdict = gate(root, timeout_s=99, stop=Meanwhile())
    summary = json.loads(json.dumps(verdict.summary()))
    assert verdict.exit_status == 4
    (topic,) = summary["topics"]
    assert (summary["state"], summary["since"], topic["windows"]) == (
        "unknown", None, {"complete": 0, "incomplete": 0, "unknown": 5},
    )  # fmt: skip
    assert (topic["sent"], topic["landed"]) == (60, 40)
    assert topic["reasons"] == [
        {
            "kind": "unlanded",
            "agent": None,
            "since": "2025-11-23T12:20:00Z",
            "until": "2025-11-23T13:10:00Z",
            "windows": 5,
            "what": "partition 0 has landed up to offset 40; agent a (host-a) had 60 acknowledged",
            "do": "wait for the loader; see how far it is with headrace lag",
        }
    ]


def test_what_is_missing_for_good_is_not_waited_for(root):
    TableWriter(root, "logs").land_events(EVENTS[40:59], gaps=(Gap(59, 60, "compacted"),))
    verdict = gate(root, ["logs"], timeout_s=99, stop=Meanwhile())
    assert verdict.exit_status == 3
    assert [spell.reason.kind for spell in verdict.spells()] == ["missing"]


def test_what_is_missing_for_good_ends_the_wait_though_another_topic_is_unknown_still(root, capsys):
    bad = [Event("b", n * 30, T0 + n * 45_000) for n in range(3)]
    TableWriter(root, "bad").land_events(bad[:2], gaps=(Gap(2, 3, "compacted"),))
    AuditWriter(root).land(*announce("bad", bad, AT, acked={0: 3}, state="active", drained_to_ms=AT))
    meanwhile = Meanwhile()
    verdict = gate(root, timeout_s=99, stop=meanwhile)
    assert (verdict.state, verdict.exit_status, meanwhile.waits) == ("unknown", 3, [])
    assert audit(root, "--wait", "--format", "csv") == 3
    said = capsys.readouterr().err.splitlines()
    assert "incomplete: bad, 2025-11-23 12:20:00Z: agent b (host-b) sent 3, and 2 have landed: 1 are missing" in said[0]
    assert said[1].startswith("headrace audit: still unknown: logs, 2025-11-23 12:20:00Z: partition 0 has landed up to")


def test_a_store_that_fails_during_the_wait_is_asked_again_and_told_at_the_end_if_it_still_does(root):
    audited = next((root / "_audit").glob("dt=*/hour=*/*.parquet"))
    away = root.parent / "away"
    more = announce("logs", EVENTS, AT + 1, acked={0: 60}, state="active", drained_to_ms=AT + 1)

    def fail():
        audited.rename(away)
        AuditWriter(root).land(*more)

    def mend():
        away.rename(audited)
        land_the_rest(root)

    told = []
    meanwhile = Meanwhile(fail, lambda: None, mend)
    verdict = gate(root, timeout_s=99, stop=meanwhile, tell=lambda *saying: told.append(saying))
    assert verdict.state == "complete"
    assert [trouble and type(trouble) for _, trouble in told] == [None, StorageError, StorageError]
    (root / "logs" / "_headrace" / "log" / "g000001" / "00000000000000000001.json").unlink()
    with pytest.raises(StorageError, match=audited.name):
        gate(root, timeout_s=99, stop=Meanwhile(fail, lambda: None))


def test_a_topic_of_which_nothing_is_known_is_unknown_and_named(root):
    verdict = gate(root, ["logs", "audits"], stop=Meanwhile())
    assert [(topic.topic, topic.state) for topic in verdict.topics][1] == ("audits", "unknown")
    assert verdict.spells()[-1].reason.kind == "unannounced"


def test_a_time_that_an_agent_is_not_past_is_unknown_although_all_windows_so_far_are_complete(root):
    land_the_rest(root)
    assert gate(root, ["logs"], until_ms=AT + 86_400_000).state == "unknown"
    assert gate(root, ["logs"], until_ms=DAY + 86_400_000).state == "complete"


def test_a_root_that_is_not_there_and_a_damaged_audit_are_errors(root, tmp_path):
    with pytest.raises(UsageError, match="no such directory"):
        gate(tmp_path / "nowhere")
    next((root / "_audit").glob("dt=*/hour=*/*.parquet")).unlink()
    with pytest.raises(StorageError):
        gate(root)


def test_a_file_that_is_put_back_opens_it_though_no_record_says_so(root):
    land_the_rest(root)
    file = next((root / "logs").glob("dt=*/hour=*/*.parquet"))
    away = root.parent / "away"
    file.rename(away)
    verdict = gate(root, timeout_s=99, stop=Meanwhile(lambda: None, lambda: away.rename(file)))
    assert verdict.state == "complete"


def test_what_agents_say_later_is_heard(root):
    land_the_rest(root)
    asked = Gate(root, until_ms=AT + 86_400_000)
    assert asked.judge(now_ms=AT).state == "unknown"
    later = announce("logs", EVENTS, AT + 1, acked={0: 60}, state="active", drained_to_ms=AT + 2 * 86_400_000)[-1]
    AuditWriter(root).land(later)
    asked.look()
    early = asked.judge(now_ms=AT)
    assert (early.state, [spell.reason.kind for spell in early.spells()]) == ("unknown", ["early"])
    assert asked.judge(now_ms=AT + 86_400_000 + LATENESS_MS).state == "complete"


def test_heads_name_the_tables_that_have_grown_are_new_or_gone_and_always_those_that_cannot_be_read(root):
    heads = Heads(root)
    assert heads.moved() == {"_audit", "logs"}
    assert heads.moved() == set()
    land_the_rest(root)
    assert heads.moved() == {"logs"}
    TableWriter(root, "more").land_events(EVENTS[:1])
    assert heads.moved() == {"more"}
    (root / "more").rename(root.parent / "more")
    assert heads.moved() == {"more"}
    TableWriter(root, "logs").land_events(EVENTS[:1])
    TableWriter(root, "logs").remove_record(1)
    assert heads.moved() == {"logs"}
    assert heads.moved() == {"logs"}


def test_wait_says_at_its_end_what_is_missing_and_where(root, capsys):
    assert audit(root, "--wait", "--timeout", "0", "--day", "2025-11-23", "--format", "json") == 4
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        "headrace audit: unknown after 0 s: logs, 2025-11-23 12:20:00Z: "
        "partition 0 has landed up to offset 40; agent a (host-a) had 60 acknowledged"
    )
    TableWriter(root, "logs").land_events(EVENTS[40:59], gaps=(Gap(59, 60, "compacted"),))
    assert audit(root, "--wait", "--day", "2025-11-23") == 3
    said = capsys.readouterr().err
    assert said == (
        "headrace audit: incomplete: logs, 2025-11-23 13:00:00Z: agent a (host-a) sent 6, and 5 have landed: 1 are missing\n"
    )


def test_a_day_is_all_of_its_windows_and_no_others(root, capsys):
    land_the_rest(root)
    assert audit(root, "--wait", "--day", "2025-11-23", "--format", "csv") == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert audit(root, "--wait", "--timeout", "0", "--day", "2025-11-24") == 4
    assert audit(root, "--wait", "--day", "2025-11-22") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--day", "23.11."], "--day 23.11.: write a day as 2026-11-22"),
        (["--set", "audit.every=1s"], "--set and --run-file are for the part: name its configuration with --config"),
        (["--config", "audit.yaml", "--day", "1d", "--wait"], "leave out --root, --day, --wait"),
        (["--png", "map.jpg"], "--png map.jpg: give a file that ends in .png"),
        (["--png", "map", "--html", "map"], "--png and --html are both map; give each a file of its own"),
        (["--day", "2025-11-23", "--until", "1d"], "--day is --since and --until together; give it alone"),
        (["--since", "2025-11-23", "--until", "2025-11-23"], "is not before --until"),
        (["--timeout", "nan"], "--timeout nan: give a number of seconds"),
    ],
)
def test_what_makes_no_sense_exits_2_in_one_line(root, capsys, arguments, said):
    assert audit(root, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_time_that_is_not_over_is_told_before_anybody_looks_for_a_fault(root, capsys):
    assert audit(root, "--wait", "--timeout", "0", "--day", "2999-01-01") == 4
    assert "this time is not over: until 2999-01-02 00:05:00Z it stays unknown" in capsys.readouterr().err


def test_where_no_agent_has_announced_anything_agents_says_what_is_lacking(root, capsys):
    (root / "_audit").rename(root.parent / "away")
    assert audit(root, "agents") == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "", f"headrace audit: no agent's announcement has landed below {root}: its loader has to land topic _audit\n",
    )  # fmt: skip


def test_ctrl_c_ends_the_wait_and_says_what_it_was_for(root):
    waiting = subprocess.Popen(
        [sys.executable, "-m", "headrace", "audit", "--root", str(root), "--wait"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    guard = threading.Timer(60, waiting.kill)
    guard.start()
    assert "waiting 0 of 1800 s: logs" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)
    said = waiting.stderr.read()
    guard.cancel()
    assert waiting.wait() == 130
    assert said.startswith("headrace audit: interrupted; still unknown: logs")
    assert said.count("\n") == 1


def test_a_policy_opens_it_when_time_passes_though_nothing_lands_and_what_it_assumes_is_said(root, capsys):
    land_the_rest(root)
    day = {"since_ms": DAY, "until_ms": DAY + 86_400_000}
    gone = AgentMessage("gone", "r1", "web-9", "0.1.0", "active", None, {"logs": {}})
    AuditWriter(root).land((AT, gone))
    asked = Gate(root, **day, retire_after_ms=3_600_000)
    assert [asked.judge(now_ms=AT + ms).state for ms in (3_600_000, 3_600_001)] == ["unknown", "complete"]
    (said,) = asked.judge(now_ms=AT + 4_000_000).summary()["topics"][0]["assumed"]
    assert said.startswith("assumed retired: agent gone ")
    assert Gate(root, **day).judge(now_ms=AT + 10**9).state == "unknown"
    capsys.readouterr()
    assert audit(root, "--wait", "--timeout", "0", "--day", "2025-11-23", "--retire-after", "1h") == 0
    assert "assumed retired: agent gone" in capsys.readouterr().out
    audit(root, "--format", "json", "--retire-after", "1h")
    assert "assumed retired: agent gone" in capsys.readouterr().err
    assert audit(root, "--retire-after", "soon") == 2
    assert "--retire-after soon: write it as 36h" in capsys.readouterr().err
