"""Days of a zone whose midnight lies within a file's hour: late rows of one day run the day beside it again, to equal rows."""

from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

from headrace.clock import SystemClock
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.running import run_job
from headrace.jobs.nightly import plan
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.derived.slices import day, input_of
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.table.reader import snapshot
from tests.integration.jobs.test_jobs import table_rows
from tests.landed_tables import Event, TableWriter

ZONE, MINUTE_MS = "Asia/Kolkata", 60_000
DAYS = ("2025-11-22", "2025-11-23")
MIDNIGHT_MS = int(datetime(2025, 11, 23, tzinfo=ZoneInfo(ZONE)).timestamp() * 1000)


def events(*minutes, agent="a"):
    """Events so many minutes from midnight."""
    return [Event(agent, n, MIDNIGHT_MS + at * MINUTE_MS) for n, at in enumerate(minutes)]


def standings(root):
    owners = DerivedTable(root, "job_counts", SystemClock()).owners
    return [plan.compare(owners.get(f"dt={on}"), [input_of(snapshot(root, "logs"), day(on, ZONE))]) for on in DAYS]


def counted(root, on):
    return {row["hour"].isoformat(): row["events"] for row in table_rows(root, "job_counts", on)}


def expected(landed, on):
    """By Python: the UTC hours of events whose date in the zone it is."""
    times = [datetime.fromtimestamp(event.event_ms / 1000, ZoneInfo(ZONE)) for event in landed]
    hours = [at.astimezone(ZoneInfo("UTC")).replace(minute=0) for at in times if str(at.date()) == on]
    return {at.isoformat(): count for at, count in Counter(hours).items()}


def test_late_rows_of_a_day_run_again_the_other_day_of_their_file_and_change_nothing_of_it(tmp_path):
    logs, job = TableWriter(tmp_path, "logs"), made("counts")
    landed = events(-600, -20, -10, 10, 20, 700)
    logs.land_events(landed)
    assert len([file for file in snapshot(tmp_path, "logs").files if file.name.startswith("dt=2025-11-22/hour=18")]) == 1
    for on in DAYS:
        run_job(job, tmp_path, day(on, ZONE))
    assert standings(tmp_path) == ["done", "done"]
    first = counted(tmp_path, DAYS[0])
    late = events(5, 6, agent="b")
    logs.land_events(late)
    assert standings(tmp_path) == ["done", "changed"], "the late rows have a file of their own"
    compact_table(tmp_path, "logs", Limits(1 << 20, 3_600_000), SystemClock(), progress=lambda _: None)
    assert standings(tmp_path) == ["changed", "changed"], "now they share one with rows of the first day"
    for on in DAYS:
        run_job(job, tmp_path, day(on, ZONE))
        assert counted(tmp_path, on) == expected([*landed, *late], on)
    assert counted(tmp_path, DAYS[0]) == first
    assert standings(tmp_path) == ["done", "done"]
