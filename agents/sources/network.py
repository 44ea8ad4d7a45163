"""Listeners of pushed inputs: TCP, TLS and Unix sockets, with a bound on who is connected; and no more than they need.

Each connection is a coroutine's own. What a peer causes ends its connection; what is ours (a spool that fails) ends the input.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

from headrace.agents.sources import metrics
from headrace.config_values import Address
from headrace.errors import UsageError

logger = logging.getLogger(__name__)
HANDSHAKE_S: Final = 10.0
_BACKLOG: Final = 1024

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]
"""Serves one connection, of the peer whose address is given, to its end."""


class Connections:
    """The connections of one input."""

    def __init__(
        self, name: str, most: int, held_bytes: int, serve: Serve, idle: "dict[asyncio.Task[None], None] | None" = None
    ) -> None:
        """`held_bytes` of each connection are read ahead, and as many again.

        Of those `idle`, by which nothing is lost, the longest makes room for another peer.
        """
        self._name, self._most, self._held_bytes, self._serve = name, most, held_bytes, serve
        self._idle = idle if idle is not None else {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ports: dict[str, int] = {}

    async def listen(self, transport: str, address: Address, tls: ssl.SSLContext | None = None) -> None:
        """Listen at an address.

        Raises:
            UsageError: it is taken, or not ours.
        """
        try:
            server = await asyncio.start_server(
                self._accept,
                address.host,
                address.port,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
                limit=self._held_bytes,
                backlog=_BACKLOG,
            )
        except OSError as error:
            said = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)  # asyncio's is long
            raise UsageError(f"{self._name} {transport} {address}: {said}; choose another address") from error
        self._servers.append(server)
        self.ports[transport] = server.sockets[0].getsockname()[1]

    async def listen_unix(self, path: Path, mode: int) -> None:
        """Listen at a path.

        Raises:
            UsageError: somebody else listens there, or it cannot be made.
        """
        with unix_errors(self._name, path):
            take_path(path, socket.SOCK_STREAM)
            self._servers.append(await asyncio.start_unix_server(self._accept, path, limit=self._held_bytes, backlog=_BACKLOG))
            os.chmod(path, mode)
        self._sockets.append(path)

    async def wait(self) -> None:
        """Until something of ours fails; that is raised."""
        await self._failed

    async def close(self) -> None:
        """End all connections, and listen no more."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path in self._sockets:
            path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer)
        if len(self._tasks) >= self._most and self._idle:
            longest = next(iter(self._idle))
            del self._idle[longest]
            self._tasks.discard(longest)
            longest.cancel()
        if len(self._tasks) >= self._most:
            metrics.refused_connections.labels(self._name).inc()
            logger.warning("too many connections", extra={"input": self._name, "client": peer, "most": self._most})
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None, "connections are served by tasks"
        self._tasks.add(task)
        try:
            keep_alive(writer)
            await self._serve(reader, writer, peer)
        except (OSError, EOFError) as error:  # ssl.SSLError is an OSError, TimeoutError too
            logger.debug("connection ended", extra={"input": self._name, "client": peer, "error": str(error)})
        except asyncio.CancelledError:
            pass  # we stop, or the loop does: the task has nobody who would take it
        except Exception as error:  # noqa: BLE001 - it is the input's end, and told there
            if not self._failed.done():
                self._failed.set_exception(error)
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one fails, which is raised, or we are cancelled; then none of them runs any more."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
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


@contextlib.contextmanager
def unix_errors(name: str, path: Path) -> Iterator[None]:
    """What goes wrong at a path, as the user is told it."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{name} {path}: {error.strerror or error}; choose another path, in a directory that is ours"
        ) from error


def take_path(path: Path, kind: socket.SocketKind) -> None:
    """Remove a socket that nobody listens at any more; anything else that is there is an error.

    Raises:
        OSError: the path is in use, or something else than a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError("there is something else than a socket")
        with socket.socket(socket.AF_UNIX, kind) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
                return
        raise OSError("somebody else listens there")
