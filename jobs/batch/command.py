"""`headrace job list|show|run`: batch jobs over landed tables. Apache Beam is imported when one runs, and not before."""

import argparse
import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import UsageError
from headrace.jobs.batch.catalog import JOBS, find, made
from headrace.sinks.maintenance_arguments import print_rows
from headrace.sinks.places import add_place_arguments, landed_root

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.jobs.batch.job import Chore, Job, Runner
    from headrace.jobs.batch.running import Outcome
    from headrace.sinks.derived.slices import Slice

RUNNERS: Final = ("inprocess", "multiprocess", "dask", "portable", "prism", "flink", "spark")
_SUFFIXES: Final = (".parquet", ".csv", ".json", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace job`."""
    actions = parser.add_subparsers(dest="action", metavar="list|show|run", required=True)
    list_ = actions.add_parser("list", help="the jobs, and what they do")
    show = actions.add_parser("show", help="a job's options, and the columns of its table")
    run_ = actions.add_parser("run", help="run a job: for its rows, or for days, whose slices of the job's table they then are")
    for each in (list_, show):
        each.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    for each in (show, run_):
        each.add_argument("name", metavar="NAME", help=f"{', '.join(JOBS)}, or module:Class of your own")
    run_.add_argument("--day", metavar="D", help="a UTC day, 2026-11-26 or yesterday, of which the job's table gets the slice")
    run_.add_argument("--since", metavar="D", help="the first of several days")
    run_.add_argument("--until", metavar="D", help="the day after the last one (default: today)")
    run_.add_argument("--topic", action="append", default=[], metavar="T", help="a topic; again for more (default: all)")
    run_.add_argument("--into", metavar="TABLE", help="the table that is written (default: job_NAME)")
    run_.add_argument("--output", metavar="PATH", help="a .parquet, .csv or .json file, or -: print, instead of a table")
    run_.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of the job; again for more")
    run_.add_argument(
        "--runner", default="inprocess", metavar="R", help="what runs it: " + ", ".join(RUNNERS) + ", or a runner of Beam's"
    )
    run_.add_argument(
        "--runner-option", action="append", default=[], metavar="NAME=VALUE", help="an option of the runner's (docs/batch.md)"
    )
    run_.add_argument("--format", choices=("table", "json"), default="table", help="of what is told of tables (default: table)")
    add_place_arguments(run_)


def run(args: argparse.Namespace) -> int:
    """List, show or run."""
    _say_what_is_asked_for(debug=args.debug)
    if args.action == "list":
        print_rows([{"job": name, "version": find(name).version, "does": find(name).does} for name in JOBS], args.format)
    elif args.action == "show":
        _show(made(args.name), args.format)
    else:
        _run(args)
    return 0


def _say_what_is_asked_for(*, debug: bool) -> None:
    """Beam warns of what it could import."""
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    elif not sys.warnoptions:
        warnings.simplefilter("ignore")
        logging.basicConfig(level=logging.ERROR)


def _show(job: "Job | Chore", format_: str) -> None:
    from headrace.jobs.batch.job import about, options_of

    has, fields = options_of(job), type(job).model_fields
    options = [  # a default that is a text is shown as it is written: 30m
        {"option": name, "default": field.default if isinstance(field.default, str) else has[name], "means": field.description}
        for name, field in fields.items()
    ]
    columns = [{"column": field.name, "type": str(field.type), "means": about(field)} for field in job.schema]
    if format_ == "json":
        said = {"job": job.name, "version": job.version, "does": job.does}
        print_rows([{**said, "options": options, "columns": columns}], "json")
        return
    print(f"{job.name} (version {job.version}): {job.does}\n")
    print_rows(options, "table")
    print()
    print_rows(columns, "table")


def _run(args: argparse.Namespace) -> None:
    from headrace.jobs import output
    from headrace.jobs.batch.job import Runner
    from headrace.sinks.stores.roots import scheme_of

    job = made(args.name, overrides=args.set)
    days = _days(args)
    prints = args.output == "-" or (args.output is None and days is None)
    root = landed_root(args)
    tables = Path(root.removeprefix("file://")) if scheme_of(root) == "file" else None
    file = None if prints else output.checked_output(args.output, tables=tables)
    if file is not None and file.suffix not in _SUFFIXES:
        raise UsageError(f"--output {file}: end its name in {', '.join(_SUFFIXES)}: the format goes by it")
    if args.into is not None and (args.output is not None or days is None):
        raise UsageError("--into names the table that days are written to: give --day, or --since, and no --output")
    try:
        _run_on(Runner(args.runner, tuple(f"--{option}" for option in args.runner_option)), job, root, days, file, args)
    except KeyboardInterrupt:  # threads of Beam's may still be at work, and would be waited for
        os._exit(128 + signal.SIGINT)


def _run_on(
    runner: "Runner",
    job: "Job | Chore",
    root: str,
    days: "list[Slice] | None",
    file: Path | None,
    args: argparse.Namespace,
) -> None:
    from headrace.jobs.batch.event_rows import Span
    from headrace.jobs.batch.job import Chore
    from headrace.jobs.batch.running import rows_of_job, run_job

    span = Span() if days is None else Span(days[0].start_ms * 1000, days[-1].end_ms * 1000)
    if isinstance(job, Chore):
        if args.into is not None:
            raise UsageError(f"--into {args.into}: {job.name} writes no table of its own")
        _write(job.run(root, args.topic, span, runner), file)
        return
    if days is not None and args.output is None:
        done = [run_job(job, root, day, topics=args.topic, into=args.into, runner=runner) for day in days]
        print_rows([_told(outcome, args.format) for outcome in done], args.format)
        for outcome in done:
            for warning in outcome.warnings:
                _warn(f"{outcome.job}, {outcome.day}: {warning}")
        return
    only = days[0] if days is not None and len(days) == 1 else None
    _write(
        rows_of_job(job, root, span, topics=args.topic, runner=runner, of=only, warn=lambda it: _warn(f"{job.name}: {it}")),
        file,
    )


def _told(outcome: "Outcome", format_: str) -> dict[str, Any]:
    return {
        "job": outcome.job,
        "table": outcome.table,
        "slice": outcome.day,
        "rows": outcome.rows,
        "files": outcome.files,
        "replaced": outcome.replaced,
        "attempt": outcome.attempt,
        "seconds": round(outcome.seconds, 2),
        **({"warnings": list(outcome.warnings)} if format_ == "json" else {}),
    }


def _warn(what: str) -> None:
    print(f"headrace job: {what}", file=sys.stderr)


def _days(args: argparse.Namespace) -> "list[Slice] | None":
    """The days asked for, the first first; None: all that has landed."""
    from datetime import UTC, timedelta

    from headrace.clock import SystemClock
    from headrace.sinks.derived.slices import day
    from headrace.sinks.times import parse_day, today_in

    today = today_in(UTC, SystemClock().wall_ms())
    if args.day is not None:
        if args.since is not None or args.until is not None:
            raise UsageError("--day is one day; leave out --since and --until")
        only = parse_day(args.day, "--day", today)
        if only > today:
            raise UsageError(f"--day {only}: that day has not begun; today is {today}, UTC")
        return [day(only)]
    if args.since is None:
        if args.until is not None:
            raise UsageError("--until ends days that begin somewhere: give --since, too")
        return None
    first = parse_day(args.since, "--since", today)
    end = today if args.until is None else parse_day(args.until, "--until", today)
    if end <= first:
        raise UsageError(f"--since {first} --until {end}: there is no day from the one up to the other")
    if end > today + timedelta(days=1):
        raise UsageError(f"--until {end}: the day before has not begun; today is {today}, UTC")
    return [day(first + timedelta(days=number)) for number in range((end - first).days)]


def _write(rows: "pa.Table", file: Path | None) -> None:
    from headrace.jobs import output

    if file is not None and file.suffix == ".parquet":
        output.write_parquet(rows.to_reader(), file)
        return
    write = output.write_table if file is None else output.write_csv if file.suffix == ".csv" else output.write_json
    with output.output_stream(file) as stream:
        write(rows.column_names, output.rows_of(rows.to_reader()), stream)
