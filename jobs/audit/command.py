"""`headrace audit`: is everything that was written landed, and is it the same? With `--wait`, the gate of a nightly job."""

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING, Final

from headrace.errors import UsageError
from headrace.sinks.places import add_place_arguments, landed_root, unknown_table
from headrace.sinks.times import parse_time

if TYPE_CHECKING:
    from headrace.jobs.audit.auditor import Auditor
    from headrace.jobs.audit.verdict import TopicVerdict, Verdict

EXIT_STATUS: Final = {"complete": 0, "incomplete": 3, "unknown": 4}
_POLL_S: Final = 1.0
_PROGRESS_S: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace audit`."""
    add_place_arguments(parser)
    parser.add_argument("--topic", metavar="T", help="this topic only")
    parser.add_argument("--since", metavar="T", help="windows from then on: 2026-11-22, 2026-11-22T13:00, or 36h, 2d ago (UTC)")
    parser.add_argument("--until", metavar="T", help="windows before then; with it, every agent must be past that time")
    parser.add_argument("--wait", action="store_true", help="wait while unknown; exit 0 complete, 3 incomplete, 4 unknown")
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="how long --wait waits (default: 1800)")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")


def run(args: argparse.Namespace) -> int:
    """Report; without `--wait` the report is the result, and the exit status only says that it could be made."""
    now_ms = time.time_ns() // 1_000_000
    since_ms, until_ms = _time(args.since, "--since", now_ms, -math.inf), _time(args.until, "--until", now_ms, math.inf)
    if args.timeout < 0:
        raise UsageError(f"--timeout {args.timeout:g}: give a number of seconds")
    root = landed_root(args)
    from headrace.jobs.audit.auditor import Auditor
    from headrace.jobs.audit.report import print_report, reasons_of

    auditor = Auditor(root)
    _check_topic(auditor, args.topic, root)
    verdicts, state = _judge(auditor, args.topic, since_ms, until_ms)
    if args.wait:
        deadline = time.monotonic() + args.timeout
        said_s = -math.inf
        while state == "unknown" and (left_s := deadline - time.monotonic()) > 0:
            if time.monotonic() - said_s >= _PROGRESS_S:
                said_s = time.monotonic()
                print(f"headrace audit: waiting: {next(reasons_of(verdicts), 'nothing has landed')}", file=sys.stderr)
            time.sleep(min(_POLL_S, left_s))
            auditor.listen()
            verdicts, state = _judge(auditor, args.topic, since_ms, until_ms)
    for message in auditor.unreadable:
        print(f"headrace audit: ignored: {message}", file=sys.stderr)
    print_report(verdicts, state, args.format)
    return EXIT_STATUS[state] if args.wait else 0


def _judge(auditor: "Auditor", topic: str | None, since_ms: float, until_ms: float) -> "tuple[list[TopicVerdict], Verdict]":
    from headrace.jobs.audit.verdict import worst

    now_ms = time.time_ns() // 1_000_000
    topics = [topic] if topic else auditor.topics()
    verdicts = [auditor.judge(each, now_ms=now_ms, since_ms=since_ms, until_ms=until_ms) for each in topics]
    return verdicts, worst(verdict.state for verdict in verdicts) if verdicts else auditor.judge_nothing(now_ms=now_ms)


def _check_topic(auditor: "Auditor", topic: str | None, root: str) -> None:
    from headrace.sinks.table.reader import tables

    known = auditor.topics()
    if not known and not tables(root):
        raise UsageError(f"{root}: nothing has landed there yet; name another place with --data or --root")
    if topic is not None and topic not in known:
        raise unknown_table(topic, known)


def _time(text: str | None, option: str, now_ms: int, default: float) -> float:
    return default if text is None else parse_time(text, option, now_ms)
