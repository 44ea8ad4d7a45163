"""`headrace audit`: is everything that was written landed, and is it the same? With `--wait`, the gate of a nightly job.

With `--config` it is a part of its own (part.py).
"""

import argparse
import importlib
import math
import sys
import time
from datetime import UTC
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.errors import UsageError
from headrace.part import add_part_arguments
from headrace.sinks.places import add_place_arguments, landed_root, unknown_table
from headrace.sinks.times import parse_age, parse_day, parse_time, today_in

if TYPE_CHECKING:
    from headrace.jobs.audit.gate import Gate, GateVerdict
    from headrace.sinks.config import LoadConfig

ACTIONS: Final[dict[str, tuple[str, str]]] = {
    "agents": ("headrace.jobs.audit.agents_command", "who announces what lands, and how each stands"),
    "retire": ("headrace.jobs.audit.retire_command", "an agent that is gone for good is not waited for any more"),
}
"""What else is done with the audit: its module and what it does, by name; without one, `headrace audit` reports."""

_REPORTING: Final = (
    "root",
    "data",
    "topic",
    "since",
    "until",
    "day",
    "wait",
    "recount",
    "bootstrap",
    "registry",
    "all",
    "png",
    "html",
)
"""Options of the report, which the part does not have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace audit`, and its commands."""
    add_place_arguments(parser)
    add_part_arguments(parser, required=False)
    parser.add_argument("--topic", metavar="T", help="this topic only")
    parser.add_argument("--since", metavar="T", help="windows from then on: 2026-11-22, 2026-11-22T13:00, or 36h, 2d ago (UTC)")
    parser.add_argument("--until", metavar="T", help="windows before then; with it, every agent must be past that time")
    parser.add_argument("--day", metavar="DATE", help="all of that day (UTC), as 2026-11-22 or yesterday: --since and --until")
    parser.add_argument("--wait", action="store_true", help="wait while unknown; exit 0 complete, 3 incomplete, 4 unknown")
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="how long --wait waits (default: 1800)")
    parser.add_argument(
        "--retire-after",
        metavar="AGE",
        help="agents that have been silent for longer, as 12h or 3d, are taken for retired, and said to be (default: none is)",
    )
    parser.add_argument(
        "--recount",
        action="store_true",
        help="then count the landed files again, by their rows; exit 0 if they agree with records and agents, 3 if they differ",
    )
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="with --recount: name events that differ from the broker's")
    parser.add_argument("--registry", metavar="URL", help="with --bootstrap: the schema registry")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
    parser.add_argument("--all", action="store_true", help="a table of every window, not of topics")
    parser.add_argument("--png", metavar="FILE", help="also draw topics × hours into a picture (extra plots)")
    parser.add_argument("--html", metavar="FILE", help="also draw topics × hours into a page for a browser, with reasons")
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS)) if ACTIONS else None
    for name, (module, told) in ACTIONS.items():
        assert actions is not None
        # Suppressed, so that a place which was named before the command is not forgotten for the lack of one behind it.
        action = actions.add_parser(name, help=told, description=told, argument_default=argparse.SUPPRESS)
        add_place_arguments(action)
        importlib.import_module(module).add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Report; without `--wait` the report is the result, and the exit status only says that it could be made."""
    if ACTIONS and args.action is not None:
        status: int = importlib.import_module(ACTIONS[args.action][0]).run(args)
        return status
    _check_combination(args)
    if args.config is not None:
        from headrace.jobs.audit.part import serve

        return serve(args)
    now_ms = time.time_ns() // 1_000_000
    since_ms, until_ms = _times(args, now_ms)
    if not args.timeout >= 0:
        raise UsageError(f"--timeout {args.timeout:g}: give a number of seconds")
    retire_after_ms = math.inf if args.retire_after is None else parse_age(args.retire_after, "--retire-after")
    root = landed_root(args)
    png, html = _pictures(args, root)
    broker = _broker(args, root)
    from headrace.jobs.audit.gate import Gate
    from headrace.jobs.audit.report import print_report

    topics = [args.topic] if args.topic else ()
    gate = Gate(root, topics, since_ms=since_ms, until_ms=until_ms, retire_after_ms=retire_after_ms)
    _check_topic(gate, args.topic, root)
    _tell_if_not_over(until_ms + gate.auditor.lateness_ms, now_ms)
    verdict = _waited(gate, args.timeout) if args.wait else gate.judge(now_ms=time.time_ns() // 1_000_000)
    for message in gate.auditor.unreadable:
        print(f"headrace audit: ignored: {message}", file=sys.stderr)
    _draw(verdict, png, html)
    if args.recount:
        from headrace.jobs.audit.recount_command import recounted

        return recounted(gate.auditor, verdict, args.format, broker)
    print_report(verdict, args.format, every_window=args.all)
    return verdict.exit_status if args.wait else 0


def _check_combination(args: argparse.Namespace) -> None:
    """That nothing is asked for that would be passed over in silence."""
    if args.config is None and (args.set or args.run_file is not None):
        raise UsageError("--set and --run-file are for the part: name its configuration with --config, or leave them out")
    told = [name for name in _REPORTING if getattr(args, name)]
    if args.config is not None and told:
        raise UsageError(f"--config starts the part, whose configuration says all; leave out --{', --'.join(told)}")
    if args.png is not None and args.png == args.html:
        raise UsageError(f"--png and --html are both {args.png}; give each a file of its own")


def _tell_if_not_over(known_ms: float, now_ms: int) -> None:
    """That a time which is asked for is not over, so that nobody looks for what is wrong with an agent."""
    if now_ms < known_ms < math.inf:
        from headrace.jobs.audit.wording import when

        print(f"headrace audit: this time is not over: until {when(known_ms)} it stays unknown", file=sys.stderr)


def _broker(args: argparse.Namespace, root: str) -> "LoadConfig | None":
    """Where a recount looks events up. Raises UsageError, ConfigError: what is given of it is wrong."""
    if args.bootstrap is None:
        if args.registry is not None:
            raise UsageError("--registry goes with --bootstrap")
        return None
    if not args.recount:
        raise UsageError("--bootstrap goes with --recount: it compares what was counted with the broker")
    from headrace.jobs.sql.live.config import config_of

    return config_of(root, args.bootstrap, args.registry)


def _times(args: argparse.Namespace, now_ms: int) -> tuple[float, float]:
    if args.day is not None:
        from headrace.sinks.derived.slices import day

        if args.since is not None or args.until is not None:
            raise UsageError("--day is --since and --until together; give it alone")
        of = day(parse_day(args.day, "--day", today_in(UTC, now_ms)))
        return of.start_ms, of.end_ms
    since_ms = -math.inf if args.since is None else parse_time(args.since, "--since", now_ms)
    until_ms = math.inf if args.until is None else parse_time(args.until, "--until", now_ms)
    if since_ms >= until_ms:
        raise UsageError(f"--since {args.since} is not before --until {args.until}: there is nothing between them")
    return since_ms, until_ms


def _waited(gate: "Gate", timeout_s: float) -> "GateVerdict":
    """The verdict when it is no longer unknown; Ctrl-C says what it was unknown for."""
    from headrace.jobs.audit.gate import wait
    from headrace.jobs.audit.progress import Waiting

    waiting = Waiting(timeout_s)
    try:
        with waiting:
            verdict = wait(gate, timeout_s=timeout_s, stop=None, tell=waiting.tell)
    except KeyboardInterrupt:
        waiting.interrupted()
        raise
    waiting.ended(verdict)
    return verdict


def _pictures(args: argparse.Namespace, root: str) -> tuple[Path | None, Path | None]:
    """The files of --png and --html. Raises UsageError: one cannot be written, or what draws it is not installed."""
    from headrace.jobs.output import checked_output
    from headrace.jobs.sql.showing import PICTURE
    from headrace.sinks.stores.roots import scheme_of

    tables = Path(root.removeprefix("file://")) if scheme_of(root) == "file" else None
    if args.png is not None and not args.png.endswith(PICTURE):
        raise UsageError(f"--png {args.png}: give a file that ends in {PICTURE}")
    if args.png is not None and find_spec("matplotlib") is None:
        raise UsageError("matplotlib, which draws PNG, is not installed; install it with: pip install 'headrace[plots]'")
    return checked_output(args.png, tables=tables, option="--png"), checked_output(args.html, tables=tables, option="--html")


def _draw(verdict: "GateVerdict", png: Path | None, html: Path | None) -> None:
    if png is not None:
        from headrace.jobs.audit.heat import heat_map
        from headrace.jobs.audit.picture import write_png

        write_png(heat_map(verdict), png)
    if html is not None:
        from headrace.jobs.audit.page import page
        from headrace.jobs.output import output_stream

        with output_stream(html) as stream:
            stream.write(page(verdict))


def _check_topic(gate: "Gate", topic: str | None, root: str) -> None:
    from headrace.sinks.table.reader import tables

    known = gate.auditor.topics()
    if not known and not tables(root):
        raise UsageError(f"{root}: nothing has landed there yet; name another place with --data or --root")
    if topic is not None and topic not in known:
        raise unknown_table(topic, known)
