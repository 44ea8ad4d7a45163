"""One broker process from start to stop: ports, lock, store, logs, groups, loop, maintenance; then all of it in reverse.

The order matters: ports are bound before anything is created on disk, so that a second start on a busy port leaves no
trace; the lock is taken before any log is read; nothing is accepted before everything is loaded.
"""

import asyncio
import contextlib
import logging
import resource
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from prometheus_client import REGISTRY

from headrace.broker.broker import Broker, random_cluster_id
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.groups.service import GroupService
from headrace.broker.handlers.table import APIS
from headrace.broker.keys.network import Listener, parse_listeners
from headrace.broker.listening import bound, endpoint_of, warn_if_exposed
from headrace.broker.log.directory import LogDirectory
from headrace.broker.log.disk import RealDisk
from headrace.broker.server import Server
from headrace.broker.watched import watch_broker
from headrace.clock import SystemClock
from headrace.http import serve_http
from headrace.process import async_stop_event, run_file, writable_directory

logger = logging.getLogger(__name__)
_STOP_GRACE_S = 3.0
_MAINTENANCE_INTERVAL_S = 1.0
_IO_THREADS = 8


def serve(config: BrokerConfig, run_file_path: Path | None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        UsageError: a busy port, an unwritable directory, or one that another broker has: nothing was started.
    """
    _raise_descriptor_limit()
    with contextlib.ExitStack() as stack:
        sockets = [(listener, stack.enter_context(bound(listener))) for listener in parse_listeners(config.listeners)]
        ports = {"kafka": sockets[0][1].getsockname()[1]}
        if config.http is not None:
            ports["http"] = serve_http(config.http)
        directory = writable_directory(config.log_dirs, "log.dirs").resolve()
        for listener, _ in sockets:
            warn_if_exposed(config, listener)
        uvloop.run(_serve(config, sockets, directory, run_file_path, ports))
    return 0


async def _serve(
    config: BrokerConfig,
    sockets: list[tuple[Listener, socket.socket]],
    directory: Path,
    run_file_path: Path | None,
    ports: dict[str, int],
) -> None:
    stop = async_stop_event()
    clock = SystemClock()
    store = SqliteStore(config.coordination.path or directory / "coordination.db")
    executor = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="io")
    asyncio.get_running_loop().set_default_executor(executor)
    logs = LogDirectory.open(
        RealDisk(),
        str(directory),
        config.log_directory(store.cluster_id(random_cluster_id())),
        clock.wall_ms(),
        overrides={topic.name: dict(topic.configs) for topic in [*store.deletions(), *store.topics()]},
    )
    broker = Broker(config, clock, store, logs, APIS, executor)
    broker.load()
    broker.groups = GroupService(broker, unique_text=lambda: secrets.token_hex(16))
    broker.groups.load()
    broker.groups.start()
    server = Server(broker)
    watch_broker(broker)
    REGISTRY.register(broker.metrics)
    for listener, sock in sockets:
        await server.listen(endpoint_of(config, listener, sock, broker.logins), sock)
    maintenance = asyncio.create_task(_maintain(broker, server))
    with run_file(run_file_path, ports):
        logger.info("broker ready", extra={"ports": ports, "topics": len(broker.topics()), "cluster_id": broker.cluster_id})
        await stop.wait()
        logger.info("broker stops")
        maintenance.cancel()
        await server.stop(_STOP_GRACE_S)
        broker.groups.close()
        await broker.close()
        logs.close(clock.wall_ms())
        store.close()
    logger.info("broker stopped")


async def _maintain(broker: Broker, server: Server) -> None:
    """Once a second: idle connections, and what the logs have to do (retention, fsync, checkpoints)."""
    while True:
        await asyncio.sleep(_MAINTENANCE_INTERVAL_S)
        try:
            server.close_idle()
            await broker.maintain()
        except Exception:  # a supervisor: without maintenance nothing is fsynced or retained, so it goes on
            logger.exception("maintenance failed")


def _raise_descriptor_limit() -> None:
    """Take as many descriptors as we may: every partition that is written holds one, and every connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # refused: then what we have must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
