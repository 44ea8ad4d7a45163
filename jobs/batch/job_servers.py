"""Job servers that are programs of their own (Prism, Flink's, Spark's), started for one run and ended with it.

Beam says with which command; it would also start them, but leave them running when the driver dies, and keep one Prism for
all later runs.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
    PrismRunnerOptions,
    SparkRunnerOptions,
)

from headrace.errors import PeerError, UsageError

_READY_S: Final = 60.0
_READERS: Final = ("read_grpc_client_inputs", "read_state")
"""Threads of a LOOPBACK worker's, to which the end of its server is an exception."""


@contextlib.contextmanager
def job_server(name: str, options: PipelineOptions, folder: str) -> Iterator[None]:
    """Let `options` name the job server that they do not name yet: one of that name, for as long as the block runs.

    Raises:
        UsageError: a program that it needs is not there. PeerError: it does not start.
    """
    portable = options.view_as(PortableOptions)
    portable.environment_type = portable.environment_type or "LOOPBACK"
    if portable.job_endpoint:
        yield
        return
    command, portable.job_endpoint = _server(name, options).subprocess_cmd_and_endpoint()
    log = Path(folder) / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    try:
        _wait_for(name, process, portable.job_endpoint, log)
        if name == "prism":  # its program decides that
            print(f"prism listens on all addresses of this host, {portable.job_endpoint}, without a login", file=sys.stderr)
        yield
    finally:
        process.kill()
        process.wait()
        for thread in [each for each in threading.enumerate() if each.name in _READERS]:
            thread.join(1)  # while what they say goes nowhere


def _server(name: str, options: PipelineOptions) -> Any:
    """What knows how a job server is started."""
    if name == "prism":
        from apache_beam.runners.portability.prism_runner import PrismJobServer

        prism = options.view_as(PrismRunnerOptions)
        prism.prism_location = _prism(prism.prism_location)
        return PrismJobServer(options)
    if name == "flink":
        from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

        flink = options.view_as(FlinkRunnerOptions)
        _check_jar(name, f"flink-{flink.flink_version}", flink.flink_job_server_jar)
        return FlinkJarJobServer(options)
    from apache_beam.runners.portability.spark_runner import SparkJarJobServer

    spark = options.view_as(SparkRunnerOptions)
    _check_jar(name, f"spark-{spark.spark_version}", spark.spark_job_server_jar)
    return SparkJarJobServer(options)


def _prism(given: str | None) -> str:
    found = given or shutil.which("prism")
    if not found or not Path(found).is_file():
        raise UsageError(
            f"--runner prism: no program {given or 'prism on PATH'}; go install github.com/apache/beam/sdks/v2/go/cmd/prism@"
            f"v{beam.__version__}, and name it with --prism_location=FILE"
        )
    return str(Path(found).absolute())


def _check_jar(name: str, server: str, jar: str | None) -> None:
    if not jar or not Path(jar).is_file():
        raise UsageError(
            f"--runner {name}: no job server{f' {jar}' if jar else ''}; get org.apache.beam:beam-runners-{server}-job-server:"
            f"{beam.__version__} from a Maven repository and name it with --{name}_job_server_jar=FILE, or one that runs with"
            " --job_endpoint=host:port"
        )
    if shutil.which("java") is None:
        raise UsageError(f"--runner {name}: its job server needs Java, and there is no java on PATH; install one")


def _wait_for(name: str, process: "subprocess.Popen[bytes]", endpoint: str, log: Path) -> None:
    host, _, port = endpoint.rpartition(":")
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.02)
    said = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise PeerError(f"--runner {name}: its job server at {endpoint} does not start; it said: {said[-1]}")
