"""`headrace query "SQL"`: ask SQL of landed tables, with nothing else running."""

import argparse
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from headrace.errors import UsageError
from headrace.jobs.sql.live.config import add_live_arguments, live_config, refuse_without_live
from headrace.jobs.sql.options import add_session_arguments, options_of
from headrace.sinks.places import add_place_arguments, landed_root

if TYPE_CHECKING:
    from headrace.jobs.sql.showing import Showing

_HOW: Final = ("auto", "bars", "lines")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace query`."""
    parser.add_argument(
        "sql",
        metavar="SQL",
        nargs="?",
        help='one query; a topic is a table: SELECT count(*) FROM logs, or FROM "my-topic". Without it: a shell, or statements'
        " from standard input, each with a semicolon behind it",
    )
    add_place_arguments(parser)
    add_session_arguments(parser)
    add_live_arguments(parser)
    parser.add_argument(
        "--format", choices=("table", "csv", "json", "parquet"), help="default: what --output's name ends in, else table"
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of to standard output")
    parser.add_argument(
        "--plot",
        nargs="?",
        const="auto",
        metavar="HOW",
        help="draw the answer: the first column is x, numbers behind it are y; HOW: bars, lines, or a FILE.png to draw into",
    )


def run(args: argparse.Namespace) -> int:
    """Print the answer, or write it to a file; or talk until the user leaves."""
    from headrace.jobs.sql import limits
    from headrace.jobs.sql.conversation import Conversation  # first of all: it tells what is not installed
    from headrace.jobs.sql.showing import checked

    if args.is_own_process:
        limits.prepare_bounded()
    _take_sql_from_plot(args)
    root = landed_root(args, is_awaited=args.live)
    showing = checked(root, args.format, args.output, args.plot)
    if showing.is_picture:
        from headrace.jobs.sql.plots.picture import prepare

        prepare()
    options = options_of(args, writable=_written(args))
    live = live_config(args, root) if args.live else None
    if live is None:
        refuse_without_live(args)
    else:  # its clients read keys and certificates wherever these are
        options = replace(options, confine=options.confine and options.unsafe)
    is_shell = args.sql is None and sys.stdin.isatty()
    if is_shell:
        _check_shell(showing)
        # A confined process could write neither its history nor what `.output` names.
        options = replace(options, confine=options.confine and options.unsafe)
        statements: list[str] = []
    else:
        if args.is_own_process:
            signal.signal(signal.SIGINT, _end_at_once_next_time)
        statements = _piped(showing) if args.sql is None else [args.sql]
    is_interrupted = False
    with Conversation(root, options, live, is_verbose=args.verbose) as conversation:
        try:
            if is_shell:
                from headrace.jobs.sql.shell import Shell

                Shell(conversation, showing).run()
            for statement in statements:
                conversation.answer(statement, showing)
        except KeyboardInterrupt:
            if not conversation.has_left:
                raise
            print("headrace query: interrupted; the statement did not stop, and ends with this process", file=sys.stderr)
            is_interrupted = True
    if args.is_own_process and (is_shell or conversation.has_left):  # a shell's completion may be waiting for a store
        _end_now(128 + signal.SIGINT if is_interrupted else 0)
    return 128 + signal.SIGINT if is_interrupted else 0


def _end_now(status: int) -> NoReturn:
    """Without Python's own end, which stops threads where they are: within DuckDB that aborts the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _check_shell(showing: "Showing") -> None:
    if showing.file is not None:
        raise UsageError("a shell writes to the terminal: give the SQL with --output, or use .output in the shell")


def _end_at_once_next_time(*_: object) -> NoReturn:
    """What a statement has written is removed after the first Ctrl-C; who does not wait leaves it to the next query."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _piped(showing: "Showing") -> list[str]:
    from headrace.jobs.sql.splitting import split

    statements, last = split(sys.stdin.buffer.read().decode(errors="replace"))
    statements += [last] if last else []
    if not statements:
        raise UsageError('no SQL is given: headrace query "SELECT count(*) FROM logs", or statements on standard input')
    if showing.file is not None and len(statements) > 1:
        raise UsageError(f"{showing.file} is for the answer of one statement, and there are {len(statements)}; give one")
    return statements


def _written(args: argparse.Namespace) -> tuple[str, ...]:
    """The folders that the command writes its own results to."""
    files = [args.output, args.plot if args.plot not in _HOW else None]
    return tuple(str(Path(file).absolute().parent) for file in files if file is not None)


def _take_sql_from_plot(args: argparse.Namespace) -> None:
    """`--plot "SELECT …"`: what stands behind an option that may stand alone is the statement, unless it says how."""
    if args.sql is None and args.plot is not None and args.plot not in _HOW and not args.plot.endswith(".png"):
        args.sql, args.plot = args.plot, "auto"
