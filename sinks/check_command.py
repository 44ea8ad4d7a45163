"""`headrace check`: verify every invariant of landed tables, offline."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("root", metavar="ROOT", help="the directory that `headrace load` writes to")
    parser.add_argument("--deep", action="store_true", help="also read every file: checksums, rows, content hashes, order")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="first finish what a crash left, and sweep; never a live file",
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Print what was checked of each table and every broken invariant; exit status 1 if there is one."""
    from headrace.sinks.check import check_root

    broken = 0
    for report in check_root(args.root, deep=args.deep, repair=args.repair):
        broken += len(report.broken)
        if args.format == "json":
            print(json.dumps(report.as_json()))
            continue
        print(f"{report.topic}: {report.records} records, {report.files} live files, {report.rows} rows, {report.state}")
        for line in report.broken:
            print(f"  broken: {line}")
        for line in report.repaired:
            print(f"  repaired: {line}")
        for line in report.remarks:
            print(f"  note: {line}")
    return 1 if broken else 0
