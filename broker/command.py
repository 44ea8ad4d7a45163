"""`headrace broker`: one broker as one process; `headrace broker check`: its log directory, looked at while it is stopped."""

import argparse
from pathlib import Path

from headrace.part import add_part_arguments, begin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options that every part has, and those of `check`."""
    add_part_arguments(parser, required=False)
    actions = parser.add_subparsers(dest="action", metavar="check")
    told = "verify a log directory, offline: batches, indexes, snapshots, checkpoints; exit 1 if anything is damaged"
    check = actions.add_parser("check", help=told, description=told)
    check.add_argument("directory", metavar="DIR", type=Path, help="one of the broker's log.dirs")
    check.add_argument("--deep", action="store_true", help="also decode every record: counts, order, times")
    check.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    check.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or check and return 1 if there is a fault."""
    if args.action == "check":
        return _check(args)
    if args.config is None:
        args.parser.error("the following arguments are required: --config")
    from headrace.broker.config import BrokerConfig
    from headrace.broker.serve import serve

    return serve(begin(BrokerConfig, args), args.run_file)


def _check(args: argparse.Namespace) -> int:
    from headrace.broker.check import check_directory
    from headrace.broker.check_report import print_json, print_table

    reports = check_directory(args.directory, deep=args.deep)
    (print_json if args.format == "json" else print_table)(reports)
    return 1 if any(report.faults for report in reports) else 0
