"""`headrace files`: list the live files of a landed table."""

import argparse
import json
from typing import Any

from headrace.sinks.places import add_place_arguments, landed_root, unknown_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace files`."""
    parser.add_argument("topic", metavar="TOPIC", help="the table's name")
    add_place_arguments(parser)
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Print one line a file: path, hour, rows, bytes, event times."""
    from headrace.sinks.table.reader import snapshot, tables

    root = landed_root(args)
    if args.topic not in (known := tables(root)):
        raise unknown_table(args.topic, known)
    table = snapshot(root, args.topic)
    rows: list[dict[str, Any]] = [
        {
            "path": str(file.path),
            "dt": file.dt,
            "hour": file.hour,
            "rows": file.rows,
            "bytes": file.bytes,
            "min_event_time_ms": file.min_event_time_ms,
            "max_event_time_ms": file.max_event_time_ms,
        }
        for file in table.files
    ]
    if args.format == "json":
        for row in rows:
            print(json.dumps(row))
    elif args.format == "csv":
        _print_csv(rows)
    else:
        _print_table(args.topic, rows)
    return 0


_COLUMNS = ("path", "dt", "hour", "rows", "bytes", "min_event_time_ms", "max_event_time_ms")


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import sys

    writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(topic: str, rows: list[dict[str, Any]]) -> None:
    """Paths last, and never cut: they are there to be copied."""
    print(f"{'hour':<13}  {'rows':>10}  {'bytes':>12}  path")
    for row in rows:
        print(f"{row['dt']} {row['hour']:<2}  {row['rows']:>10}  {row['bytes']:>12}  {row['path']}")
    total_rows, total_bytes = (sum(row[key] for row in rows) for key in ("rows", "bytes"))
    print(f"{topic}: {len(rows)} files, {total_rows} rows, {total_bytes} bytes")
