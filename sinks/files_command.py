"""`headrace files`: list the live files of a landed table."""

import argparse
import json
import os
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("topic", metavar="TOPIC")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", type=Path, metavar="DIR", help="DIR of `headrace up`; means --root DIR/landed")
    where.add_argument("--root", metavar="PATH", help="the directory that `headrace load` writes to")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Print one line a file: path, hour, rows, bytes, event times."""
    from headrace.sinks.table.reader import snapshot

    table = snapshot(root_of(args), args.topic)
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


def root_of(args: argparse.Namespace) -> str:
    """`--root`, or `landed` below `--data`, `$HEADRACE_DATA` or `./headrace-data`."""
    if args.root:
        return str(args.root)
    return str((args.data or Path(os.environ.get("HEADRACE_DATA") or "headrace-data")) / "landed")


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
