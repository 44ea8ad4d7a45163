"""`headrace load`: land topics as tables, until told to stop, or once up to the end."""

import argparse
import os
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="YAML: load, kafka, registry")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key of the configuration")
    parser.add_argument("--run-file", type=Path, metavar="FILE", help="write {pid, ports} here when ready")
    parser.add_argument("--once", action="store_true", help="drain to the ends as they are at the start, commit, and exit")


def run(args: argparse.Namespace) -> int:
    """Run the loader; exit status 0 when it has committed what it read."""
    from headrace import process
    from headrace.clock import SystemClock
    from headrace.config import load_config
    from headrace.errors import ConfigError
    from headrace.http import serve_http
    from headrace.logs import log_to_stderr
    from headrace.sinks.config import LoadConfig
    from headrace.sinks.loader import Loader, kafka_problem

    config = load_config(LoadConfig, args.config, overrides=args.set, environment=os.environ)
    if problem := kafka_problem(config.kafka):
        raise ConfigError(f"{args.config}: kafka: {problem}")
    process.die_with_parent()
    stop = process.stop_event()
    process.writable_directory(config.load.directory, "load.root")
    ports = {}
    if config.load.http:
        host, _, port = config.load.http.rpartition(":")
        ports["http"] = serve_http(host, int(port))
    log_to_stderr()
    loader = Loader(config, SystemClock(), once=args.once)
    with process.run_file(args.run_file, ports):
        loader.run(stop)
    return 0
