"""What a broker says of its start: to `/readyz` how far it has come, to its log and to systemd that it serves."""

import logging
import time
from importlib.metadata import version

from headrace import systemd
from headrace.broker.broker import Broker
from headrace.broker.starting import Progress
from headrace.health import Health

logger = logging.getLogger(__name__)


def how_far(progress: Progress) -> str:
    """How far the start has come."""
    left_s = progress.seconds_left(time.monotonic())
    left = "" if left_s is None else f", about {left_s:.0f} s left"
    scanned = f", {progress.bytes_done >> 20} of {progress.bytes >> 20} MiB scanned" if progress.bytes else ""
    return f"starting: {progress.logs_done} of {progress.logs} logs loaded{scanned}{left}"


def tell_ready(broker: Broker, ports: dict[str, int], health: Health, took_s: float) -> None:
    """It serves from now on."""
    health.not_ready(lambda: _why_not_ready(broker))
    systemd.notify("READY=1")
    what = {
        "version": version("headrace"),
        "listeners": broker.config.listeners,
        "ports": ports,
        "node_id": broker.node_id,
        "cluster_id": broker.cluster_id,
        "topics": len(broker.topics.all()),
        "seconds": round(took_s, 3),
    }
    logger.info("broker ready", extra=what)


def _why_not_ready(broker: Broker) -> str | None:
    """A broker that serves is not ready only when no partition of it can be used."""
    logs = broker.logs.all()
    return "every log is offline after a disk error" if logs and all(log.fenced for log in logs) else None
