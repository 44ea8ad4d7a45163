"""`headrace load`: land topics as tables, until told to stop, or once up to the end."""

import argparse
import contextlib
import gc
from typing import TYPE_CHECKING, Final

from headrace.errors import UsageError
from headrace.part import add_part_arguments, begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.clock import Clock
    from headrace.sinks.config import Load

_GARBAGE_THRESHOLDS: Final = (100_000, 20, 100)
"""Records come as objects by the ten thousand, without cycles: looking through them for cycles took a twentieth of all time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the options of `headrace load`."""
    add_part_arguments(parser)
    parser.add_argument("--once", action="store_true", help="drain to the ends as they are at the start, commit, and exit")
    parser.add_argument("--rewind", metavar="TOPIC", help="land TOPIC again from --to on, beside its table")
    parser.add_argument(
        "--to", metavar="WHERE", help="beginning, PARTITION:OFFSET,… or a time; without it, an interrupted rewind goes on"
    )
    parser.add_argument(
        "--columns-of",
        metavar="PARTITION:OFFSET",
        help="with --to: begin with the columns of this record, not with those of the first one that is landed",
    )


def run(args: argparse.Namespace) -> int:
    """Run the loader; exit status 0 when it has committed what it read."""
    import time

    from prometheus_client import REGISTRY

    from headrace.clock import SystemClock
    from headrace.health import Health
    from headrace.part_http import serve_part_http
    from headrace.process import run_file, stop_event
    from headrace.sinks.config import LoadConfig
    from headrace.sinks.lag.collector import StandingsCollector
    from headrace.sinks.lag.telling import telling
    from headrace.sinks.loader import Loader
    from headrace.sinks.stores.roots import open_root

    if args.to is not None and args.rewind is None:
        raise UsageError("--to belongs to --rewind TOPIC")
    if args.columns_of is not None and args.to is None:
        raise UsageError("--columns-of belongs to --rewind TOPIC --to WHERE")
    config = begin(LoadConfig, args)
    stop = stop_event()
    root = open_root(config.load.root, spool=config.load.spool)
    root.end_with(stop)
    root.prepare()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    if args.rewind is not None:
        from headrace.sinks.rewind_command import rewind

        return rewind(config, args.rewind, args.to, stop, columns=args.columns_of)
    health = Health(time.monotonic)
    clock = SystemClock()
    ports = serve_part_http(config.load, config.kafka, health, clock)
    with _projector(config.load, clock) as landed, run_file(args.run_file, ports):
        loader = Loader(config, clock, once=args.once, landed=landed, rewind=None)
        health.not_ready(loader.why_not_ready)
        if ports:
            REGISTRY.register(StandingsCollector(loader.standings, clock))
        with telling(loader.standings, once=args.once):
            loader.run(stop)
    return 0


@contextlib.contextmanager
def _projector(load: "Load", clock: "Clock") -> "Iterator[Callable[[str], None]]":
    """What the loader says to whoever shows its tables elsewhere: that it has landed in one."""
    if load.iceberg is None:
        yield lambda topic: None  # noqa: ARG005
        return
    try:
        from headrace.sinks.iceberg.projector import Projector
    except ModuleNotFoundError as error:
        raise UsageError(f"load.iceberg: {error.name} is missing; install it with: pip install 'headrace[iceberg]'") from error

    projector = Projector(load.iceberg, load.root, clock)
    projector.start()
    try:
        yield projector.landed
    finally:
        projector.close()
