"""`headrace agent`: ship this host's logs, for ever, or with `--once` to their end; and what operators do with an agent."""

import argparse
import importlib
from typing import Final

from headrace.part import add_part_arguments, begin_process

ACTIONS: Final = {
    "validate": ("headrace.agents.operate.validate_command", "say all that can be known of a configuration without shipping"),
    "test": ("headrace.agents.operate.fixtures_command", "run fixtures through the configuration's pipelines, and compare"),
    "tap": ("headrace.agents.operate.tap_command", "show what a running agent sends, while it sends it"),
    "top": ("headrace.agents.operate.top_command", "show a running agent's inputs, by the second"),
    "rejected": ("headrace.agents.operate.rejected_command", "list, show or replay what could not be shipped for what it is"),
    "state": ("headrace.agents.operate.state_command", "list, verify or forget what the agent remembers of files"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace agent`, and its commands."""
    add_part_arguments(parser, required=False)
    parser.add_argument("--once", action="store_true", help="ship every byte up to the files' ends, then exit")
    parser.add_argument("--progress", action="store_true", help="write one JSON object a second to standard output")
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS))
    for name, (module, told) in ACTIONS.items():
        action = actions.add_parser(name, help=told, description=told)
        importlib.import_module(module).add_arguments(action)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or with `--once` until all is shipped; or carry out one of the commands."""
    if args.action is not None:
        status: int = importlib.import_module(ACTIONS[args.action][0]).run(args)
        return status
    if args.config is None:
        args.parser.error("the following arguments are required: --config")
    return _ship(args)


def _ship(args: argparse.Namespace) -> int:
    import signal
    import threading

    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())  # before all else: by default it would end us

    from headrace.agents.checking import Checking

    begin_process(limit_log=True)
    checking = Checking(args.config, args.set)

    from headrace.agents.shipping import ship  # all the rest, while the configuration is checked

    return ship(args, checking, reload)
