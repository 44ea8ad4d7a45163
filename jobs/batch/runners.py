"""Running one pipeline on whichever runner: what each needs to be started, and what all have in common (docs/batch.md).

A pipeline here is narrow, so that it means the same everywhere: `Create` of explicit work, `Reshuffle`, `ParDo`, grouping by
keys that are bytes or texts, and one leaf, whose elements come back. Dask runs the last leaf only, and knows no windows.
"""

import contextlib
import io
import logging
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PCollection
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner, create_runner
from apache_beam.runners.worker import sdk_worker

from headrace.errors import PeerError, UsageError, VersionError
from headrace.jobs.batch.dask_waiting import wait_until_done
from headrace.jobs.batch.exchange import Exchange, Gather
from headrace.jobs.batch.failures import failure_of
from headrace.jobs.batch.janitor import House, kept_house
from headrace.jobs.batch.job_servers import job_server
from headrace.jobs.batch.loopback import bound_to_loopback
from headrace.jobs.batch.worker_processes import runner_in_processes

Build = Callable[[beam.Pipeline], PCollection[Any]]
"""Adds a pipeline's steps, and says which is the leaf; its elements are values that JSON can say."""

RUNNERS: Final = {
    "inprocess": "in this process",
    "multiprocess": "a process for each core (--direct_num_workers=N)",
    "dask": "a Dask cluster on this machine, or at --dask_client_address=tcp://host:port",
    "portable": "Beam's job service in this process, or at --job_endpoint=host:port",
    "prism": "Beam's Prism, a program on PATH or at --prism_location=FILE",
    "flink": "Flink, by --flink_job_server_jar=FILE or --job_endpoint=host:port",
    "spark": "Spark, by --spark_job_server_jar=FILE or --job_endpoint=host:port",
}
_ONE_AT_A_TIME: Final = threading.Lock()
"""A run changes what belongs to the process: where temporary files go, what gRPC's servers listen on, how much is logged."""


def run_pipeline(
    build: Build,
    runner: str = "inprocess",
    options: Sequence[str] = (),
    *,
    label: str = "job",
    exchange: Exchange | None = None,
) -> list[Any]:
    """Run a pipeline to its end, and return its leaf's elements, in no order.

    Args:
        runner: one of RUNNERS, or a runner of Beam's by its name or class.
        options: Beam's, as `--name=value`.
        label: what progress and errors call the job.
        exchange: where workers leave what the leaf holds; None: a folder of this machine, which workers elsewhere do not see.
    Raises:
        UsageError: no such runner or option, or it needs something that is not there.
        HeadraceError: the pipeline failed; `__cause__` is what was raised. StorageError: and others of ours, if a worker raised
            one.
        KeyboardInterrupt: at once on Ctrl-C. Where work is done in threads of this process (`portable`, `prism`), these go on
            with what they have begun: a command then leaves with `os._exit`.
    """
    with (
        _ONE_AT_A_TIME,
        kept_house() as house,
        bound_to_loopback(),
        _quiet(),
        _told(f"{label} on {runner}"),
        _opened(runner, options, house.folder) as (made, beam_options),
    ):
        where = exchange or Exchange.below(house.folder, "results")
        with _interruptible(house), _failures_named(label):
            _run(build, made, beam_options, where)
        return where.read()


def _run(build: Build, runner: PipelineRunner, options: PipelineOptions, exchange: Exchange) -> None:
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = build(pipeline) | "Results" >> Gather(exchange)
    result = pipeline.run()
    client, futures = getattr(result, "client", None), getattr(result, "futures", ())  # Dask's, which its runner leaves open
    try:
        if client is not None:
            wait_until_done(client, futures)
        else:
            result.wait_until_finish()
    except (KeyboardInterrupt, PeerError):
        with contextlib.suppress(Exception):
            result.cancel()
        raise
    finally:
        if client is not None:
            client.close()


@contextlib.contextmanager
def _failures_named(label: str) -> Iterator[None]:
    try:
        yield
    except (UsageError, VersionError):  # of who builds the pipeline
        raise
    except Exception as error:  # a worker's, as text, or whatever its runner makes of it
        text = str(error) if isinstance(error, RuntimeError) else f"{type(error).__module__}.{type(error).__name__}: {error}"
        raise failure_of(text, label) from error


@contextlib.contextmanager
def _opened(name: str, options: Sequence[str], folder: str) -> Iterator[tuple[PipelineRunner, PipelineOptions]]:
    """A runner of that name, and the options that it is run with.

    Raises:
        UsageError: there is none, or it needs something that is not there.
    """
    given = PipelineOptions(list(options))
    _check_known(name, given)
    match name:
        case "inprocess" | "FnApiRunner":  # (its DirectRunner downloads another)
            yield FnApiRunner(), given
        case "multiprocess":
            yield runner_in_processes(given), given
        case "dask":
            from headrace.jobs.batch.dask_cluster import cluster_of

            with cluster_of(given, folder):
                yield _made("apache_beam.runners.dask.dask_runner.DaskRunner"), given
        case "portable":
            portable = given.view_as(pipeline_options.PortableOptions)
            portable.job_endpoint = portable.job_endpoint or "embed"
            portable.environment_type = portable.environment_type or "LOOPBACK"
            yield _made("PortableRunner"), given
        case "prism" | "flink" | "spark":
            with job_server(name, given, folder):
                yield _made(f"{name.capitalize()}Runner"), given
        case _:
            yield _made(name), given


def _made(name: str) -> PipelineRunner:
    try:
        return create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        ours = ", ".join(RUNNERS)
        raise UsageError(f"--runner {name}: there is no such runner ({error}); name one of {ours}, or Beam's") from error


def _check_known(name: str, given: PipelineOptions) -> None:
    """See that no option is mistyped, which Beam would leave out; those of job servers elsewhere are theirs to know."""
    if name not in ("inprocess", "multiprocess", "dask", "portable"):
        return
    if name == "dask":
        try:
            import headrace.jobs.batch.dask_cluster  # noqa: F401 - Beam's options for it are known from then on
        except ImportError as error:
            raise UsageError("--runner dask: dask is not installed; install it with: pip install 'headrace[dask]'") from error
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            unknown = given.get_all_options(retain_unknown_options=True).keys() - given.get_all_options().keys()
    except SystemExit:
        told = said.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"--runner {name}: {told}; see Beam's documentation") from None
    if unknown:
        raise UsageError(f"--runner {name}: Beam has no option --{min(unknown)}; see its documentation")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What Beam says of its own working goes nowhere, unless somebody has asked for warnings or for a log."""
    if logging.getLogger().getEffectiveLevel() <= logging.DEBUG:
        yield
        return
    disabled, hook = logging.root.manager.disable, threading.excepthook
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        threading.excepthook = lambda _: None  # of Beam's threads, when the other end of a connection has gone
        vars(sdk_worker)["print"] = lambda *_, **__: None  # a failure's traceback, which it also returns
        try:
            yield
        finally:
            del vars(sdk_worker)["print"]
            logging.disable(disabled)
            threading.excepthook = hook


@contextlib.contextmanager
def _interruptible(house: House) -> Iterator[None]:
    """Ctrl-C ends the run, whatever its runner makes of it: the workers are killed, and KeyboardInterrupt comes out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_interrupted = False

    def interrupt(*_: Any) -> None:
        nonlocal is_interrupted
        is_interrupted = True
        house.empty()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception:
        if is_interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Say on standard error what runs and how long it has, where somebody looks."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    began = time.monotonic()
    done = threading.Event()
    with Console(stderr=True).status(what) as status:

        def tell() -> None:
            while not done.wait(1):
                status.update(f"{what}: {time.monotonic() - began:.0f} s")

        threading.Thread(target=tell, daemon=True).start()
        try:
            yield
        finally:
            done.set()
