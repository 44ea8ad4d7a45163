"""Connections of pushed inputs, over TCP, TLS and Unix sockets, with a bound on who is connected; and no more than they need.

Each connection is a coroutine's own. What a peer causes ends its connection; what is ours (a spool that fails) ends the input.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from headrace.agents.sources import metrics
from headrace.agents.sources.doors import BACKLOG

logger = logging.getLogger(__name__)
HANDSHAKE_S: Final = 10.0
_READ_OUT_S: Final = 1.0  # how long a connection that is ended may still be read

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
"""Serves one connection, of the peer whose address is given, to its end."""


class Connections:
    """The connections of one input; `most` at a time, served by `serve`: both may change, for those that come then."""

    def __init__(
        self, name: str, most: int, held_bytes: int, serve: Serve, idle: "dict[asyncio.Task[None], None] | None" = None
    ) -> None:
        """`held_bytes` of each connection are read ahead, and as many again.

        Of those `idle`, by which nothing is lost, the longest makes room for another peer.
        """
        self.most, self.serve = most, serve
        self._name, self._held_bytes = name, held_bytes
        self._idle = idle if idle is not None else {}
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._servers: list[asyncio.Server] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def listen(self, sockets: Iterable[tuple[socket.socket, ssl.SSLContext | None]]) -> None:
        """Take connections at these, which are closed in the end, and no more at those before them; who is connected stays."""
        former, self._servers = self._servers, []
        for sock, tls in sockets:
            server = await asyncio.start_server(
                self._accept,
                sock=sock,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
                limit=self._held_bytes,
                backlog=BACKLOG,
            )
            self._servers.append(server)
        for server in former:
            server.close()

    async def wait(self) -> None:
        """Until something of ours fails; that is raised."""
        await asyncio.shield(self._failed)  # whoever waits may be cancelled, and wait again

    async def close(self) -> None:
        """Listen no more, and end all connections: what has come of them by now is read, for a moment at most."""
        for server in self._servers:
            server.close()
        for writer in self._tasks.values():
            _read_out(writer)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_READ_OUT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer)
        if len(self._tasks) >= self.most and self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            self._tasks.pop(longest, None)
            longest.cancel()
        if len(self._tasks) >= self.most:
            metrics.refused_connections.labels(self._name).inc()
            logger.warning("too many connections", extra={"input": self._name, "client": peer, "most": self.most})
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None, "connections are served by tasks"
        self._tasks[task] = writer
        try:
            keep_alive(writer)
            await self.serve(reader, writer, peer)
        except (OSError, EOFError) as error:  # ssl.SSLError is an OSError, TimeoutError too
            logger.debug("connection ended", extra={"input": self._name, "client": peer, "error": str(error)})
        except asyncio.CancelledError:
            pass  # we stop, or the loop does: the task has nobody who would take it
        except Exception as error:  # noqa: BLE001 - it is the input's end, and told there
            if not self._failed.done():
                self._failed.set_exception(error)
        finally:
            self._tasks.pop(task, None)
            writer.transport.abort() if task.cancelling() else writer.close()


async def together(*works: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends, or fails, which is raised, or we are cancelled; then none of them runs any more."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def peer_of(writer: asyncio.StreamWriter) -> str:
    """A peer's address; empty for a peer on this machine's own sockets."""
    name = writer.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def in_url(address: str) -> str:
    """An address as it stands in a URL: an IPv6 one in brackets, an IPv4 one in IPv6 as itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped) if found.ipv4_mapped else f"[{found}]"
    return str(found)


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Let the kernel find out that a silent peer has gone."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _read_out(writer: asyncio.StreamWriter) -> None:
    """Let a connection's reader come to its end once what the kernel holds for it is read."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer has reset it
        sock.shutdown(socket.SHUT_RD)
