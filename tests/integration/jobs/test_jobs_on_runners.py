"""Every job says the same on every runner, in many pieces and buckets, and each run replaces what the last one has written."""

import os
import shutil
import time
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from headrace.clock import SystemClock
from headrace.errors import PeerError
from headrace.jobs.batch import running, table_scan
from headrace.jobs.batch.catalog import made
from headrace.jobs.batch.compact import compacted
from headrace.jobs.batch.event_rows import Span
from headrace.jobs.batch.exchange import Exchange, Gather
from headrace.jobs.batch.job import IN_PROCESS, Runner
from headrace.jobs.batch.recount import Uncounted, counted
from headrace.jobs.batch.runners import run_pipeline
from headrace.jobs.batch.running import Reading, run_job
from headrace.jobs.batch.steps import built, rows_of, spread
from headrace.sinks.derived.slices import day
from headrace.sinks.derived.table import DerivedTable
from headrace.sinks.table import names
from headrace.sinks.table.reader import snapshot
from headrace.sinks.table.upkeep import SWEEP_UNNAMED_MS
from tests.integration.jobs.dask_cluster import dask_cluster
from tests.integration.jobs.stuck_jobs import Killing
from tests.integration.jobs.test_jobs import CASES, DAY, NOON, bare, faults, made_up, table_rows
from tests.landed_tables import TEXT, Event, TableWriter

pytestmark = pytest.mark.slow

PRISM = Path(__file__).parents[3] / ".peers" / "bin" / "prism"
OPTIONS = {**{name: options for name, (options, _) in CASES.items()}, "recount": {}}
COUNT = {"topic": "logs", "host": "web-1", "hour": None, "events": 1}


@pytest.fixture(scope="module")
def landed(tmp_path_factory):
    """Topics with many small files, and one window that is not what its records say."""
    root = tmp_path_factory.mktemp("runners")
    logs = TableWriter(root, "logs")
    logs.land_events(made_up(300, 1))
    logs.land_events(made_up(200, 2), staged=True)
    logs.land_events([Event("b", 0, NOON)], counted=[Event("b", 0, NOON), Event("b", 30, NOON)])
    TableWriter(root, "orders", TEXT).land([{"_key": None, "value": "{}", "_timestamp": NOON + n * 900_000} for n in range(9)])
    return root


def small(patch):
    patch.setattr(running, "_BUCKET_BYTES", 100_000)
    patch.setattr(table_scan, "PIECE_BYTES", 60_000)


@pytest.fixture(autouse=True)
def in_many_pieces(monkeypatch):
    small(monkeypatch)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.fixture
def runner(request, missing):
    """A runner by its name; `dask at` is one on a cluster that runs already."""
    name = request.param
    if name == "prism" and not PRISM.exists():
        missing("prism", "run make peers")
    if name == "dask at":
        return Runner("dask", (f"--dask_client_address={request.getfixturevalue('address')}",))
    return Runner(name, (f"--prism_location={PRISM}",) if name == "prism" else ())


def in_order(rows):
    return sorted(rows, key=repr)


class Labelled(beam.PTransform):
    """A pipeline among others, whose elements say whose they are."""

    def __init__(self, name, build):
        super().__init__(name)
        self._name, self._build = name, build

    def expand(self, begin):
        return self._build(begin) | beam.Map(labelled, self._name)


def labelled(element, name):
    return [name, element]


def all_at_once(landed, copy, runner=IN_PROCESS):
    """The rows of every job over a day, and what compaction of a copy tells: in one pipeline, for what costs is the start."""
    reading = Reading(landed, (), Span.of_day(DAY), "none", IN_PROCESS, None, writes=False)
    builds = {name: built(*reading.planned(made(name, options), None)) for name, options in OPTIONS.items()}
    tables = reading.tables
    builds["counting"] = spread(
        [Uncounted(str(landed), table.topic, file) for table in tables for file in table.files], counted
    )
    builds["compact"] = spread(made("compact").directories(str(copy), "logs", Span()), compacted)

    def build(pipeline):
        return [pipeline | Labelled(name, each) for name, each in builds.items()] | beam.Flatten()

    found = {name: [] for name in builds}
    for name, element in run_pipeline(build, runner.name, runner.options):
        found[name] += rows_of(element).to_pylist() if name in OPTIONS and isinstance(element, str) else [element]
    return {name: in_order(rows) for name, rows in found.items()}


@pytest.fixture
def copy(landed, tmp_path):
    return shutil.copytree(landed, tmp_path / "landed", ignore=shutil.ignore_patterns("job_*"))


@pytest.fixture(scope="module")
def in_process(landed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in_process")
    with pytest.MonkeyPatch.context() as patch:
        small(patch)
        return all_at_once(landed, shutil.copytree(landed, folder / "landed", ignore=shutil.ignore_patterns("job_*")))


@pytest.mark.parametrize("runner", ["multiprocess", "dask at", "prism"], indirect=True)
def test_every_job_says_on_every_runner_what_it_says_in_this_process(landed, copy, in_process, runner):
    before = bare(copy, "SELECT * FROM t ORDER BY ALL")
    found = all_at_once(landed, copy, runner)
    assert all(found.values())
    assert found == in_process
    assert bare(copy, "SELECT * FROM t ORDER BY ALL") == before
    directories = [file.name.rpartition("/")[0] for file in snapshot(copy, "logs").files]
    assert len(directories) == len(set(directories))
    assert {(row["files_after"], row["overtaken"]) for row in found["compact"]} == {(1, 0)}
    assert len(found["compact"]) > 20
    assert [fault for fault in faults(copy, "logs") if fault != "record 2: the audit counts more rows than land"] == []


@pytest.mark.parametrize(
    ("runner", "name"), [("prism", "recount"), ("dask at", "top"), ("dask", "counts")], indirect=["runner"]
)
def test_a_day_run_again_on_another_runner_is_replaced_by_equal_rows(landed, runner, name):
    first = run_job(made(name, OPTIONS[name]), landed, day(DAY))
    expected = table_rows(landed, first.table)
    outcome = run_job(made(name, OPTIONS[name]), landed, day(DAY), runner=runner)
    assert in_order(table_rows(landed, first.table)) == in_order(expected)
    assert (outcome.replaced, outcome.rows, outcome.inputs) == (first.attempt, first.rows, first.inputs)
    assert expected
    assert not faults(landed, first.table)


@pytest.mark.parametrize("runner", ["multiprocess", "dask at"], indirect=True)
def test_a_worker_killed_in_mid_job_leaves_the_day_as_it_was_or_makes_it_whole(landed, runner, tmp_path):
    root = shutil.copytree(landed, tmp_path / "landed", ignore=shutil.ignore_patterns("job_*"))
    was = run_job(made("counts"), root, day(DAY))
    expected = table_rows(root, "job_counts")
    job = Killing(marker=str(tmp_path / "died"))
    if runner.name == "dask":  # whose scheduler gives the work to another
        assert run_job(job, root, day(DAY), runner=runner).replaced == was.attempt
    else:
        with pytest.raises(PeerError, match="counts: a worker has died"):
            run_job(job, root, day(DAY), runner=runner)
        assert snapshot(root, "job_counts").slices[f"dt={DAY}"].attempt == was.attempt
        run_job(job, root, day(DAY), runner=runner)
    assert job.marker in map(str, tmp_path.iterdir())
    assert in_order(table_rows(root, "job_counts")) == in_order(expected)
    assert not faults(root, "job_counts")


def test_what_dead_runs_have_left_is_swept_by_a_later_one(landed, tmp_path):
    root = shutil.copytree(landed, tmp_path / "landed", ignore=shutil.ignore_patterns("job_*"))
    run_job(made("counts"), root, day(DAY))
    uncommitted = DerivedTable(root, "job_counts", SystemClock()).begin(day(DAY), made("counts").schema)
    uncommitted.staging.write([made("counts").schema.empty_table(), pa.Table.from_pylist([COUNT], made("counts").schema)])
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:  # for a driver that does not come for it
        _ = pipeline | beam.Create([1, 2]) | Gather(Exchange.below(root, "job_counts"))
    staging = root / "job_counts" / names.STAGING
    left = [path for path in staging.rglob("*") if path.is_file()]
    assert [path.suffix for path in sorted(left)] == [".parquet", ".jsonl"]
    for path, age_ms in zip(left, (SWEEP_UNNAMED_MS + 60_000, SWEEP_UNNAMED_MS - 60_000), strict=True):
        os.utime(path, (time.time() - age_ms / 1000,) * 2)
    run_job(made("counts"), root, day(DAY))
    assert [path for path in staging.rglob("*") if path.is_file()] == left[1:]
    os.utime(left[1], (time.time() - SWEEP_UNNAMED_MS / 1000,) * 2)
    run_job(made("counts"), root, day(DAY))
    assert [path for path in staging.rglob("*") if path.is_file()] == []
