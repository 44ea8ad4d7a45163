"""How to send log files to consumers (design D1): asyncio with sendfile, uvloop with pread, uvloop with os.sendfile.

    python bench/fetch_path.py [gigabytes]

One server process, one reader process, loopback, a file in the page cache, sent as regions of 1 MiB with 100 bytes of header
each. Prints throughput and the server's CPU seconds per 200 MB. The numbers behind docs/adr/0006.
"""

import asyncio
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import uvloop

REGION_BYTES = 1 << 20
PIECE_BYTES = 256 << 10
HEADER = bytes(100)


class _Flow(asyncio.Protocol):
    """Back-pressure of one transport as an event."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.connected: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.set_write_buffer_limits(high=PIECE_BYTES)  # type: ignore[attr-defined]  # of a TCP server it is a Transport
        self.connected.set_result(transport)  # type: ignore[arg-type]  # it is a Transport

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()


async def with_sendfile(flow: _Flow, fd: int, regions: int) -> None:
    """loop.sendfile of asyncio's own loop (uvloop has none)."""
    transport, loop = await flow.connected, asyncio.get_running_loop()
    with os.fdopen(os.dup(fd), "rb") as file:
        for _ in range(regions):
            transport.write(HEADER)
            await loop.sendfile(transport, file, 0, REGION_BYTES)


async def with_pread(flow: _Flow, fd: int, regions: int) -> None:
    """Pieces of 256 KiB, the next when the transport has room."""
    transport = await flow.connected
    for _ in range(regions):
        transport.write(HEADER)
        for position in range(0, REGION_BYTES, PIECE_BYTES):
            buffer = bytearray(PIECE_BYTES)
            os.preadv(fd, [buffer], position, os.RWF_NOWAIT)
            transport.write(buffer)
            await flow.room.wait()


async def with_os_sendfile(flow: _Flow, fd: int, regions: int) -> None:
    """os.sendfile past the transport; before it, the transport must have drained to keep the order."""
    transport, loop = await flow.connected, asyncio.get_running_loop()
    sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    sock.setblocking(False)
    for _ in range(regions):
        await loop.sock_sendall(sock, HEADER)
        position = 0
        while position < REGION_BYTES:
            try:
                position += os.sendfile(sock.fileno(), fd, position, REGION_BYTES - position)
            except BlockingIOError:
                writable = loop.create_future()
                loop.add_writer(sock, writable.set_result, None)
                await writable
                loop.remove_writer(sock)


def read_all(port: int, total: int) -> None:
    """The reader's process."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        buffer = bytearray(1 << 20)
        while total:
            total -= sock.recv_into(buffer)


async def measure(send: Callable[[_Flow, int, int], Awaitable[None]], fd: int, regions: int) -> None:
    """Send and print."""
    flow = _Flow()
    server = await asyncio.get_running_loop().create_server(lambda: flow, "127.0.0.1", 0)
    reader = os.fork()
    if reader == 0:
        read_all(server.sockets[0].getsockname()[1], regions * (REGION_BYTES + len(HEADER)))
        os._exit(0)
    await flow.connected
    begin, usage = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    await send(flow, fd, regions)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    megabytes = regions * REGION_BYTES / 1e6
    print(f"{send.__name__:18} {megabytes / seconds:7.0f} MB/s   {cpu * 200 / megabytes:.3f} CPU-s per 200 MB", flush=True)
    server.close()


def main() -> None:
    """Each way three times."""
    regions = int(float(sys.argv[1] if len(sys.argv) > 1 else 1) * 1000)
    with tempfile.TemporaryFile() as file:
        file.write(os.urandom(REGION_BYTES))
        file.flush()
        for _ in range(3):
            asyncio.run(measure(with_sendfile, file.fileno(), regions))
            uvloop.run(measure(with_pread, file.fileno(), regions))
            uvloop.run(measure(with_os_sendfile, file.fileno(), regions))


if __name__ == "__main__":
    main()
