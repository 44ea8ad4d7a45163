"""`headrace audit --config FILE`: the audit as a part of its own, which judges again and again until it is told to stop."""

import argparse
import time
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from headrace.jobs.audit.watching import Standing, Watching

_PAGE_AGAIN_S: Final = 60


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
    ports = serve_part_http(config.audit, config.kafka or {}, health, clock, LivePage(watching))
    REGISTRY.register(AuditCollector(watching, clock))
    with run_file(args.run_file, ports):
        while not stop.is_set():
            watching.round()
            stop.wait(config.audit.every)
    return 0


class LivePage:
    """The heat map of what was judged last, for the threads that answer HTTP; drawn once for all who ask."""

    def __init__(self, watching: "Watching") -> None:
        self._watching, self._lock = watching, Lock()
        self._of: tuple[Standing | None, str | None] | None = None
        self._drawn = b""

    def __call__(self) -> bytes:
        from headrace.jobs.audit.page import page

        with self._lock:
            of = standing, trouble = self._watching.standing, self._watching.trouble
            if self._of is None or self._of[0] is not standing or self._of[1] != trouble:
                verdict = None if standing is None else standing.verdict
                self._drawn = page(verdict, trouble=trouble, again_s=_PAGE_AGAIN_S).encode()
                self._of = of
            return self._drawn
