"""Where the agent is that an operator means: by its configuration, or by its state directory."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig


def add_place(parser: argparse.ArgumentParser) -> None:
    """Define the options that name it, and `--debug`."""
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--config", type=Path, metavar="FILE", help="the agent's configuration")
    place.add_argument("--state-dir", type=Path, metavar="DIR", help="its agent.state_dir")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Define `--set` and `--debug`."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the configuration")
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")


def config_of(args: argparse.Namespace) -> "AgentConfig | None":
    """The configuration, where one is named.

    Raises:
        ConfigError: it is wrong.
    """
    if args.config is None:
        return None
    from headrace.agents.configuration import AgentConfig
    from headrace.config import load_config

    return load_config(AgentConfig, args.config, overrides=args.set, environment=os.environ)


def directory_of(args: argparse.Namespace) -> Path:
    """The state directory.

    Raises:
        ConfigError: the configuration that is to name it is wrong.
    """
    config = config_of(args)
    directory: Path = args.state_dir if config is None else config.agent.state_dir
    return directory
