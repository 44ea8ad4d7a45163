"""`headrace nightly`, real processes: days that are late, missing, repeated; killed anywhere; two at once."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from headrace.audit import AUDIT_TOPIC, AgentMessage, SentMessage, window_start_ms
from headrace.sinks.check import check_root
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from tests.integration.sinks.pipeline import AGENT, Line, Pipeline, lines
from tests.landed_tables import AuditWriter, Event, TableWriter, announce

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


@pytest.fixture(autouse=True)
def no_midnight() -> None:
    """What is yesterday must be so until the end of the test."""
    now = datetime.now(UTC)
    if now.hour == 23 and now.minute >= 55:
        time.sleep((60 - now.minute) * 60)


def ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def begins_ms(on: date) -> int:
    return int(datetime(on.year, on.month, on.day, tzinfo=UTC).timestamp() * 1000)


@dataclass
class Nights:
    """The configuration of nights, and what they say."""

    root: Path
    folder: Path
    keys: dict[str, Any]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        file = self.folder / "nightly.yaml"
        nightly = {
            "root": str(self.root),
            "after": "00:00",
            "wait": "1s",
            "catch_up": 3,
            "jobs": [{"job": "counts"}],
            **self.keys,
        }
        file.write_text(yaml.safe_dump({"nightly": nightly}))
        words = list(arguments)
        command = [sys.executable, "-m", "headrace", "nightly", *words, "--config", str(file), "--format", "json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: str, status: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
        """Run one to its end; its entries by day and job."""
        night = self.start(*arguments)
        out, self.said = night.communicate(timeout=120)
        assert night.returncode == status, self.said
        return {(entry["day"], entry["job"]): entry for entry in map(json.loads, out.splitlines())}

    @property
    def last_line(self) -> str:
        return self.said.splitlines()[-1]


def counted(root: Path, table: str = "job_counts") -> dict[str, int]:
    """Events of each day, as the job has counted them."""
    found: dict[str, int] = {}
    for file in snapshot(root, table).files:
        found[file.dt] = found.get(file.dt, 0) + sum(pq.ParquetFile(file.path).read()["events"].to_pylist())
    return found


def replaced(root: Path, table: str = "job_counts") -> list[str]:
    """The slice of each record of a job's table."""
    records = sorted((root / table / names.log_directory(1)).glob("*.json"))
    return [json.loads(record.read_text())["slice"].removeprefix("dt=") for record in records]


def said_of(pipeline: Pipeline, sent: Sequence[Line], end: int, drained_to_ms: int) -> None:
    """What an agent says once it has sent these, the last to the offset before `end`."""
    windows: dict[int, list[Line]] = {}
    for line in sent:
        windows.setdefault(window_start_ms(line.event_time_ms), []).append(line)
    acked = {0: end - 1}
    messages: list[AgentMessage | SentMessage] = [
        SentMessage("logs", AGENT, "r", start, len(them), sum(len(one.message.encode()) for one in them),
                    sum(one.hash for one in them) % (1 << 64), acked)
        for start, them in windows.items()
    ]  # fmt: skip
    messages.append(AgentMessage(AGENT, "r", "web-1", "0.1.0", "active", drained_to_ms, {"logs": acked}))
    for message in messages:
        pipeline.produce(AUDIT_TOPIC, [message.encode()], key=message.key.encode())


def test_a_day_waits_for_what_is_missing_counts_nothing_twice_and_is_run_again_for_what_is_late(tmp_path: Path) -> None:
    day = ago(1)
    noon_ms = begins_ms(day) + DAY_MS // 2
    every = [
        Line(one.position, one.since, one.message, event_time_ms=noon_ms + n * MINUTE_MS) for n, one in enumerate(lines(45))
    ]
    today_ms = begins_ms(ago(0))
    with Pipeline(tmp_path) as pipeline:
        pipeline.create_topic("logs")
        pipeline.create_topic(AUDIT_TOPIC, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
        nights = Nights(pipeline.root, tmp_path, {"catch_up": 1, "metrics": str(tmp_path / "nightly.prom")})
        pipeline.ship("logs", every[:30])
        said_of(pipeline, every[:40], 50, today_ms + 10 * MINUTE_MS)
        pipeline.load_once()
        held = nights.run(status=4)[str(day), "counts"]
        assert (held["outcome"], held["verdict"], held["attempt"]) == ("held", "unknown", None)
        assert f"headrace audit --root {pipeline.root} --since {day}" in nights.last_line
        assert not (pipeline.root / "job_counts").exists()
        assert "headrace_nightly_exit_status 4" in (tmp_path / "nightly.prom").read_text()

        pipeline.ship("logs", every[20:40])  # ten of them again
        pipeline.load_once()
        ran = nights.run()[str(day), "counts"]
        assert (ran["outcome"], ran["verdict"], ran["why"]) == ("ran", "complete", "missing")
        assert counted(pipeline.root) == {str(day): 40}
        owner = snapshot(pipeline.root, "job_counts").slices[f"dt={day}"]
        assert owner.job.gate is not None
        assert owner.job.gate["state"] == "complete"

        pipeline.ship("logs", every[40:])
        said_of(pipeline, every, 55, today_ms + 20 * MINUTE_MS)
        due = nights.run("status")[str(day), "counts"]
        assert due["outcome"] in ("done", "due")  # as far as it has landed
        pipeline.load_once()
        again = nights.run()[str(day), "counts"]
        assert (again["outcome"], again["why"]) == ("ran", "changed")
        assert counted(pipeline.root) == {str(day): 45}
        assert replaced(pipeline.root) == [str(day)] * 2
        assert nights.run()[str(day), "counts"]["outcome"] == "done"
        assert "nothing is to be done" in nights.last_line
        assert "headrace_nightly_exit_status 0" in (tmp_path / "nightly.prom").read_text()
        pipeline.assert_sound()


@contextmanager
def landed(root: Path, *, days: int = 3, missing: int = 0) -> Iterator[list[Event]]:
    """A table of some days, of the newest of which so many events were sent and have not landed; announced."""
    every = [
        Event("a", n, begins_ms(ago(1 + n % days)) + n * MINUTE_MS, host=f"web-{n % 4}")
        for n in range(60)
    ]  # fmt: skip
    TableWriter(root, "logs").land_events(every[: len(every) - missing])
    AuditWriter(root).land(*announce("logs", every, begins_ms(ago(0)), acked={0: len(every) - missing - 1}))
    yield every


JOBS = [{"job": "counts"}, {"job": "sessions", "options": {"gap": "5m"}, "into": "visits"}]


def test_missed_days_are_caught_up_the_oldest_first_and_a_killed_night_goes_on_where_it_was(tmp_path: Path) -> None:
    rng = random.Random(23)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        root.mkdir()
        with landed(root):
            pass
    clean = Nights(whole, whole, {"jobs": JOBS})
    began_s = time.monotonic()
    entries = clean.run()
    took_s = time.monotonic() - began_s
    assert [(day, entry["outcome"]) for (day, _), entry in entries.items()] == [
        (str(ago(days)), "ran") for days in (3, 2, 1) for _ in JOBS
    ]
    assert replaced(whole) == [str(ago(days)) for days in (3, 2, 1)]
    nights = Nights(killed, killed, {"jobs": JOBS})
    for _ in range(3):
        night = nights.start()
        time.sleep(rng.uniform(took_s * 0.4, took_s))
        night.kill()
        night.communicate()
    nights.run()
    assert all(entry["outcome"] == "done" for entry in nights.run().values())
    assert counted(killed) == counted(whole) == {str(ago(days)): 20 for days in (1, 2, 3)}
    assert rows(killed, "visits") == rows(whole, "visits")
    assert sorted(replaced(killed)) == sorted(set(replaced(killed))), "no day was run twice"
    assert [report.broken for report in check_root(str(killed), deep=False)] == [[]] * 4


def rows(root: Path, table: str) -> list[str]:
    """The rows of a job's table, by day."""
    return sorted(
        json.dumps([file.dt, row], default=str)
        for file in snapshot(root, table).files
        for row in pq.ParquetFile(file.path).read().to_pylist()
    )


def test_of_two_nights_at_once_each_day_is_run_by_one(tmp_path: Path) -> None:
    with landed(tmp_path):
        nights = Nights(tmp_path, tmp_path, {})
        both = [nights.start(), nights.start()]
        told = [night.communicate(timeout=120) for night in both]
        assert [night.returncode for night in both] == [0, 0], told
    outcomes = [[json.loads(line)["outcome"] for line in out.splitlines()] for out, _ in told]
    assert sum(each.count("ran") for each in outcomes) == 3
    assert sorted(replaced(tmp_path)) == [str(ago(days)) for days in (3, 2, 1)]
    assert counted(tmp_path) == {str(ago(days)): 20 for days in (1, 2, 3)}


def test_an_incomplete_day_goes_by_the_configuration_and_holds_up_no_other(tmp_path: Path) -> None:
    with landed(tmp_path, missing=1):
        nights = Nights(tmp_path, tmp_path, {})
        held = nights.run(status=3)
        incomplete = next(day for (day, _), entry in held.items() if entry["outcome"] == "held")
        assert sorted(entry["outcome"] for entry in held.values()) == ["held", "ran", "ran"]
        assert f"--day {incomplete} --job counts --force" in nights.last_line
        nights.keys["on_incomplete"] = "skip"
        assert nights.run()[incomplete, "counts"]["outcome"] == "skipped"
        nights.keys["on_incomplete"] = "fail"
        assert nights.run(status=1)[incomplete, "counts"]["outcome"] == "failed"
        nights.keys["on_incomplete"] = "hold"
        forced = nights.run("run", "--day", incomplete, "--force")
        assert [(entry["outcome"], entry["verdict"], entry["why"]) for entry in forced.values()] == [
            ("ran", "incomplete", "missing")
        ]
        assert counted(tmp_path)[incomplete] == 19
    gate = snapshot(tmp_path, "job_counts").slices[f"dt={incomplete}"].job.gate
    assert gate is not None
    assert gate["state"] == "incomplete"
    assert nights.run()[incomplete, "counts"]["outcome"] == "done"


def test_a_job_that_fails_is_tried_again_and_keeps_no_other_from_being_run(tmp_path: Path) -> None:
    with landed(tmp_path):
        keys = {"jobs": [{"job": "sessions", "into": "logs"}, *JOBS], "retry_after": "10ms", "retries": 1}
        nights = Nights(tmp_path, tmp_path, keys)
        told = nights.run(status=2)
        assert told == {}
        assert "landed from a topic" in nights.said
        keys["jobs"] = [{"job": "tests.e2e.failing_job:Failing"}, {"job": "counts"}]
        told = nights.run(status=1)
        assert {entry["outcome"] for (_, job), entry in told.items() if job == "counts"} == {"ran"}
        failed = [entry for (_, job), entry in told.items() if job != "counts"]
        assert [(entry["outcome"], entry["tries"]) for entry in failed] == [("failed", 2)] * 3
        assert "it always fails" in failed[0]["why"]
        assert nights.last_line.startswith("headrace nightly: 3 failed; mend it (")
