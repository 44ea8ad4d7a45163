"""`headrace registry --config FILE`: one schema registry as a process."""

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, YAML")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the configuration")
    parser.add_argument("--run-file", type=Path, metavar="FILE", help="write pid and ports there once ready")


def run(args: argparse.Namespace) -> int:
    from headrace.config import load_config
    from headrace.logs import log_to_stderr
    from headrace.process import die_with_parent
    from headrace.schemas.config import RegistryConfig
    from headrace.schemas.process import run_registry

    die_with_parent()
    config = load_config(RegistryConfig, args.config, overrides=args.set, environment=os.environ)
    log_to_stderr()
    return run_registry(config, args.run_file)
