"""What the machine itself takes: a server that does next to nothing, so that a table of latencies has a floor.

It cuts frames, writes what Produce carries to a file as it comes (write(2), no check, no index), makes and renames files for
CreateTopics and DeleteTopics, and answers with as many zeros as a broker would with records or facts. It does not decode,
check, look up, count or keep order between connections, and there is one process for the good client and another for its
neighbour: what is left is sockets, the disk, and the kernel's sharing of its processors. No broker that does both in one
process can be better, one that does more work for each request must be worse.
"""

import os
import selectors
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PRODUCE, _FETCH, _LIST_OFFSETS, _METADATA, _CREATE_TOPICS, _DELETE_TOPICS = 0, 1, 2, 3, 19, 20
_HEAD_BYTES = 4096  # what is looked at of a frame
_LARGE_BYTES = 10_000  # a request of so many names thousands of partitions
_ZEROS = memoryview(bytes(50_000_000))
_FILES = ("00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex", "partition.metadata")
_MADE_PARTITIONS = 200
_MOST_WRITTEN_BYTES = 4 << 30  # then the file is begun again, as a broker deletes segments


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    left_bytes: int = 0  # of the frame that is being received
    api_key: int = -1
    answer_bytes: int = 0
    to_send: list[memoryview] = field(default_factory=list)


class Floor:
    """One server process's work."""

    def __init__(self, listening: socket.socket, folder: Path) -> None:
        self._listening, self._folder = listening, folder
        self._file = os.open(folder / "records", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._selector = selectors.DefaultSelector()
        self._made = self._written_bytes = 0

    def run(self) -> None:
        """Serve until the process is ended."""
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        while True:
            for key, events in self._selector.select():
                if key.data is None:
                    self._accept()
                elif events & selectors.EVENT_WRITE:
                    self._send(key.data)
                else:
                    self._receive(key.data)

    def _accept(self) -> None:
        sock, _ = self._listening.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(sock, selectors.EVENT_READ, _Connection(sock))

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(1 << 18)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(connection.sock)
            connection.sock.close()
            return
        connection.received += data
        while self._take(connection):
            pass
        if connection.to_send:
            self._send(connection)

    def _take(self, connection: _Connection) -> bool:
        """Take what has come of one frame; whether there may be another behind it."""
        received = connection.received
        if not connection.left_bytes:
            size = int.from_bytes(received[:4], "big")
            if len(received) < min(4 + size, _HEAD_BYTES):
                return False
            connection.left_bytes = size
            connection.api_key, connection.answer_bytes = _asked(received, size)
            del received[:4]
        count = min(len(received), connection.left_bytes)
        if connection.api_key == _PRODUCE:
            with memoryview(received) as view:
                self._written_bytes += os.write(self._file, view[:count])
            if self._written_bytes > _MOST_WRITTEN_BYTES:
                os.ftruncate(self._file, 0)
                self._written_bytes = 0
        del received[:count]
        connection.left_bytes -= count
        if connection.left_bytes:
            return False
        self._change_files(connection.api_key)
        connection.to_send += [memoryview(struct.pack(">i", connection.answer_bytes)), _ZEROS[: connection.answer_bytes]]
        return len(received) >= 4

    def _send(self, connection: _Connection) -> None:
        """Send what there is; while some is left, nothing is received."""
        left = connection.to_send
        try:
            sent = connection.sock.sendmsg(left[:1000])
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            left.clear()
            sent = 0
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if left:
            left[0] = left[0][sent:]
        self._selector.modify(connection.sock, selectors.EVENT_WRITE if left else selectors.EVENT_READ, connection)

    def _change_files(self, api_key: int) -> None:
        """Directories and files of partitions, as durable as a broker makes them."""
        if api_key not in (_CREATE_TOPICS, _DELETE_TOPICS):
            return
        self._made += api_key == _CREATE_TOPICS
        for partition in range(_MADE_PARTITIONS):
            path = self._folder / f"made-{self._made}-{partition}"
            if api_key == _DELETE_TOPICS:
                path.rename(f"{path}-delete")
                continue
            path.mkdir()
            for name in _FILES:
                fd = os.open(path / name, os.O_WRONLY | os.O_CREAT)
                if name == _FILES[-1]:
                    os.write(fd, bytes(50))
                    os.fsync(fd)
                os.close(fd)
            _sync(path)
        _sync(self._folder)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def _asked(frame: Any, size_bytes: int) -> tuple[int, int]:
    """(API key, bytes of the answer) of a frame that bench/neighbours.py makes."""
    api_key, _, _, client_length = struct.unpack_from(">hhih", frame, 4)
    if api_key == _FETCH:
        (most_bytes,) = struct.unpack_from(">i", frame, 14 + client_length + 12)
        return api_key, 84_000 if size_bytes > _LARGE_BYTES else most_bytes if most_bytes > 1 << 20 else 350
    if api_key == _LIST_OFFSETS:
        return api_key, 270_000 if size_bytes > _LARGE_BYTES else 60
    if api_key == _METADATA:
        return api_key, 55_000 if frame[15 + client_length] == 0 else 100  # null: all topics
    return api_key, 300 if api_key == 18 else 60


def serve(listening: socket.socket, folder: Path) -> None:
    """In a process of its own; ends with it."""
    Floor(listening, folder).run()
