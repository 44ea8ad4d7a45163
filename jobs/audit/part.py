"""`headrace audit --config FILE`: the audit as a part of its own, which judges again and again until it is told to stop."""

import argparse
import time


def serve(args: argparse.Namespace) -> int:
    """Judge each minute, keep `_SUCCESS`, and tell; exit status 0 when told to stop.

    Raises:
        UsageError: the configuration is wrong, the root cannot be used, or the port is taken; nothing has started.
    """
    from prometheus_client import REGISTRY

    from headrace.clock import SystemClock
    from headrace.health import Health
    from headrace.jobs.audit.config import AuditConfig
    from headrace.jobs.audit.metrics import AuditCollector
    from headrace.jobs.audit.watching import Watching
    from headrace.part import begin
    from headrace.part_http import serve_part_http
    from headrace.process import run_file, stop_event
    from headrace.sinks.stores.roots import open_root

    config = begin(AuditConfig, args)
    stop = stop_event()
    open_root(config.audit.root).end_with(stop)
    clock = SystemClock()
    watching = Watching(config.audit, clock)
    health = Health(time.monotonic)
    health.not_ready(watching.why_not_ready)
    health.not_alive(watching.why_not_alive)
    ports = serve_part_http(config.audit, config.kafka or {}, health, clock)
    REGISTRY.register(AuditCollector(watching, clock))
    with run_file(args.run_file, ports):
        while not stop.is_set():
            watching.round()
            stop.wait(config.audit.every)
    return 0
