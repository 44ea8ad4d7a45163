"""`headrace expire`: take out landed data older than an age."""

import argparse
from typing import Any

from headrace.audit import AUDIT_TOPIC
from headrace.errors import UsageError
from headrace.sinks.maintenance_arguments import add_table_arguments, age_ms, chosen_tables, table_by_table
from headrace.sinks.places import landed_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace expire`."""
    add_table_arguments(parser, default=f"all but {AUDIT_TOPIC}")
    parser.add_argument("--older-than", metavar="AGE", help="of a file's newest event: 90m, 36h, 30d")
    parser.add_argument(
        "--quarantine-older-than",
        metavar="AGE",
        help="of quarantined records, since they were quarantined (default: they stay)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")


def run(args: argparse.Namespace) -> int:
    """Expire tables, and print what went from each. Files are deleted a day later, for readers in flight.

    `_audit` is what tells whether all of the others had landed: it expires only where it is named, and of it only what no
    verdict needs (`kept`: old files that one does).
    """
    from headrace.clock import SystemClock
    from headrace.sinks.expire import Ages, expire_table

    if args.older_than is None and args.quarantine_older_than is None:
        raise UsageError("nothing is to expire: give --older-than AGE, --quarantine-older-than AGE, or both")
    clock = SystemClock()
    now_ms = clock.wall_ms()
    before = Ages(*(None if age is None else now_ms - age_ms(age) for age in (args.older_than, args.quarantine_older_than)))
    root = landed_root(args)
    topics = [topic for topic in chosen_tables(root, args.topics) if topic != AUDIT_TOPIC or topic in args.topics]

    def expire(topic: str) -> dict[str, Any]:
        gone = expire_table(root, topic, before, clock, dry_run=args.dry_run)
        return {
            "topic": topic,
            "files": len(gone.files),
            "rows": sum(file.rows for file in gone.files),
            "bytes": sum(file.bytes for file in gone.files),
            "quarantine_files": len(gone.quarantine),
            "quarantined": sum(one.count for one in gone.quarantine),
            "kept": gone.kept,
        }

    return table_by_table(root, topics, args.format, expire)
