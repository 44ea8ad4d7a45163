"""`headrace expire`: take out landed data older than an age."""

import argparse

from headrace.sinks.maintenance_arguments import add_table_arguments, age_ms, chosen_tables, print_rows
from headrace.sinks.places import landed_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace expire`."""
    add_table_arguments(parser)
    parser.add_argument("--older-than", metavar="AGE", required=True, help="of a file's newest event: 90m, 36h, 30d")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def run(args: argparse.Namespace) -> int:
    """Expire tables, and print what went from each. Files are deleted a day later, for readers in flight."""
    from headrace.clock import SystemClock
    from headrace.sinks.expire import expire_table

    clock = SystemClock()
    before_ms = clock.wall_ms() - age_ms(args.older_than)
    root = landed_root(args)
    answers = []
    for topic in chosen_tables(root, args.topics):
        files = expire_table(root, topic, before_ms, clock, dry_run=args.dry_run)
        sums = {"rows": sum(file.rows for file in files), "bytes": sum(file.bytes for file in files)}
        answers.append({"topic": topic, "files": len(files), **sums})
    print_rows(answers, args.format)
    return 0
