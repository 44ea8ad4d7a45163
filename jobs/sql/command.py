"""`headrace query "SQL"`: ask SQL of landed tables, with nothing else running."""

import argparse
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from headrace.errors import UsageError
from headrace.jobs.sql.options import add_session_arguments, options_of
from headrace.sinks.places import add_place_arguments, landed_root

_HOW: Final = ("auto", "bars", "lines")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace query`."""
    parser.add_argument(
        "sql",
        metavar="SQL",
        nargs="?",
        help='one query; a topic is a table: SELECT count(*) FROM logs, or FROM "my-topic"',
    )
    add_place_arguments(parser)
    add_session_arguments(parser)
    parser.add_argument("--format", choices=("table", "csv", "json", "parquet"), help="default: table")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    parser.add_argument(
        "--plot",
        nargs="?",
        const="auto",
        metavar="HOW",
        help="draw the answer: the first column is x, numbers behind it are y; HOW: bars, lines, or a FILE.png to draw into",
    )


def run(args: argparse.Namespace) -> int:
    """Print the answer, or write it to a file."""
    from headrace.jobs.sql.session import Session
    from headrace.jobs.sql.showing import checked

    _take_sql_from_plot(args)
    if args.sql is None:
        raise UsageError('no SQL is given: headrace query "SELECT count(*) FROM logs"')
    root = landed_root(args)
    showing = checked(root, args.format, args.output, args.plot)
    if args.is_own_process:
        signal.signal(signal.SIGINT, _end_at_once_next_time)
    with Session.open(root, options_of(args, writable=_written(args))) as session:
        with session.ask(args.sql) as reader:
            showing.show(reader)
        if args.verbose:
            print(session.told, file=sys.stderr)
    return 0


def _end_at_once_next_time(*_: object) -> NoReturn:
    """What a statement has written is removed after the first Ctrl-C; who does not wait leaves it to the next query."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _written(args: argparse.Namespace) -> tuple[str, ...]:
    """The folders that the command writes its own results to."""
    files = [args.output, args.plot if args.plot not in _HOW else None]
    return tuple(str(Path(file).absolute().parent) for file in files if file is not None)


def _take_sql_from_plot(args: argparse.Namespace) -> None:
    """`--plot "SELECT …"`: what stands behind an option that may stand alone is the statement, unless it says how."""
    if args.sql is None and args.plot is not None and args.plot not in _HOW and not args.plot.endswith(".png"):
        args.sql, args.plot = args.plot, "auto"
