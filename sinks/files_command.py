"""`headrace files`: list the live files of a landed table, or the directories that have changed."""

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from headrace.errors import UsageError
from headrace.sinks.places import add_place_arguments, landed_root, unknown_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace files`."""
    parser.add_argument("topic", metavar="TOPIC", help="the table's name")
    add_place_arguments(parser)
    parser.add_argument(
        "--changed-since",
        metavar="SEQ|TIME",
        help="list the directories whose rows have changed after a record of the table's log (its number, from `seq` of the "
        "last answer), or from a time on: 2026-11-22T13:00 (UTC)",
    )
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Print one line a file: path, hour, rows, bytes, event times."""
    from headrace.sinks.table.reader import snapshot, tables

    root = landed_root(args)
    if args.topic not in (known := tables(root)):
        raise unknown_table(args.topic, known)
    if args.changed_since is not None:
        return _list_changes(root, args.topic, args.changed_since, args.format)
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
        _print_csv(rows, _COLUMNS)
    else:
        _print_table(args.topic, rows)
    return 0


_COLUMNS = ("path", "dt", "hour", "rows", "bytes", "min_event_time_ms", "max_event_time_ms")
_CHANGES = ("directory", "seq", "changed_ms", "rows_added", "files_removed")


def _list_changes(root: str, topic: str, since: str, format_: str) -> int:
    from headrace.sinks.changes import changed_since
    from headrace.sinks.stores.roots import open_root
    from headrace.sinks.table.store import carry_out

    seq = int(since) if since.isascii() and since.isdigit() else None
    steps = changed_since(seq=seq, since_ms=None if seq is not None else _time_ms(since))
    rows = [asdict(change) for change in carry_out(steps, open_root(root).table(topic))]
    if format_ == "json":
        for row in rows:
            print(json.dumps(row))
    elif format_ == "csv":
        _print_csv(rows, _CHANGES)
    else:
        print(f"{'seq':>10}  {'rows added':>12}  {'files removed':>13}  directory")
        for row in rows:
            print(f"{row['seq']:>10}  {row['rows_added']:>12}  {row['files_removed']:>13}  {row['directory']}")
    return 0


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--changed-since {text!r}: give a record's number, or a time as 2026-11-22T13:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _print_csv(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    import csv
    import sys

    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_table(topic: str, rows: list[dict[str, Any]]) -> None:
    """Paths last, and never cut: they are there to be copied."""
    print(f"{'hour':<13}  {'rows':>10}  {'bytes':>12}  path")
    for row in rows:
        print(f"{row['dt']} {row['hour']:<2}  {row['rows']:>10}  {row['bytes']:>12}  {row['path']}")
    total_rows, total_bytes = (sum(row[key] for row in rows) for key in ("rows", "bytes"))
    print(f"{topic}: {len(rows)} files, {total_rows} rows, {total_bytes} bytes")
