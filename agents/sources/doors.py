"""Where pushed inputs listen: sockets that are open for as long as the configuration asks for them, whoever takes in there.

A source gets a descriptor of its own for an open door. So when a reload ends one source and begins another, connections that
come meanwhile wait in the kernel, and so do datagrams: a door that both ask for is never shut. All doors that a new
configuration asks for are opened before anything of the old one ends, so a port that is taken changes nothing.
"""

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from headrace.addresses import Address
from headrace.errors import UsageError

BACKLOG: Final = 1024
Kind = Literal["tcp", "udp", "stream", "datagram"]


@dataclass(frozen=True, slots=True)
class Door:
    """One place to listen at.

    `input` tells whose door at port 0 it is, which is another one for each; `shown` names it in errors; `transport` is what its
    port is told by.
    """

    kind: Kind
    at: Address | Path
    input: str = ""
    transport: str = field(default="", compare=False)
    shown: str = field(default="", compare=False)

    @classmethod
    def of_address(cls, kind: Kind, at: Address, name: str, transport: str, shown: str) -> "Door":
        """A port, of the input of that name if any will do."""
        return cls(kind, at, f"{name}.{transport}" if at.port == 0 else "", transport, f"{shown} {at}")

    @classmethod
    def of_path(cls, kind: Kind, at: Path, transport: str, shown: str) -> "Door":
        """A socket of this machine."""
        return cls(kind, at.absolute(), "", transport, f"{shown} {at}")


class Doors:
    """Those of one agent; used by one loop."""

    def __init__(self) -> None:
        self._open: dict[Door, list[socket.socket]] = {}

    async def open(self, wanted: Iterable[Door]) -> None:
        """Open those that are not open.

        Raises:
            UsageError: one is taken, or not ours; none of them is open that was not.
        """
        before = set(self._open)
        try:
            for door in wanted:
                if door not in self._open:
                    self._open[door] = await _opened(door)
        except UsageError:
            self.keep(before)
            raise

    def sockets(self, door: Door) -> list[socket.socket]:
        """An open door's, as descriptors of the caller's own."""
        return [each.dup() for each in self._open[door]]

    def port(self, door: Door) -> int:
        """Of an open door of an address."""
        return int(self._open[door][0].getsockname()[1])

    def keep(self, wanted: Iterable[Door]) -> None:
        """Shut all others."""
        kept = set(wanted)
        for door in [door for door in self._open if door not in kept]:
            for sock in self._open.pop(door):
                sock.close()
            if isinstance(door.at, Path):
                door.at.unlink(missing_ok=True)

    def close(self) -> None:
        """Shut all."""
        self.keep(())


async def _opened(door: Door) -> list[socket.socket]:
    if isinstance(door.at, Path):
        return [_at_path(door, door.at)]
    try:
        sockets = await _tcp(door.at) if door.kind == "tcp" else [await _udp(door.at)]
    except OSError as error:
        said = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)  # asyncio's is long
        raise UsageError(f"{door.shown}: {said}; choose another address") from error
    for sock in sockets:
        sock.setblocking(False)
    return sockets


async def _tcp(address: Address) -> list[socket.socket]:
    """All that the name stands for, as asyncio finds them."""
    server = await asyncio.get_running_loop().create_server(
        asyncio.Protocol, address.host, address.port, backlog=BACKLOG, start_serving=False
    )
    sockets = [each.dup() for each in server.sockets]
    server.close()
    try:
        for sock in sockets:
            sock.listen(BACKLOG)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def _udp(address: Address) -> socket.socket:
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.bind(where)
    except OSError:
        sock.close()
        raise
    return sock


def _at_path(door: Door, path: Path) -> socket.socket:
    kind = socket.SOCK_STREAM if door.kind == "stream" else socket.SOCK_DGRAM
    with _path_errors(door):
        take_path(path, kind)
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            sock.bind(str(path))
            if door.kind == "stream":
                sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        return sock


@contextlib.contextmanager
def _path_errors(door: Door) -> Iterator[None]:
    """What goes wrong at a path, as the user is told it."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{door.shown}: {error.strerror or error}; choose another path, in a directory that is ours"
        ) from error


def take_path(path: Path, kind: socket.SocketKind) -> None:
    """Remove a socket that nobody listens at any more; anything else that is there is an error.

    Raises:
        OSError: the path is in use, or something else than a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError("there is something else than a socket")
        if is_listened_at(path, kind):
            raise OSError("somebody else listens there")
        path.unlink()


LONGEST_PATH_BYTES = 107  # of a socket (unix(7): sun_path has 108, the last of them zero)


def is_listened_at(path: Path, kind: socket.SocketKind) -> bool:
    """Whether somebody listens at a socket.

    Raises:
        OSError: it cannot be known.
    """
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
