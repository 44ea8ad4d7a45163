"""`headrace nightly`: run the jobs of each day once the day is complete. Jobs and Apache Beam are imported when it runs."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import UsageError

if TYPE_CHECKING:
    from headrace.jobs.nightly.config import Nightly
    from headrace.jobs.nightly.course import Output
    from headrace.jobs.nightly.night import Night
    from headrace.jobs.nightly.report import Entry
    from headrace.sinks.derived.slices import Slice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace nightly`."""
    parser.add_argument(
        "action", nargs="?", choices=("run", "status"), default="run", help="run what is due (default), or say how it stands"
    )
    parser.add_argument("--config", metavar="FILE", required=True, help="what runs, and when (docs/nightly.md)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of it; again for more")
    days = parser.add_mutually_exclusive_group()
    days.add_argument("--day", action="append", default=[], metavar="D", help="this day only, as 2026-11-26; again for more")
    days.add_argument("--since", metavar="D", help="all days from this one on, of any age; default: so many as `catch_up` says")
    parser.add_argument(
        "--job", action="append", default=[], metavar="J", help="this job only, by its name or its table; again for more"
    )
    parser.add_argument(
        "--outdated", action="store_true", help="run those days, too, that another version or other options of a job have made"
    )
    parser.add_argument("--force", action="store_true", help="with run and --day: whatever the ledger and the audit say")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Run the night, or tell how it stands; the exit status is the report's."""
    from headrace.config import load_config
    from headrace.jobs.nightly.config import NightlyConfig
    from headrace.jobs.nightly.report import exit_status

    if args.force and (args.action != "run" or not args.day):
        raise UsageError("--force runs days that it names: give run --day D --force")
    _quieten(args)
    config = load_config(NightlyConfig, Path(args.config), overrides=args.set, environment=os.environ).nightly
    metrics = _metrics_file(config, args)
    night = _night(config, args)
    entries = night.look() if args.action == "status" else night.run(force=args.force, outdated=args.outdated)
    status = exit_status(entries)
    if metrics is not None:
        from headrace.jobs.nightly.metrics import as_text

        _write(metrics, as_text(entries, night.clock.wall_ms(), status))
    _print(entries, args, config)
    return status


def _metrics_file(config: "Nightly", args: argparse.Namespace) -> Path | None:
    """Where this night is to leave its metrics, if it is a whole one. Raises UsageError: that cannot be written."""
    from headrace.jobs.output import checked_output

    is_whole = args.action == "run" and not (args.day or args.since or args.job)
    return checked_output(config.metrics, option="nightly.metrics") if is_whole else None


def _quieten(args: argparse.Namespace) -> None:
    """Beam warns of what it could import."""
    import logging
    import warnings

    if not args.debug and not sys.warnoptions:
        warnings.simplefilter("ignore")
        logging.basicConfig(level=logging.ERROR)


def _night(config: "Nightly", args: argparse.Namespace) -> "Night":
    from headrace.clock import SystemClock
    from headrace.jobs.batch.job import Runner
    from headrace.jobs.nightly.night import Night
    from headrace.process import stop_event
    from headrace.sinks.stores.roots import open_root

    if not open_root(config.root).is_there():
        raise UsageError(
            f"{config.root} (nightly.root): no landed tables there; name the directory that `headrace load` writes to"
        )
    runner = Runner(config.runner, tuple(f"--{option}" for option in config.runner_options))
    clock = SystemClock()
    days, named = _days(config, args, clock.wall_ms()), args.day or args.since
    return Night(config, _outputs(config, args.job), runner, clock, stop_event(), _say, days, is_whole=not named)


def _days(config: "Nightly", args: argparse.Namespace, now_ms: int) -> "list[Slice]":
    """The days that are asked for, the oldest first.

    Raises:
        UsageError: one is none, or none of them is over yet.
    """
    from headrace.jobs.nightly import plan
    from headrace.sinks.derived.slices import day
    from headrace.sinks.path_template import zone
    from headrace.sinks.times import parse_day, today_in

    today = today_in(zone(config.time_zone), now_ms)
    if args.day:
        dates = {parse_day(text, "--day", today) for text in args.day}
        asked = [day(date, config.time_zone) for date in sorted(dates)]
        if max(dates) > today:
            raise UsageError(f"--day {max(dates)}: that day has not begun ({config.time_zone})")
        newest = plan.days(config, now_ms)[-1:]
        if not args.force and newest and asked[-1].start_ms > newest[0].start_ms:
            raise UsageError(
                f"--day {plan.date_of(asked[-1].directory)}: that day is not over yet (nightly.after: {config.after}, "
                f"{config.time_zone}); as it is: --force"
            )
        return asked
    since = parse_day(args.since, "--since", today) if args.since else None
    over = plan.days(config, now_ms, since)
    if not over:
        raise UsageError(f"--since {args.since}: that day is not over yet (nightly.after: {config.after}, {config.time_zone})")
    return over


def _outputs(config: "Nightly", only: Sequence[str]) -> "list[Output]":
    """The jobs of the configuration, or of it those asked for.

    Raises:
        UsageError: a job writes another one's table, or one that is asked for is none.
    """
    from headrace.jobs.batch.catalog import made
    from headrace.jobs.batch.job import Job, table_of
    from headrace.jobs.nightly.course import Output

    outputs: list[Output] = []
    for at, one in enumerate(config.jobs):
        job = made(one.job, one.options)
        where = f"nightly.jobs.{at}"
        assert isinstance(job, Job), "the configuration has no chores"
        table = one.into or table_of(job)
        if any(output.table == table for output in outputs):
            raise UsageError(f"{where}: another job writes {table}; say with `into` which table this one writes")
        outputs.append(Output(one.job, job, table, one.topics or config.topics))
    if strange := sorted(set(only) - {output.name for output in outputs} - {output.table for output in outputs}):
        raise UsageError(
            f"--job {strange[0]}: the configuration has no such job (it has: {', '.join(o.name for o in outputs)})"
        )
    return [output for output in outputs if not only or output.name in only or output.table in only]


def _print(entries: "Sequence[Entry]", args: argparse.Namespace, config: "Nightly") -> None:
    from headrace.jobs.nightly.report import advice, lines

    if args.format == "json":
        for entry in entries:
            print(json.dumps(entry.as_json()))
        for line in advice(entries, config, args.config):
            print(f"headrace nightly: {line}", file=sys.stderr)
        return
    for line in [*lines(entries), *advice(entries, config, args.config)]:
        print(line)


def _write(file: Path, text: str) -> None:
    """Whole or not at all: whoever collects it may look at any moment."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def _say(what: Any) -> None:
    print(f"headrace nightly: {what}", file=sys.stderr, flush=True)
