"""Nights over tables on S3, where no lock keeps two from working at once: the tables' logs let one of them win."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.sinks.check import check_root
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.store import Store
from tests.landed_tables import AuditWriter, Event, TableWriter, announce
from tests.nights import Nights, let_midnight_pass, rows

DAY_MS = 86_400_000
HOSTS = ("web-1", "web-2")


def put(folder: Path, url: str, table: str) -> None:
    """A table of the local disk, put elsewhere."""
    store: Store = open_root(url).table(table)
    for path in sorted((folder / table).rglob("*")):
        if path.is_file():
            file = store.create(str(path.relative_to(folder / table)))
            file.write(path.read_bytes())
            file.finish()


@pytest.mark.slow
def test_two_nights_at_once_leave_one_output_of_each_day_on_s3(new_root: Callable[[str], str], tmp_path: Path) -> None:
    let_midnight_pass()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    today_ms, days = int(midnight.timestamp() * 1000), (2, 1)
    events = [
        Event("a", n, today_ms - ago * DAY_MS + n * 60_000, host=HOSTS[n % 2])
        for ago in days for n in range((days[0] - ago) * 30, (days[0] - ago) * 30 + 30)
    ]  # fmt: skip
    TableWriter(tmp_path, "logs").land_events(events)
    AuditWriter(tmp_path).land(*announce("logs", events, today_ms, acked={0: len(events) - 1}))
    url = new_root("versitygw")
    for table in ("logs", "_audit"):
        put(tmp_path, url, table)

    nights = Nights(url, tmp_path, {"catch_up": len(days)})
    both = [nights.start(), nights.start()]
    told = [night.communicate(timeout=120) for night in both]
    assert [night.returncode for night in both] == [0, 0], told
    outcomes = [json.loads(line)["outcome"] for out, _ in told for line in out.splitlines()]
    assert set(outcomes) <= {"ran", "done"}
    assert len(outcomes) == 2 * len(days)
    assert outcomes.count("ran") >= len(days)

    expected = Counter(
        (str((midnight - timedelta(days=ago)).date()), host) for ago in days for host in HOSTS for _ in range(15)
    )  # fmt: skip
    found: Counter[tuple[str, str]] = Counter()
    for row in rows(url, "job_counts"):
        found[row["dt"], row["host"]] += row["events"]
    assert found == expected
    assert [report.broken for report in check_root(url, deep=False)] == [[]] * 3
    assert {entry["outcome"] for entry in nights.run("status").values()} == {"done"}
