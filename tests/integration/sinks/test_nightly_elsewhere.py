"""Nights over tables on S3, where no lock keeps two from working at once: the tables' logs let one of them win.

And the CronJob's command, as its manifest has it: the configuration where it is mounted, credentials from the environment,
and nothing that can be written but /tmp. (A mount namespace stands in for the pod, for want of a cluster.)
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

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


def landed(url: str, folder: Path, midnight: datetime, days: tuple[int, ...]) -> None:
    """Thirty events of each of the days that many ago, of two hosts, landed and announced."""
    today_ms = int(midnight.timestamp() * 1000)
    events = [
        Event("a", n, today_ms - ago * DAY_MS + n * 60_000, host=HOSTS[n % 2])
        for ago in days for n in range((days[0] - ago) * 30, (days[0] - ago) * 30 + 30)
    ]  # fmt: skip
    TableWriter(folder, "logs").land_events(events)
    AuditWriter(folder).land(*announce("logs", events, today_ms, acked={0: len(events) - 1}))
    for table in ("logs", "_audit"):
        put(folder, url, table)


def this_midnight() -> datetime:
    let_midnight_pass()
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.mark.slow
def test_two_nights_at_once_leave_one_output_of_each_day_on_s3(new_root: Callable[[str], str], tmp_path: Path) -> None:
    midnight, days, url = this_midnight(), (2, 1), new_root("versitygw")
    landed(url, tmp_path, midnight, days)
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


MANIFESTS = Path(__file__).parents[3] / "deploy" / "nightly" / "kubernetes"
_POD = """
set -e
mount --bind "$1" /etc
mount --bind /tmp /tmp
mount -o remount,bind,ro /
shift
cd /
exec "$@"
"""


@pytest.mark.slow
def test_the_command_of_the_cron_job_runs_the_nights_that_are_due(
    new_root: Callable[[str], str], missing: Callable[[str, str], NoReturn], tmp_path: Path
) -> None:
    midnight, days, url = this_midnight(), (2, 1), new_root("versitygw")
    landed(url, tmp_path, midnight, days)
    unshare = shutil.which("unshare") or missing("util-linux", "apt-get install util-linux")
    if os.getuid():
        pytest.skip("mounts of a process's own need root")

    pod = yaml.safe_load((MANIFESTS / "cronjob.yaml").read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"config": "/etc/headrace", "tmp": "/tmp"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    etc = shutil.copytree("/etc", tmp_path / "etc", symlinks=True, ignore_dangling_symlinks=True)
    (etc / "headrace").mkdir()
    config = (MANIFESTS / "nightly.yaml").read_text()
    assert config.count("root: s3://logs/landed\n") == 1
    (etc / "headrace" / "nightly.yaml").write_text(config.replace("s3://logs/landed", f"{url}\n  catch_up: 2"))

    secret = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    environment = {**secret, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [unshare, "--mount", "sh", "-c", _POD, "pod", str(etc), sys.executable, "-m", "headrace", *container["args"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    told = [line.split()[:4] for line in done.stdout.splitlines()[1:]]
    dates = [str((midnight - timedelta(days=ago)).date()) for ago in days]
    assert told[:-1] == [[date, job, "ran", "complete"] for date in dates for job in ("counts", "errors")], done.stderr
    assert done.returncode == 0
    assert Counter(row["dt"] for row in rows(url, "job_counts") if row["events"] == 15) == dict.fromkeys(dates, 2)
