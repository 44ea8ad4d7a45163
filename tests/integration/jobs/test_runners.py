"""Whatever the runner: errors in one line, servers on loopback, and nothing is left however a run ends."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headrace.errors import HeadraceError, PeerError, StorageError, UsageError
from headrace.jobs.batch.exchange import Exchange
from headrace.jobs.batch.runners import run_pipeline
from tests.integration.jobs import runner_jobs
from tests.landed_tables import Event, TableWriter
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


def _said(capfd):
    """Standard output, and the lines of standard error but those of Kafka clients that other tests have left here."""
    out, error = capfd.readouterr()
    return out, [line for line in error.splitlines() if "|rdkafka#" not in line]


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inprocess", "multiprocess", "portable", "prism", "BundleBasedDirectRunner"])
def test_a_worker_s_error_is_one_line(runner, options_of, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StorageError) as told:
        run_pipeline(runner_jobs.refused, runner, options_of(runner), label="counts")
    assert str(told.value) == "counts: /landed: it is away; bring it back"
    warned = "prism listens on all addresses" if runner == "prism" else ""
    out, lines = _said(capfd)
    assert (out, [line[: len(warned)] for line in lines]) == ("", [warned] if warned else [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("runner", ["portable", "BundleBasedDirectRunner"])
def test_a_pipeline_yields_the_same_on_the_other_runners(runner):
    found = run_pipeline(runner_jobs.sums, runner)
    assert sorted(found, key=lambda row: row["key"]) == runner_jobs.EXPECTED


@pytest.mark.parametrize("runner", ["inprocess", "portable", "prism"])
def test_windows_and_side_inputs_mean_what_beam_says(runner, options_of):
    assert sorted(run_pipeline(runner_jobs.windows_and_sides, runner, options_of(runner))) == [103, 161]


def test_a_worker_that_dies_before_it_has_begun_fails_the_run(capfd):
    def kill():
        until(lambda: _workers())
        while workers := _workers():
            for worker in workers:
                os.kill(worker, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(PeerError, match="job: a worker has died, maybe"):
        run_pipeline(runner_jobs.sums, "multiprocess")
    killing.join()
    assert _said(capfd) == ("", [])


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
        ("dask", ["--dask_client_address=127.0.0.1"], "--runner dask: 127.0.0.1: "),
        ("prism", ["--prism_location=/nowhere/prism"], "--runner prism: no program /nowhere/prism; go install "),
        ("flink", [], "--runner flink: no job server; get org.apache.beam:beam-runners-flink-2.2-job-server:2."),
        ("flink", ["--flink_version=1.20"], "beam-runners-flink-1.20-job-server:2."),
        ("spark", ["--spark_job_server_jar=/no.jar"], "no job server /no.jar; get org.apache.beam:beam-runners-spark-3-job-"),
    ],
)  # fmt: skip
def test_what_a_runner_lacks_is_told_before_anything_runs(runner, options, said, capfd):
    with pytest.raises(UsageError) as told:
        run_pipeline(runner_jobs.sums, runner, options)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert _said(capfd) == ("", [])


def test_what_a_pipeline_s_own_code_raises_is_the_cause_of_what_comes_out_and_no_option_of_a_command_is_named():
    with pytest.raises(HeadraceError) as told:
        run_pipeline(None)  # type: ignore[arg-type]  # it is what is tried
    assert str(told.value) == "job: TypeError: 'NoneType' object is not callable"
    assert isinstance(told.value.__cause__, TypeError)


def test_a_scheduler_that_is_not_there_may_come_yet():
    away = ["--dask_client_address=tcp://127.0.0.1:1", "--dask_connection_timeout=1"]
    with pytest.raises(PeerError, match=r"--runner dask: tcp:.*; name a scheduler"):
        run_pipeline(runner_jobs.sums, "dask", away)


@pytest.mark.parametrize("name", ["flink", "spark"])
def test_a_pipeline_runs_on_a_job_server_whose_jar_is_given(name):
    jar = os.environ.get(f"HEADRACE_{name.upper()}_JOB_SERVER_JAR")
    if not jar:  # `make peers` cannot get it: no registry that it reaches has one
        pytest.skip(f"name Beam's job server for {name} with HEADRACE_{name.upper()}_JOB_SERVER_JAR=FILE")
    found = run_pipeline(runner_jobs.sums, name, [f"--{name}_job_server_jar={jar}"])
    assert sorted(found, key=lambda row: row["key"]) == runner_jobs.EXPECTED


class Driver:
    """A process that runs a job which does not end; its workers are at work."""

    def __init__(self, folder, runner, options):
        self.temporary, begun = folder / "tmp", folder / "begun"
        self.temporary.mkdir()
        begun.mkdir()
        TableWriter(folder / "landed", "logs").land_events([Event("a", 0, 1_763_900_400_000)])
        given = [word for option in options for word in ("--runner-option", option.removeprefix("--"))]
        job = ["tests.integration.jobs.stuck_jobs:Waiting", "--set", f"begun={begun}", "--root", str(folder / "landed")]
        self.process = subprocess.Popen(  # not a fork: gRPC, which these runners serve by, does not live through one
            [sys.executable, "-m", "headrace", "job", "run", *job, "--day", "2025-11-23", "--runner", runner, *given],
            env={**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        until(lambda: list(begun.iterdir()) or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.stderr.read().decode()

    def processes(self):
        """The driver and all that it started, but for the janitor."""
        return [process for process in _processes() if b"TMPDIR=" + str(self.temporary).encode() in _environment(process)]

    def end(self):
        """Wait until nothing is left of the run: what the driver said."""
        said = self.process.communicate(timeout=60)[1].decode()
        until(lambda: not self.processes() and not list(self.temporary.iterdir()), timeout_s=20)
        return said


def see_that_servers_are_on_loopback(driver, runner):
    listening = {address for process in driver.processes() for address in _listening(process)}
    assert bool(listening) == (runner != "inprocess")
    if runner != "prism":  # whose program decides otherwise, and which is told
        assert {address for address in listening if not _is_loopback(address)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["multiprocess", "prism", "dask"])
def test_nothing_of_a_run_outlives_kill_9(runner, options_of, tmp_path):
    driver = Driver(tmp_path, runner, options_of(runner))
    see_that_servers_are_on_loopback(driver, runner)
    driver.process.kill()
    driver.end()


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["inprocess", "multiprocess", "portable"])
def test_ctrl_c_stops_a_run(runner, tmp_path):
    driver = Driver(tmp_path, runner, [])
    see_that_servers_are_on_loopback(driver, runner)
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


def _workers():
    """The worker processes that this one has started."""
    return [
        process
        for process in _processes()
        if f"\0HEADRACE_RUN={os.environ.get('HEADRACE_RUN')}\0".encode() in b"\0" + _environment(process) + b"\0"
        and b"headrace.jobs.batch.worker" in Path(f"/proc/{process}/cmdline").read_bytes()
    ]


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
