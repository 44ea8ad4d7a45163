"""One broker process from start to stop: ports, lock, store, logs, groups, loop, maintenance; then all of it in reverse.

The order matters: ports are bound before anything is created on disk, so that a second start on a busy port leaves no
trace; the lock is taken before any log is read; nothing is accepted before everything is loaded.
"""

import asyncio
import contextlib
import errno
import logging
import resource
import secrets
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from prometheus_client import REGISTRY

from headrace.broker.broker import Broker, random_cluster_id
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.groups.service import GroupService
from headrace.broker.handlers.table import APIS
from headrace.broker.keys.network import EVERY_INTERFACE, Listener, parse_listeners
from headrace.broker.log.directory import LogDirectory
from headrace.broker.log.disk import RealDisk
from headrace.broker.server import Server
from headrace.broker.watched import watch_broker
from headrace.clock import SystemClock
from headrace.errors import UsageError
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
        sockets = [(listener, stack.enter_context(_bound(listener))) for listener in parse_listeners(config.listeners)]
        ports = {"kafka": sockets[0][1].getsockname()[1]}
        if config.http is not None:
            ports["http"] = serve_http(config.http)
        directory = writable_directory(config.log_dirs, "log.dirs").resolve()
        _warn_if_exposed(sockets)
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
    told = parse_listeners(config.advertised_listeners) if config.advertised_listeners else []
    advertised = {listener.name: listener for listener in told}
    for listener, sock in sockets:
        await server.listen(listener.name, sock, _told(listener, advertised.get(listener.name), sock))
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


def _told(listener: Listener, advertised: Listener | None, sock: socket.socket) -> tuple[str, int]:
    """The address that clients are told: the advertised one, else the one that is bound, with the real port."""
    if advertised is not None:
        return advertised.host, advertised.port
    host = socket.gethostname() if listener.host in EVERY_INTERFACE else listener.host
    return host, int(sock.getsockname()[1])


@contextlib.contextmanager
def _bound(listener: Listener) -> Iterator[socket.socket]:
    """A bound socket that does not listen yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"listeners {listener.host}: {error.strerror or error}; name an address of this machine") from error
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(1024)
        except OSError as error:
            where = f"{listener.host}:{listener.port}"
            hint = "is another broker running there?" if error.errno == errno.EADDRINUSE else "name an address of this machine"
            raise UsageError(f"listeners {where}: {error.strerror or error}; {hint}") from error
        yield sock


def _warn_if_exposed(sockets: list[tuple[Listener, socket.socket]]) -> None:
    for listener, _ in sockets:
        if not listener.is_loopback:
            logger.warning(
                "LISTENING BEYOND THIS MACHINE WITHOUT TLS AND WITHOUT AUTHENTICATION: anybody who reaches "
                "%s:%d can read and write every topic; use loopback or a firewall",
                listener.host,
                listener.port,
            )
