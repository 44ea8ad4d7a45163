"""`headrace lag`: how far landing is behind, and how long what has not landed is safe; whether or not a loader runs."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import PeerError, TableError, UsageError
from headrace.process import DATA_VARIABLE, DEFAULT_DATA, data_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.sinks.config import LoadConfig
    from headrace.sinks.lag.survey import Survey, TableLag

_WATCH_S = 2.0
_PIPE_WIDTH = 400
_AROUND_LINES = 6
"""Of a watched table: its head, what is left out, the sum, and an error."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace lag`."""
    parser.add_argument("topics", metavar="TOPIC", nargs="*", help="these only (default: all that land, or have landed)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--config", type=Path, metavar="FILE", help="the loader's configuration: where the broker is, and the tables"
    )
    place.add_argument(
        "--data", metavar="DIR", help=f"the data directory of `headrace up` (default: ${DATA_VARIABLE} or ./{DEFAULT_DATA})"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of the configuration; may be given again",
    )
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=_WATCH_S,
        metavar="S",
        help=f"look again every S seconds (default: {_WATCH_S:g})",
    )
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Show it, once or until it is interrupted; the exit status only says whether it could be found out."""
    if args.watch is not None and not args.watch > 0:
        raise UsageError(f"--watch {args.watch:g}: give a number of seconds above 0")
    config = _configuration(args)
    from headrace.clock import SystemClock
    from headrace.sinks.lag.survey import Survey

    survey = Survey(config, SystemClock())
    try:
        if args.watch is None:
            _show(survey, args)
        elif args.format == "table" and sys.stdout.isatty():
            _watch_on_terminal(survey, args)
        else:
            _watch(survey, args)
    except KeyboardInterrupt:
        if args.watch is None:
            raise
    finally:
        survey.close()
    return 0


def _configuration(args: argparse.Namespace) -> "LoadConfig":
    from headrace.config import load_config
    from headrace.sinks.config import LoadConfig

    file = args.config
    if file is None:
        file = data_directory(args.data) / "etc" / "load.yaml"
        if not file.exists():
            raise UsageError(
                f"{file}: no such file; name the loader's configuration with --config, or a data directory with --data"
            )
    return load_config(LoadConfig, file, overrides=args.set, environment=os.environ)


def _show(survey: "Survey", args: argparse.Namespace) -> None:
    from headrace.sinks.lag import report

    tables, now_ms = survey.look(args.topics), time.time_ns() // 1_000_000
    if args.format == "json":
        report.write_json(tables, now_ms, sys.stdout)
    elif args.format == "csv":
        report.write_csv(tables, now_ms, sys.stdout)
    else:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
        console.print(report.drawn(tables, now_ms, width=console.width))
    if unread := _unread(tables):
        sys.stdout.flush()
        raise TableError(unread)


def _unread(tables: "Sequence[TableLag]") -> str:
    """What is wrong with tables whose logs cannot be read; empty if there are none."""
    return "; ".join(f"table {table.topic}: {table.error}" for table in tables if table.error is not None)


def _watch(survey: "Survey", args: argparse.Namespace) -> None:
    while True:
        try:
            _show(survey, args)
        except (PeerError, TableError) as error:  # it is watched to see it come back
            print(f"headrace lag: {error}", file=sys.stderr)
        time.sleep(args.watch)


def _watch_on_terminal(survey: "Survey", args: argparse.Namespace) -> None:
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.text import Text

    from headrace.sinks.lag import report

    console = Console()
    shown: RenderableType = Text("looking …", style="dim")
    with Live(shown, console=console, auto_refresh=False, screen=True) as live:
        while True:
            try:
                tables = survey.look(args.topics)
                now_ms = time.time_ns() // 1_000_000
                shown = report.drawn(tables, now_ms, width=console.width, lines=console.height - _AROUND_LINES)
                unread = _unread(tables)
                live.update(Group(shown, Text(unread, style="red")) if unread else shown, refresh=True)
            except PeerError as error:
                live.update(Group(shown, Text(str(error), style="red")), refresh=True)
            time.sleep(args.watch)
