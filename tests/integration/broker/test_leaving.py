"""A connection that has gone leaves nothing to the garbage collection, which would keep everybody waiting for milliseconds."""

import asyncio
import gc
import socket
import struct
import weakref
from pathlib import Path

import uvloop

from headrace.broker.broker import Broker
from headrace.broker.network.connection import Connection
from headrace.broker.network.endpoint import Endpoint
from headrace.broker.network.server import Server
from tests.integration.node import HandClock, Node

API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 7, -1)


async def left(broker: Broker) -> list[weakref.ref[Connection]]:
    """Connections that asked once, and went."""
    server, sock = Server(broker), socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    await server.listen(Endpoint("PLAINTEXT", address), sock, None)
    gone = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(API_VERSIONS)
        await reader.readexactly(4)
        gone += [weakref.ref(connection) for connection in server.connections]
        writer.close()
        await writer.wait_closed()
        await all_gone(server)
    await asyncio.sleep(0.001)
    await server.stop(0)
    return gone


async def all_gone(server: Server) -> None:
    for _ in range(10_000):
        if not server.connections:
            return
        await asyncio.sleep(0.001)


def test_a_connection_that_has_gone_is_freed_at_once(tmp_path: Path) -> None:
    with Node(tmp_path, HandClock()).running() as (broker, _):
        gc.disable()
        try:
            gone = uvloop.run(left(broker))
            assert len(gone) == 3
            assert [reference for reference in gone if reference() is not None] == []
        finally:
            gc.enable()
