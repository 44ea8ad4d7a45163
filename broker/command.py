"""`headrace broker`: one broker as one process."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every part has."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the broker's configuration (YAML)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key; may be repeated")
    parser.add_argument("--run-file", type=Path, metavar="FILE", help="where to write process id and ports when ready")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT."""
    import os

    from headrace.broker.config import BrokerConfig
    from headrace.broker.serve import serve
    from headrace.config import load_config
    from headrace.logs import log_to_stderr
    from headrace.process import die_with_parent

    die_with_parent()
    log_to_stderr()
    config = load_config(BrokerConfig, args.config, overrides=args.set, environment=os.environ)
    return serve(config, args.run_file)
