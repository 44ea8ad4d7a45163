"""`headrace nightly`, real processes: missed days; killed anywhere; two at once; jobs that fail."""

import fcntl
import json
import random
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from headrace.sinks.check import check_root
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.landed_tables import AuditWriter, Event, TableWriter, announce
from tests.nights import Nights, counted, let_midnight_pass, replaced, rows

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@pytest.fixture(autouse=True)
def no_midnight() -> None:
    let_midnight_pass()


def ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def begins_ms(on: date) -> int:
    return int(datetime(on.year, on.month, on.day, tzinfo=UTC).timestamp() * 1000)


def landed(root: Path, *, days: int = 3, missing: int = 0) -> None:
    """A table of some days, of the newest of which so many events were sent and have not landed; announced."""
    every = [
        Event("a", n, begins_ms(ago(1 + n % days)) + n * MINUTE_MS, host=f"web-{n % 4}")
        for n in range(60)
    ]  # fmt: skip
    TableWriter(root, "logs").land_events(every[: len(every) - missing])
    AuditWriter(root).land(*announce("logs", every, begins_ms(ago(0)), acked={0: len(every) - missing - 1}))


JOBS = [{"job": "counts"}, {"job": "sessions", "options": {"gap": "5m"}, "into": "visits"}]


@pytest.mark.slow
def test_missed_days_are_caught_up_the_oldest_first_and_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = random.Random(23)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        root.mkdir()
        landed(root)
    clean = Nights(whole, whole, {"jobs": JOBS})
    began_s = time.monotonic()
    entries = clean.run()
    took_s = time.monotonic() - began_s
    assert [(day, entry["outcome"]) for (day, _), entry in entries.items()] == [
        (str(ago(days)), "ran") for days in (3, 2, 1) for _ in JOBS
    ]
    assert replaced(whole) == [str(ago(days)) for days in (3, 2, 1)]
    nights = Nights(killed, killed, {"jobs": JOBS})
    for _ in range(2):
        night = nights.start()
        time.sleep(rng.uniform(took_s * 0.4, took_s))
        night.kill()
        night.communicate()
    nights.run()
    assert all(entry["outcome"] == "done" for entry in nights.run().values())
    assert counted(killed) == counted(whole) == {str(ago(days)): 20 for days in (1, 2, 3)}
    assert sorted(rows(killed, "visits"), key=str) == sorted(rows(whole, "visits"), key=str)
    assert sorted(replaced(killed)) == sorted(set(replaced(killed))), "no day was run twice"
    assert [report.broken for report in check_root(str(killed), deep=False)] == [[]] * 4


@pytest.mark.slow
def test_of_two_nights_at_once_each_day_is_run_by_one(tmp_path: Path) -> None:
    landed(tmp_path)
    nights = Nights(tmp_path, tmp_path, {})
    both = [nights.start(), nights.start()]
    told = [night.communicate(timeout=120) for night in both]
    assert [night.returncode for night in both] == [0, 0], told
    outcomes = [[json.loads(line)["outcome"] for line in out.splitlines()] for out, _ in told]
    assert sum(each.count("ran") for each in outcomes) == 3
    assert sorted(replaced(tmp_path)) == [str(ago(days)) for days in (3, 2, 1)]
    assert counted(tmp_path) == {str(ago(days)): 20 for days in (1, 2, 3)}


@pytest.mark.slow
def test_days_of_a_table_that_another_night_is_at_are_counted_apart_and_left_to_it(tmp_path: Path) -> None:
    landed(tmp_path)
    (tmp_path / "_nightly").mkdir()
    nights = Nights(tmp_path, tmp_path, {})
    with (tmp_path / "_nightly" / "job_counts.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        left = nights.run(status=0)
    assert [entry["outcome"] for entry in left.values()] == ["busy"] * 3
    assert nights.last_line.startswith("headrace nightly: 0 ran, 3 left to another night (how they stand: ")


@pytest.mark.slow
def test_status_is_0_however_days_stand_and_1_where_that_cannot_be_found_out(tmp_path: Path) -> None:
    landed(tmp_path, missing=1)
    nights = Nights(tmp_path, tmp_path, {})
    assert {entry["outcome"] for entry in nights.run("status", status=0).values()} == {"due"}
    for record in (tmp_path / "logs" / names.LOG).rglob("*.json"):
        record.write_bytes(b"{")
    assert {entry["outcome"] for entry in nights.run("status", status=1).values()} == {"failed"}
    assert "1 failed; mend it (" in nights.last_line


@pytest.mark.slow
def test_an_incomplete_day_goes_by_the_configuration_and_holds_up_no_other(tmp_path: Path) -> None:
    landed(tmp_path, missing=1)
    nights = Nights(tmp_path, tmp_path, {})
    held = nights.run(status=3)
    incomplete = next(day for (day, _), entry in held.items() if entry["outcome"] == "held")
    assert sorted(entry["outcome"] for entry in held.values()) == ["held", "ran", "ran"]
    assert f"--day {incomplete} --job job_counts --force" in nights.last_line
    nights.keys["on_incomplete"] = "skip"
    assert nights.run()[incomplete, "job_counts"]["outcome"] == "skipped"
    nights.keys["on_incomplete"] = "fail"
    assert nights.run(status=1)[incomplete, "job_counts"]["outcome"] == "failed"
    nights.keys["on_incomplete"] = "hold"
    forced = nights.run("run", "--day", incomplete, "--force")
    assert [(entry["outcome"], entry["verdict"], entry["why"]) for entry in forced.values()] == [
        ("ran", "incomplete", "missing")
    ]
    assert nights.last_line == f"headrace nightly: 1 ran, 1 of them though not complete ({incomplete} counts: incomplete)"
    assert counted(tmp_path)[incomplete] == 19
    gate = snapshot(tmp_path, "job_counts").slices[f"dt={incomplete}"].job.gate
    assert gate is not None
    assert gate["state"] == "incomplete"
    assert nights.run()[incomplete, "job_counts"]["outcome"] == "done"


@pytest.mark.slow
def test_a_job_that_fails_is_tried_again_and_keeps_no_other_from_being_run(tmp_path: Path) -> None:
    landed(tmp_path)
    keys = {"jobs": [{"job": "sessions", "into": "logs"}, *JOBS], "retry_after": "10ms", "retries": 1, "catch_up": 1}
    nights = Nights(tmp_path, tmp_path, keys)
    told = nights.run(status=2)
    assert told == {}
    assert "landed from a topic" in nights.said
    keys["jobs"] = [{"job": "tests.e2e.failing_job:Failing"}, {"job": "counts"}]
    told = nights.run(status=1)
    assert {entry["outcome"] for entry in told.values() if entry["job"] == "counts"} == {"ran"}
    failed = [entry for entry in told.values() if entry["job"] != "counts"]
    assert [(entry["outcome"], entry["tries"]) for entry in failed] == [("failed", 2)]
    assert "it always fails" in failed[0]["why"]
    assert nights.last_line.startswith("headrace nightly: 1 failed; mend it (")
