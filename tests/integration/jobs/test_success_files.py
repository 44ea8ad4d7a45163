"""`_SUCCESS` of real tables: there while the hour is complete, not before, and not after; and no reader stumbles over it."""

import dataclasses
import json
import os

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest

from headrace.audit import WINDOW_MS, AgentMessage, RetiredMessage
from headrace.cli import main
from headrace.jobs.audit.config import Audit
from headrace.jobs.audit.watching import Watching
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.record import Gap
from tests.landed_tables import AuditWriter, Event, TableWriter, announce

HOUR = 3_600_000
NOON = 1_763_899_200_000  # 2025-11-23T12:00Z
EVENTS = [Event("a", n * 30, NOON + n * 60_000) for n in range(90)]  # 12:00 to 13:29
END = NOON + 2 * HOUR


class Clock:
    """Stands until it is set."""

    def __init__(self, at_ms):
        self.at_ms = at_ms

    def wall_ms(self):
        return self.at_ms

    def monotonic_ms(self):
        return self.at_ms


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "landed"
    root.mkdir()
    TableWriter(root, "logs").land_events(EVENTS)
    return root


@pytest.fixture
def clock():
    return Clock(END + HOUR)


@pytest.fixture
def watching(root, clock):
    return Watching(Audit(root=str(root)), clock)


def say(root, events=EVENTS, drained_to_ms=END + HOUR, acked=90, at_ms=END + HOUR):
    AuditWriter(root).land(*announce("logs", events, at_ms, acked={0: acked}, state="active", drained_to_ms=drained_to_ms))


def marks(root, topic="logs"):
    found = sorted((root / topic).rglob("_SUCCESS"))
    return {file.parent.name: json.loads(file.read_text()) for file in found}


def test_a_complete_hour_gets_a_mark_that_says_what_is_in_it(root, watching):
    say(root)
    watching.round()
    assert marks(root) == {
        "hour=12": {
            "version": 1, "topic": "logs", "hour": "2025-11-23T12:00:00Z", "until": "2025-11-23T13:00:00Z", "state": "complete",
            "agents": 1, "sent": 60, "rejected": 0, "landed": 60, "late": 0, "quarantined": 0, "duplicates": 0,
            "judged": "2025-11-23T15:00:00Z", "table": {"generation": 1, "seq": 0, "attempt": snapshot(root, "logs").attempt},
        },
        "hour=13": {
            "version": 1, "topic": "logs", "hour": "2025-11-23T13:00:00Z", "until": "2025-11-23T14:00:00Z", "state": "complete",
            "agents": 1, "sent": 30, "rejected": 0, "landed": 30, "late": 0, "quarantined": 0, "duplicates": 0,
            "judged": "2025-11-23T15:00:00Z", "table": {"generation": 1, "seq": 0, "attempt": snapshot(root, "logs").attempt},
        },
    }  # fmt: skip


def test_an_hour_whose_agents_are_not_past_its_last_window_has_none_although_all_that_landed_is_complete(root, watching):
    say(root, drained_to_ms=NOON + HOUR + 45 * 60_000)
    watching.round()
    assert list(marks(root)) == ["hour=12"]
    assert watching.why_not_ready() is None


def test_an_hour_that_is_not_over_has_none(root, clock, watching):
    say(root)
    clock.at_ms = END + 4 * 60_000
    watching.round()
    assert list(marks(root)) == ["hour=12"]
    clock.at_ms = END + 6 * 60_000
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]


def test_a_late_line_takes_the_mark_away_until_it_is_announced_and_then_it_is_counted(root, watching):
    say(root)
    watching.round()
    late = Event("a", 90 * 30, NOON + 5 * 60_000, read_ms=END + HOUR + 1)
    TableWriter(root, "logs").land_events([late])
    watching.round()
    assert list(marks(root)) == ["hour=13"]
    say(root, [*EVENTS, late], drained_to_ms=END + 2 * HOUR, acked=91, at_ms=END + 2 * HOUR)
    watching.round()
    assert (marks(root)["hour=12"]["landed"], marks(root)["hour=12"]["late"]) == (61, 1)
    assert marks(root)["hour=12"]["table"]["seq"] == 1
    assert marks(root)["hour=13"]["table"]["seq"] == 0


def test_a_line_that_comes_weeks_late_is_noticed_though_its_hour_is_beyond_the_horizon(root, clock, watching):
    say(root)
    watching.round()
    clock.at_ms = END + 21 * 24 * HOUR
    watching.round()
    late = Event("a", 90 * 30, NOON + 5 * 60_000, read_ms=clock.at_ms)
    TableWriter(root, "logs").land_events([late])
    watching.round()
    assert list(marks(root)) == ["hour=13"]
    say(root, [*EVENTS, late], drained_to_ms=clock.at_ms + 1, acked=91, at_ms=clock.at_ms + 1)
    watching.round()
    assert marks(root)["hour=12"]["landed"] == 61


def test_a_line_that_came_while_nobody_watched_is_noticed_at_the_next_start(root, clock, watching):
    say(root)
    watching.round()
    late = Event("a", 90 * 30, NOON + 5 * 60_000, read_ms=END + HOUR + 1)
    (file,) = TableWriter(root, "logs").land_events([late])
    newer = file.parent.joinpath("_SUCCESS").stat().st_mtime + 5
    os.utime(file, (newer, newer))
    clock.at_ms = END + 21 * 24 * HOUR
    Watching(Audit(root=str(root)), clock).round()
    assert list(marks(root)) == ["hour=13"]


def test_an_hour_that_became_complete_beyond_the_horizon_is_marked_within_an_hour(root, clock, watching):
    """Its agent was silent for weeks, and was retired then."""
    say(root, drained_to_ms=NOON + HOUR + 45 * 60_000)
    watching.round()
    clock.at_ms = END + 21 * 24 * HOUR
    watching.round()
    assert list(marks(root)) == ["hour=12"]
    AuditWriter(root).land((clock.at_ms, RetiredMessage("a", None)))
    clock.at_ms += HOUR + 1
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]


def test_a_mark_that_somebody_took_away_who_then_died_is_put_at_the_next_start_and_within_an_hour(root, clock, watching):
    say(root)
    watching.round()
    clock.at_ms = END + 21 * 24 * HOUR
    watching.round()
    mark = root / "logs" / "dt=2025-11-23" / "hour=12" / "_SUCCESS"
    mark.unlink()
    Watching(Audit(root=str(root)), clock).round()
    assert list(marks(root)) == ["hour=12", "hour=13"]
    mark.unlink()
    clock.at_ms += HOUR + 1
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]


def test_what_is_lost_takes_the_mark_away_and_it_stays_away(root, watching):
    say(root)
    watching.round()
    TableWriter(root, "logs").land(
        [], gaps=(Gap(90, 91, "lost", after_ms=NOON + HOUR + 60_000, before_ms=NOON + HOUR + 120_000),)
    )
    watching.round()
    assert list(marks(root)) == ["hour=12"]


def test_an_hour_whose_files_are_gone_or_not_in_place_yet_has_none(root, watching):
    say(root)
    watching.round()
    TableWriter(root, "logs").land_events([Event("b", 0, NOON + 60_000)], staged=True)
    say(root, [Event("b", 0, NOON + 60_000)], acked=91)
    watching.round()
    assert list(marks(root)) == ["hour=13"]
    table = TableWriter(root, "logs")
    (staged,) = [file.name for file in snapshot(root, "logs").files if "staging" in file.path]
    table.store.move(names.staged(staged), staged)
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]
    assert main(["expire", "--root", str(root), "logs", "--older-than", "1s"]) == 0
    watching.round()
    assert marks(root) == {}


@pytest.mark.parametrize(("lacks", "left"), [("dt=*/hour=12/*.parquet", ["hour=13"]), (names.record_path(1, 0), [])])
def test_what_cannot_be_read_loses_its_marks_an_hour_its_own_and_gets_them_back(root, watching, lacks, left):
    say(root)
    watching.round()
    TableWriter(root, "logs").land([], gaps=(Gap(90, 91, "control"),))
    file = next((root / "logs").glob(lacks))
    file.rename(root / "away")
    watching.round()
    assert list(marks(root)) == left
    (root / "away").rename(file)
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]


def test_an_hour_beyond_the_horizon_loses_its_mark_with_its_file_and_gets_it_back(root, clock, watching):
    say(root)
    watching.round()
    clock.at_ms += 72 * HOUR
    file = next((root / "logs").glob("dt=*/hour=12/*.parquet"))
    file.rename(root / "away")
    watching.round()
    assert list(marks(root)) == ["hour=13"]
    (root / "away").rename(file)
    clock.at_ms += WINDOW_MS
    watching.round()
    assert list(marks(root)) == ["hour=12", "hour=13"]


def test_where_directories_are_no_hours_of_event_time_there_are_none(root, watching):
    class Days(TableWriter):
        def _write(self, attempt, n, rows, schema):
            file = super()._write(attempt, n, rows, schema)
            of_day = dataclasses.replace(file, path=f"dt=2025-11-23/{attempt}-{n}.parquet")
            self.store.move(names.staged(file.path), names.staged(of_day.path))
            return of_day

    Days(root, "days").land_events([Event("b", 0, NOON)])
    say(root)
    say(root, [Event("b", 0, NOON)], acked=1)
    watching.round()
    assert marks(root, "days") == {}


def test_a_store_that_refuses_marks_is_told_of_and_tried_again(root, watching):
    say(root)
    hour = root / "logs" / "dt=2025-11-23" / "hour=12"
    (hour / "_SUCCESS").mkdir()
    watching.round()
    assert watching.why_not_ready().startswith(f"_SUCCESS cannot be kept: {hour / '_SUCCESS'}: ")
    assert watching.why_not_ready().endswith("; let the audit write there, or set audit.success: false")
    assert [topic.state for topic in watching.standing.verdict.topics] == ["complete"]
    (hour / "_SUCCESS").rmdir()
    watching.round()
    assert watching.why_not_ready() is None
    assert "hour=12" in marks(root)


def test_no_reader_of_the_directory_nor_of_the_log_sees_more_or_fewer_rows(root, watching, capsys):
    say(root)
    watching.round()
    assert len(marks(root)) == 2
    directory = root / "logs"
    assert duckdb.sql(f"SELECT count(*) FROM '{directory}/dt=*/hour=*/*.parquet'").fetchall() == [(90,)]
    assert ds.dataset(directory, format="parquet", partitioning="hive").count_rows() == 90
    assert pl.scan_parquet(f"{directory}/dt=*/hour=*/*.parquet").collect().height == 90
    assert main(["check", str(root)]) == 0
    assert main(["check", str(root), "--repair"]) == 0
    assert main(["compact", "--root", str(root), "logs"]) == 0
    assert main(["audit", "--root", str(root), "--wait", "--timeout", "0"]) == 0
    watching.round()
    assert len(marks(root)) == 2


def test_a_root_that_is_not_there_yet_makes_it_wait_and_not_end(tmp_path, clock):
    watching = Watching(Audit(root=str(tmp_path / "later")), clock)
    watching.round()
    assert "no such directory" in watching.why_not_ready()
    (tmp_path / "later").mkdir()
    TableWriter(tmp_path / "later", "logs").land_events(EVENTS)
    say(tmp_path / "later")
    watching.round()
    assert watching.why_not_ready() is None


def test_a_root_that_this_user_may_not_read_is_told_and_does_not_end_it(root, watching):
    root.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root reads everything
        watching.round()
    finally:
        os.seteuid(user)
        root.chmod(0o755)
    assert "Permission denied; let this user read the whole root" in watching.why_not_ready()
    watching.round()
    assert watching.why_not_ready() is None


def test_rounds_in_which_nothing_lands_judge_nothing_again(root, clock, watching):
    say(root)
    watching.round()
    first = watching.standing.verdict.topics
    clock.at_ms += 60_000
    watching.round()
    assert all(one is other for one, other in zip(first, watching.standing.verdict.topics, strict=True))
    clock.at_ms += 600_000
    watching.round()
    assert watching.standing.verdict.topics[0] is not first[0]


def test_a_policy_marks_hours_once_a_silent_agent_is_taken_for_retired_though_nothing_lands(root, clock):
    say(root)
    gone = AgentMessage("gone", "r1", "web-9", "0.1.0", "active", None, {"logs": {}})
    AuditWriter(root).land((END + HOUR, gone))
    watching = Watching(Audit(root=str(root), retire_after="1h"), clock)
    watching.round()
    assert not list(root.rglob("_SUCCESS"))
    clock.at_ms += HOUR + 1
    watching.round()
    marks = [json.loads(path.read_text()) for path in root.rglob("_SUCCESS")]
    assert len(marks) == 2
    assert all(mark["assumed"][0].startswith("assumed retired: agent gone (web-9), silent since") for mark in marks)
