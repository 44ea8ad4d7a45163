"""How the command of every part begins: the same three options, and the configuration that they name.

Cheap to import: what reads a configuration is imported when a part starts.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from headrace.config import Section

M = TypeVar("M", bound="Section")


def add_part_arguments(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Define the options that every part has; `required` false: the part has commands that need no configuration."""
    parser.add_argument(
        "--config", type=Path, required=required, metavar="FILE", help="its configuration (YAML; docs/configuration.md)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of it; may be given again"
    )
    parser.add_argument("--run-file", type=Path, metavar="FILE", help="write process id and ports there when ready")


def begin(model: type[M], args: argparse.Namespace) -> M:
    """Bind this process to the supervisor that started it, send its log to stderr, and read its configuration.

    Raises:
        ConfigError: the configuration is wrong; nothing has started.
    """
    from headrace.config import load_config

    begin_process()
    return load_config(model, args.config, overrides=args.set, environment=os.environ)


def begin_process(*, limit_log: bool = False) -> None:
    """The first two of that; `limit_log` bounds how often each place in the code writes a line."""
    from headrace.logs import log_to_stderr
    from headrace.process import die_with_parent

    die_with_parent()
    log_to_stderr(limit_all=limit_log)
