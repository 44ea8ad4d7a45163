"""The registry's process: binds its port, follows its log, serves until it is asked to stop.

The port is bound first (a busy one ends it before anything starts) and answers 503 until the log has been read to its end; then
the run file is written. So it may be started before its broker.
"""

import asyncio
import logging
import ssl
from pathlib import Path

from aiohttp import web

from headrace.broker_login import BrokerLogin
from headrace.clock import SystemClock
from headrace.errors import HeadraceError, UsageError
from headrace.https import https_context, warn_if_exposed
from headrace.process import async_stop_event, raise_descriptor_limit, run_file
from headrace.schemas.access import AccessControl
from headrace.schemas.bad_requests import BadRequests
from headrace.schemas.config import RegistryConfig
from headrace.schemas.kafka_log import KafkaSchemaLog
from headrace.schemas.places import ASKING, Places
from headrace.schemas.registry import Registry
from headrace.schemas.service import application

logger = logging.getLogger(__name__)
_HANDSHAKE_S = 10.0


def run_registry(config: RegistryConfig, run_file_path: Path | None) -> int:
    """Serve one registry until SIGTERM.

    Raises:
        UsageError: the port is taken, or librdkafka refuses a key; nothing has started.
        HeadraceError: the topic cannot be used.
    """
    raise_descriptor_limit()
    return asyncio.run(_serve(config, run_file_path))


async def _serve(config: RegistryConfig, run_file_path: Path | None) -> int:
    stop = async_stop_event()
    failures: list[HeadraceError] = []

    def fail(error: HeadraceError) -> None:
        failures.append(error)
        stop.set()

    logging.getLogger("aiohttp.server").addFilter(BadRequests())
    access, tls = None, None
    if config.authentication == "broker":
        access = AccessControl(BrokerLogin(config.kafka, config.topic), SystemClock(), asyncio.sleep)
    if config.ssl_keystore_location is not None:
        tls = https_context(config.ssl_keystore_location, config.ssl_key_password)
    log = KafkaSchemaLog(config.kafka, config.topic, on_failure=fail)
    registry = Registry(log)
    runner = web.AppRunner(application(registry, access), access_log=None, shutdown_timeout=5)
    await runner.setup()
    listening: asyncio.Server | None = None
    try:
        listening = await _listen(runner, config, tls)
        log.follow(registry)
        await _first_of(stop, registry.ready)
        if not stop.is_set():
            logger.info("ready", extra={"listen": config.listen, "subjects": len(registry.store.subjects())})
            with run_file(run_file_path, {"http": int(listening.sockets[0].getsockname()[1])}):
                await stop.wait()
                if failures:
                    raise failures[0]
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()
        if access is not None:
            access.close()
        await asyncio.to_thread(log.stop)
    if failures:
        raise failures[0]
    return 0


async def _listen(runner: web.AppRunner, config: RegistryConfig, tls: ssl.SSLContext | None) -> asyncio.Server:
    assert runner.server is not None
    try:
        server = await asyncio.get_running_loop().create_server(
            Places(runner.server, runner.app[ASKING]),
            config.listen.host,
            config.listen.port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else _HANDSHAKE_S,
        )
    except OSError as error:
        raise UsageError(f"listen {config.listen}: {error.strerror or error}; choose another address") from error
    warn_if_exposed(
        str(config.listen),
        config.listen,
        tls=tls is not None,
        authenticates=config.authentication != "none",
        risk="read every schema",
    )
    return server


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
