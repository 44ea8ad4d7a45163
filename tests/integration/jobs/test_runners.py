"""One pipeline on every runner: equal results, errors in one line, servers on loopback, nothing left however a run ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import StorageError, UsageError
from headrace.jobs.batch.exchange import Exchange
from headrace.jobs.batch.runners import run_pipeline
from tests.integration.jobs import runner_jobs
from tests.waiting import until

PRISM = Path(__file__).parents[3] / ".peers" / "bin" / "prism"


@pytest.fixture
def options_of(missing):
    """The options that a runner needs here."""

    def options(name):
        if name == "prism" and not PRISM.exists():
            missing("prism", "run make peers")
        return [f"--prism_location={PRISM}"] if name == "prism" else []

    return options


@pytest.mark.parametrize("runner", ["inprocess", "multiprocess", "portable", "prism", "BundleBasedDirectRunner"])
def test_a_pipeline_yields_the_same_on_every_runner_and_a_worker_s_error_is_one_line(
    runner, options_of, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = run_pipeline(runner_jobs.sums, runner, options_of(runner))
    assert sorted(found, key=lambda row: row["key"]) == runner_jobs.EXPECTED
    with pytest.raises(StorageError) as told:
        run_pipeline(runner_jobs.refused, runner, options_of(runner), label="counts")
    assert str(told.value) == "counts: /landed: it is away; bring it back"
    warned = "prism listens on all addresses" if runner == "prism" else ""
    out, error = capfd.readouterr()
    assert (out, error[: len(warned)], error.count("\n")) == ("", warned, 2 if warned else 0)
    assert list(tmp_path.iterdir()) == []


def test_a_leaf_without_elements_is_no_missing_result_and_an_exchange_is_left_as_it_was_found(tmp_path):
    assert run_pipeline(runner_jobs.nothing, exchange=Exchange.below(tmp_path, "derived")) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_results_that_workers_left_elsewhere_are_missed_and_not_taken_for_none(tmp_path):
    exchange = Exchange.below(tmp_path, "derived")
    with pytest.raises(StorageError, match="the workers' results are not there; let workers and driver share that place"):
        exchange.read()


@pytest.mark.parametrize(
    ("runner", "options", "said"),
    [
        ("Nope", [], "--runner Nope: there is no such runner"),
        ("inprocess", ["--direct_num_worker=3"], "--runner inprocess: Beam has no option --direct_num_worker; see"),
        ("multiprocess", ["--direct_num_workers=three"], "argument --direct_num_workers: invalid int value"),
        ("dask", ["--dask_client_address=tcp://127.0.0.1:1", "--dask_connection_timeout=1"], "--runner dask: tcp://127.0"),
        ("prism", ["--prism_location=/nowhere/prism"], "--runner prism: no program /nowhere/prism; go install "),
        ("flink", [], "--runner flink: no job server; name its jar with --flink_job_server_jar=FILE"),
        ("spark", ["--spark_job_server_jar=/nowhere.jar"], "--runner spark: no job server; name its jar"),
    ],
)  # fmt: skip
def test_what_a_runner_lacks_is_told_before_anything_runs(runner, options, said, capfd):
    with pytest.raises(UsageError) as told:
        run_pipeline(runner_jobs.sums, runner, options)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["flink", "spark"])
def test_a_pipeline_runs_on_a_job_server_whose_jar_is_given(name, missing):
    jar = os.environ.get(f"HEADRACE_{name.upper()}_JOB_SERVER_JAR")
    if not jar:
        missing(name, f"name Beam's job server for it with HEADRACE_{name.upper()}_JOB_SERVER_JAR=FILE")
    found = run_pipeline(runner_jobs.sums, name, [f"--{name}_job_server_jar={jar}"])
    assert sorted(found, key=lambda row: row["key"]) == runner_jobs.EXPECTED


_DRIVE = (
    "import logging, sys; logging.basicConfig(level=logging.ERROR);"
    "from tests.integration.jobs.runner_jobs import drive; drive(*sys.argv[1:])"
)


class Driver:
    """A process that runs a pipeline which does not end; its workers are at work."""

    def __init__(self, folder, runner, options):
        self.temporary, self.begun = folder / "tmp", folder / "begun"
        self.temporary.mkdir()
        self.begun.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVE, self.begun, runner, *options],
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        until(lambda: list(self.begun.iterdir()) or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.stderr.read().decode()

    def processes(self):
        """The driver and all that it started, but for the janitor."""
        return [process for process in _processes() if b"TMPDIR=" + str(self.temporary).encode() in _environment(process)]

    def end(self):
        """Wait until nothing is left of the run: what the driver said."""
        said = self.process.communicate(timeout=60)[1].decode()
        until(lambda: not self.processes() and not list(self.temporary.iterdir()), timeout_s=20)
        return said


@pytest.mark.parametrize("runner", ["multiprocess", "portable", "prism", "dask"])
def test_servers_of_a_run_listen_on_loopback_and_nothing_of_it_outlives_kill_9(runner, options_of, tmp_path):
    driver = Driver(tmp_path, runner, options_of(runner))
    listening = {address for process in driver.processes() for address in _listening(process)}
    assert listening
    if runner != "prism":  # whose program decides otherwise, and which is told
        assert {address for address in listening if not _is_loopback(address)} == set()
    driver.process.kill()
    driver.end()


@pytest.mark.parametrize("runner", ["inprocess", "multiprocess", "portable"])
def test_ctrl_c_stops_a_run(runner, tmp_path):
    driver = Driver(tmp_path, runner, [])
    os.killpg(driver.process.pid, signal.SIGINT)
    said = driver.end()
    assert driver.process.returncode == 130
    assert said == ""


def _processes():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(process):
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def _listening(process):
    """The addresses, in hexadecimal, on which a process listens."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        try:
            inodes.add(os.readlink(descriptor))
        except OSError:
            continue
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                yield fields[1].rpartition(":")[0]


def _is_loopback(address):
    return address in ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
