"""`headrace load`: land topics as tables, until told to stop, or once up to the end."""

import argparse

from headrace.part import add_part_arguments, begin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace load`."""
    add_part_arguments(parser)
    parser.add_argument("--once", action="store_true", help="drain to the ends as they are at the start, commit, and exit")


def run(args: argparse.Namespace) -> int:
    """Run the loader; exit status 0 when it has committed what it read."""
    import time

    from headrace.clock import SystemClock
    from headrace.health import Health
    from headrace.part_http import serve_part_http
    from headrace.process import run_file, stop_event, writable_directory
    from headrace.sinks.config import LoadConfig
    from headrace.sinks.loader import Loader

    config = begin(LoadConfig, args)
    stop = stop_event()
    writable_directory(config.load.directory, "load.root")
    health = Health(time.monotonic)
    clock = SystemClock()
    ports = serve_part_http(config.load, config.kafka, health, clock)
    loader = Loader(config, clock, once=args.once)
    health.not_ready(loader.why_not_ready)
    with run_file(args.run_file, ports):
        loader.run(stop)
    return 0
