"""`headrace query "SQL"`: ask SQL of landed tables, with nothing else running."""

import argparse
from typing import Final

from headrace.errors import UsageError
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
    from headrace.jobs.sql.query import ask
    from headrace.jobs.sql.showing import checked

    _take_sql_from_plot(args)
    if args.sql is None:
        raise UsageError('no SQL is given: headrace query "SELECT count(*) FROM logs"')
    root = landed_root(args)
    showing = checked(root, args.format, args.output, args.plot)
    with ask(root, args.sql) as reader:
        showing.show(reader)
    return 0


def _take_sql_from_plot(args: argparse.Namespace) -> None:
    """`--plot "SELECT …"`: what stands behind an option that may stand alone is the statement, unless it says how."""
    if args.sql is None and args.plot is not None and args.plot not in _HOW and not args.plot.endswith(".png"):
        args.sql, args.plot = args.plot, "auto"
