"""`headrace compact`: merge the small files of hours that are over."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import UsageError
from headrace.sinks.maintenance_arguments import add_table_arguments, age_ms, chosen_tables, table_by_table
from headrace.sinks.places import landed_root

if TYPE_CHECKING:
    from headrace.sinks.config import Load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace compact`."""
    add_table_arguments(parser)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the loader's: its root, and the layout and formats of its tables",
    )
    parser.add_argument("--closed-for", metavar="AGE", default="1h", help="how long an hour is over (default: 1h)")
    parser.add_argument("--target", metavar="SIZE", default="128MiB", help="of a merged file, at most (default: 128MiB)")


def run(args: argparse.Namespace) -> int:
    """Compact tables one after the other, and print what became of the files of each."""
    import time

    from headrace.clock import SystemClock
    from headrace.sinks.compaction.compact import DEFAULT_OUTPUT, compact_table
    from headrace.sinks.compaction.plan import Limits
    from headrace.sinks.measures import parse_size

    try:
        limits = Limits(target_bytes=parse_size(args.target), closed_for_ms=age_ms(args.closed_for))
    except ValueError as error:
        raise UsageError(f"--target {args.target}: {error}") from error
    load = _load(args)
    root = landed_root(args) if load is None else str(load.root)

    def compact(topic: str) -> dict[str, Any]:
        began_s, shown = time.monotonic(), _Progress(topic)
        output = DEFAULT_OUTPUT if load is None else load.output_of(topic)
        try:
            done = compact_table(root, topic, limits, SystemClock(), progress=shown.add, output=output)
        finally:
            shown.clear()
        return {
            "topic": topic,
            "files_before": done.before,
            "files_after": done.after,
            "rows": done.rows,
            "quarantine_before": done.quarantine_before,
            "quarantine_after": done.quarantine_after,
            "quarantined": done.quarantined,
            "overtaken": done.overtaken,
            "seconds": round(time.monotonic() - began_s, 2),
        }

    return table_by_table(root, chosen_tables(root, args.topics), args.format, compact)


def _load(args: argparse.Namespace) -> "Load | None":
    """The section of the loader's configuration, where there is one."""
    from headrace.config import load_config
    from headrace.sinks.config import LoadConfig

    if args.config is None:
        return None
    if args.root is not None or args.data is not None:
        raise UsageError("--config says where the tables are; leave out --root and --data")
    return load_config(LoadConfig, Path(args.config), overrides=(), environment=os.environ).load


class _Progress:
    """Rows written, on one line of stderr, where a person is looking."""

    def __init__(self, topic: str) -> None:
        self._topic, self._rows = topic, 0

    def add(self, rows: int) -> None:
        self._rows += rows
        if sys.stderr.isatty():
            print(f"\r{self._topic}: {self._rows:,} rows merged", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._rows and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
