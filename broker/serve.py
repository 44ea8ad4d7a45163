"""One broker process from start to stop: ports, lock, store, logs, groups, loop, maintenance; then all of it in reverse.

The order matters: ports are bound before anything is created on disk, so that a second start on a busy port leaves no
trace; the lock is taken before any log is read; nothing is accepted before everything is loaded.
"""

import asyncio
import contextlib
import gc
import logging
import secrets
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from prometheus_client import REGISTRY

from headrace import systemd
from headrace.broker.broker import Broker, random_cluster_id
from headrace.broker.compacting import Compactor
from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.sqlite import SqliteStore
from headrace.broker.groups.service import GroupService
from headrace.broker.handlers.table import APIS
from headrace.broker.known_directories import forget, remember, with_missing
from headrace.broker.log.claims import Claims, claim_directories
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.disk import ReadOnlyDisk, RealDisk
from headrace.broker.network.listening import Bound, bootstrap_of, endpoint_of, open_listeners, tls_contexts, warn_if_exposed
from headrace.broker.network.server import Server
from headrace.broker.security.tls import TlsContext
from headrace.broker.starting import Progress, open_logs, store_path
from headrace.broker.stopping import stop_broker
from headrace.broker.takeover import settle, take_over
from headrace.broker.telemetry.http_door import BrokerDoor
from headrace.broker.telemetry.metrics import Metrics
from headrace.broker.telemetry.readiness import how_far, tell_ready
from headrace.broker.telemetry.watched import watch_broker, watch_compaction, watch_start
from headrace.broker.unhurried import done
from headrace.clock import SystemClock
from headrace.errors import UsageError
from headrace.health import Health
from headrace.http import serve_http
from headrace.https import server_context
from headrace.process import async_stop_event, raise_descriptor_limit, run_file, wake_in_time
from headrace.stopping import SAME_WISH_S, Stop

logger = logging.getLogger(__name__)
_SWITCH_INTERVAL_S = 0.00005  # so long a thread and the busy loop wait for the GIL that the other has (ADR 0025)
_STOP_BOUND_S = 60.0
_GARBAGE_THRESHOLDS = (10_000, 20, 50)  # objects, then collections of the younger generation
_MAINTENANCE_INTERVAL_S = 1.0
_IO_THREADS = 8


def serve(config: BrokerConfig, run_file_path: Path | None) -> int:
    """Serve until SIGTERM or SIGINT; the exit status.

    Raises:
        UsageError: a busy port, an unwritable directory, or one that another broker has: nothing was started.
    """
    raise_descriptor_limit()  # every partition that is written holds one, and every connection
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    wake_in_time()  # who waits for the GIL does so with a timer
    health = Health(time.monotonic)
    with contextlib.ExitStack() as stack:
        contexts = {} if config.security else tls_contexts(config)
        listeners = open_listeners(config, stack)
        ports = {"kafka": listeners[0].sock.getsockname()[1]}
        door = BrokerDoor() if config.knows_its_clients() else None
        if not config.security:
            ports |= _serve_http(config, health, door)
        paths = list(map(str, _resolved(config.log_directories())))
        claims = claim_directories(RealDisk(), paths, config.node_id)
        stack.callback(claims.release)
        store = store_path(config.coordination.path, paths, claims)
        if config.security:
            from headrace.broker.security_on import prepare

            with contextlib.closing(SqliteStore(store)) as kept:
                config = prepare(config, Path(claims.held[0].path), kept, bootstrap_of(config, listeners[0]))
            contexts = tls_contexts(config)
            ports |= _serve_http(config, health, door)  # with the certificate that there is now
        for bound in listeners:
            warn_if_exposed(config, bound.listener)
        uvloop.run(_serve(config, listeners, contexts, claims, store, run_file_path, ports, health, door))
    return 0


def _serve_http(config: BrokerConfig, health: Health, door: BrokerDoor | None) -> dict[str, int]:
    """The HTTP port by its name, if there is one."""
    if config.http is None:
        return {}
    tls = server_context(config.http_ssl_keystore_location, config.http_ssl_key_password)
    return {"http": serve_http(config.http, health, door=door, tls=tls)}


async def _serve(
    config: BrokerConfig,
    listeners: list[Bound],
    contexts: Mapping[str, TlsContext],
    claims: Claims,
    store_file: Path,
    run_file_path: Path | None,
    ports: dict[str, int],
    health: Health,
    door: BrokerDoor | None,
) -> None:
    told_to_stop = async_stop_event()
    began_s = time.monotonic()
    clock = SystemClock()
    store = SqliteStore(store_file)
    claims = with_missing(claims, store, config.log_dirs_given_up)
    taken = take_over(store, ReadOnlyDisk(), [claim.path for claim in claims.held])
    executor = ThreadPoolExecutor(_IO_THREADS, thread_name_prefix="io")
    asyncio.get_running_loop().set_default_executor(executor)
    progress = Progress()
    health.not_ready(lambda: how_far(progress))
    starting = Metrics()
    watch_start(starting, progress)
    REGISTRY.register(starting)
    loading = asyncio.create_task(_load(config, claims, store, clock.wall_ms(), progress))
    async with health.watched(systemd.alive):
        await asyncio.wait((loading, asyncio.create_task(told_to_stop.wait())), return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():  # told to stop: what is half loaded is as after a crash
        loading.cancel()
        logger.info("broker stopped before it was ready")
        return
    logs = loading.result()
    broker = Broker(config, clock, store, logs, APIS, executor)
    remember(store, logs)
    broker.load()
    forget(store, logs, config.log_dirs_given_up)
    settle(store, logs.all(), taken)
    broker.groups = GroupService(broker, unique_text=lambda: secrets.token_hex(16))
    broker.groups.load()
    broker.groups.start()
    server = Server(broker)
    if door is not None:
        door.open(broker)
    watch_broker(broker)
    REGISTRY.register(broker.metrics)
    for bound in listeners:
        await server.listen(endpoint_of(config, bound, broker.logins), bound.sock, contexts.get(bound.listener.name))
    maintenance = [asyncio.create_task(_maintain(broker, server))]
    if config.security:
        from headrace.broker.security_on import keep_certificates

        maintenance.append(asyncio.create_task(keep_certificates(config, Path(claims.held[0].path), clock)))
    compactor = Compactor(
        logs,
        clock,
        executor,
        config.cleaner_limits(),
        processes=config.log_cleaner_threads,
        backoff_ms=config.log_cleaner_backoff_ms,
    )
    watch_compaction(broker.metrics, compactor.counts, clock)
    compactor.start()
    _collect_less_garbage()
    with run_file(run_file_path, ports):
        async with health.watched(systemd.alive):
            tell_ready(broker, ports, health, time.monotonic() - began_s)
            await told_to_stop.wait()
        stop = Stop(_STOP_BOUND_S, SAME_WISH_S)
        health.not_ready("stopping")
        systemd.notify("STOPPING=1")
        logger.info("broker stops", extra={"connections": len(server.connections)})
        for task in maintenance:
            task.cancel()
        await compactor.close()
        if door is not None:
            door.close()
        await stop_broker(broker, server, executor, stop, lambda: logs.close(clock.wall_ms()))
    logger.info("broker stopped", extra={"seconds": round(stop.finished(), 3)})


def _collect_less_garbage() -> None:
    """Keep full collections off the loop: to look at all that stays anyway took 35 ms, thrice a second beside long requests.

    What is there now is not looked at again. Hardly anything of a request is cyclic: what one of 10,000 items allocates is gone
    before it would be looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


async def _load(config: BrokerConfig, claims: Claims, store: SqliteStore, now_ms: int, progress: Progress) -> LogDirectories:
    topics, deletions = store.topics(), store.deletions()
    threads = config.num_recovery_threads_per_data_dir
    return await open_logs(
        RealDisk(),
        claims,
        config.log_directory(claims.cluster_id or store.cluster_id(random_cluster_id())),
        now_ms,
        overrides={topic.name: dict(topic.configs) for topic in topics},
        deleted={topic.topic_id for topic in deletions},
        processes=threads and threads * len(claims.held),
        progress=progress,
    )


def _resolved(directories: list[Path]) -> list[Path]:
    """The directories as they are when links are followed; one that cannot be looked at is told apart later."""
    resolved = [directory.absolute().resolve() for directory in directories]
    for at, directory in enumerate(resolved):
        if directory in resolved[:at]:
            raise UsageError(f"log.dirs {directories[at]}: is named twice, as {directory}")
    return resolved


async def _maintain(broker: Broker, server: Server) -> None:
    """Once a second: idle connections, certificates, and what the logs have to do (retention, fsync, checkpoints)."""
    while True:
        await asyncio.sleep(_MAINTENANCE_INTERVAL_S)
        try:
            await done(server.look_around())
            server.refresh_certificates()
            broker.logins.keep_fresh()
            await broker.maintain()
        except Exception:  # a supervisor: without maintenance nothing is fsynced or retained, so it goes on
            logger.exception("maintenance failed")
