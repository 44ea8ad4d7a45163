"""`headrace job run NAME`: a batch job over landed tables. Apache Beam is imported when one runs, and not before."""

import argparse
import difflib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from headrace.errors import UsageError
from headrace.sinks.places import add_place_arguments, landed_root

RUNNERS: Final = ("inprocess", "multiprocess", "dask", "portable", "prism", "flink", "spark")
JOBS: Final = {"counts": "events per topic, host and hour"}
_SUFFIXES: Final = (".parquet", ".csv", ".json", ".jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace job`."""
    actions = parser.add_subparsers(dest="action", metavar="run", required=True)
    run_ = actions.add_parser("run", help="run a job: " + "; ".join(f"{name} ({does})" for name, does in JOBS.items()))
    run_.add_argument("name", metavar="NAME", help=", ".join(JOBS))
    run_.add_argument(
        "--runner", default="inprocess", metavar="R", help="what runs it: " + ", ".join(RUNNERS) + ", or a runner of Beam's"
    )
    run_.add_argument(
        "--runner-option", action="append", default=[], metavar="NAME=VALUE", help="an option of the runner's (docs/batch.md)"
    )
    add_place_arguments(run_)
    run_.add_argument("--output", metavar="PATH", help="a .parquet, .csv or .json file (default: a table on standard output)")


def run(args: argparse.Namespace) -> int:
    """Run the job, and print its rows or write them."""
    from headrace.jobs import output

    if args.name not in JOBS:
        close = difflib.get_close_matches(args.name, JOBS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise UsageError(f"no job {args.name!r}{meant} (jobs: {', '.join(JOBS)})")
    file = output.checked_output(args.output)
    if file is not None and file.suffix not in _SUFFIXES:
        raise UsageError(f"--output {file}: end its name in {', '.join(_SUFFIXES)}: the format goes by it")
    if args.debug:
        logging.basicConfig(level=logging.DEBUG)
    elif not sys.warnoptions:  # Beam warns of what it could import
        warnings.simplefilter("ignore")
        logging.basicConfig(level=logging.ERROR)
    from headrace.jobs.batch import counts

    try:
        rows = counts.run(landed_root(args), args.runner, [f"--{option}" for option in args.runner_option])
    except KeyboardInterrupt:  # threads of Beam's may still be at work, and would be waited for
        os._exit(128 + signal.SIGINT)
    _write(counts.NAMES, rows, file)
    return 0


def _write(names: Sequence[str], rows: list[tuple[Any, ...]], file: Path | None) -> None:
    from headrace.jobs import output

    if file is not None and file.suffix == ".parquet":
        import pyarrow as pa

        types = (pa.string(), pa.string(), pa.string(), pa.int64())
        table = pa.Table.from_pylist(
            [dict(zip(names, row, strict=True)) for row in rows], schema=pa.schema(list(zip(names, types, strict=True)))
        )
        hour = names.index("hour")
        table = table.set_column(hour, "hour", table["hour"].cast(pa.timestamp("s", "UTC")))
        output.write_parquet(table.to_reader(), file)
        return
    write = output.write_table if file is None else output.write_csv if file.suffix == ".csv" else output.write_json
    with output.output_stream(file) as stream:
        write(names, rows, stream)
