"""The command line: a table of commands, each of which imports its own part only when it runs (design D8).

A command module is cheap to import and has `add_arguments(parser)` and `run(args) -> int`; heavy imports stand inside `run`.
Exit status: 0 done; 1 started, then failed; 2 usage: nothing started. One line on stderr says what, where and what to do.
"""

import argparse
import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from headrace import __version__
from headrace.errors import HeadraceError


@dataclass(frozen=True, slots=True)
class _Command:
    module: str
    summary: str
    extra: str | None = None


COMMANDS = {
    "demo": _Command("headrace.demo", "ship files (or made-up events) end to end, and show what landed", "demo"),
    "up": _Command("headrace.up", "run broker, registry, loader and an agent on this machine", "demo"),
    "agent": _Command("headrace.agents.command", "ship log files of this host"),
    "broker": _Command("headrace.broker.command", "run one broker", "broker"),
    "users": _Command("headrace.broker.users.command", "say who may log in to a broker", "broker"),
    "registry": _Command("headrace.schemas.command", "run the schema registry", "broker"),
    "load": _Command("headrace.sinks.command", "land topics as tables", "sinks"),
    "query": _Command("headrace.jobs.sql.command", "ask SQL of landed tables", "query"),
    "audit": _Command("headrace.jobs.audit.command", "say whether everything written has landed", "sinks"),
    "job": _Command("headrace.jobs.batch.command", "run a batch job over landed tables", "jobs"),
    "nightly": _Command("headrace.jobs.nightly.command", "run jobs for each day, once the day is complete", "jobs"),
    "files": _Command("headrace.sinks.files_command", "list a landed table's live files", "sinks"),
    "lag": _Command("headrace.sinks.lag.command", "say how far landing is behind, and how long that is safe", "sinks"),
    "iceberg": _Command("headrace.sinks.iceberg.command", "show landed tables as Iceberg tables", "iceberg"),
    "check": _Command("headrace.sinks.check_command", "verify every invariant of landed tables, offline", "sinks"),
    "compact": _Command("headrace.sinks.compact_command", "merge the small files of hours that are over", "sinks"),
    "expire": _Command("headrace.sinks.expire_command", "take out landed data older than an age", "sinks"),
    "quarantine": _Command("headrace.sinks.quarantine_command", "list, show or replay undecodable records", "sinks"),
    "config": _Command("headrace.config_command", "explain configurations: every key, or a part's JSON Schema", "broker"),
}


class _Parser(argparse.ArgumentParser):
    """A parser, and its subparsers, that say in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog="headrace", description="Logs from app hosts to SQL rows, with proof that all arrived.")
    parser.add_argument("--version", action="version", version=f"headrace {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.summary, description=command.summary)
        if name == chosen:
            subparser.set_defaults(parser=subparser)
            importlib.import_module(command.module).add_arguments(subparser)
            subparser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(is_own_process=arguments is None)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    command = COMMANDS[args.command]
    try:
        status: int = importlib.import_module(command.module).run(args)
    except HeadraceError as error:
        _say(args, error)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a disk that is full, a folder that was taken away while we worked
        _say(args, error)
        try:
            sys.stdout.flush()
        except OSError:  # it was the output's disk
            _drop_output()
        return 1
    except ModuleNotFoundError as error:
        if command.extra is None or not _is_of_extra(error.name or "", command.extra):
            raise
        print(
            f"headrace {args.command}: {error.name} is not installed; install it with: pip install 'headrace[{command.extra}]'",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _drop_output() -> None:
    """Let what is still held for standard output go nowhere, instead of failing again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(args: argparse.Namespace, error: Exception) -> None:
    if args.debug:
        import traceback

        traceback.print_exception(error)
    for line in error.lines if isinstance(error, HeadraceError) else [error]:
        print(f"headrace {args.command}: {line}", file=sys.stderr)


def _is_of_extra(module: str, extra: str) -> bool:
    """Whether a module that was not found belongs to the distributions that an extra names (demo names other extras)."""
    from importlib import metadata  # 6 MB and 20 ms, for an error

    top = module.partition(".")[0].replace("_", "-").lower()
    wanted = {extra}
    for requirement in metadata.requires("headrace") or ():
        name, _, marker = requirement.partition(";")
        in_extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", marker)
        if not in_extra or in_extra.group(1) not in wanted:
            continue
        if name.startswith("headrace["):
            wanted |= {part.strip() for part in name[name.index("[") + 1 : name.index("]")].split(",")}
    for requirement in metadata.requires("headrace") or ():
        name, _, marker = requirement.partition(";")
        in_extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", marker)
        if in_extra and in_extra.group(1) in wanted and re.split(r"[<>=!\[ ;(~]", name.strip())[0].lower() == top:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
