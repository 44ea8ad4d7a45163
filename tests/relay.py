"""A TCP relay between a client and a server on loopback: slow, half open, or cut before the answers are through."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

_PIECE_BYTES = 16 * 1024
_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a reset, not an end


class _Connection:
    """A client's socket and the server's; `swallows_answers` and `is_dead` say what is not passed on any more."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.swallows_answers = self.is_dead = False
        self.swallowed_bytes = 0

    def cut(self) -> None:
        for each in (self.client, self.server):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Relay:
    """Listens on a free loopback port; `bytes_per_s` bounds what goes each way, None does not."""

    def __init__(self) -> None:
        self.target_port = 0
        self.bytes_per_s: int | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, name="relay", daemon=True).start()

    def kill_connections(self) -> None:
        """Those there are stay open, and nothing goes through them any more, as if a firewall had forgotten them."""
        for each in self._connections:
            each.is_dead = True

    def swallow_answers(self) -> None:
        """What is asked on those there are arrives, and no answer comes back."""
        for each in self._connections:
            each.swallows_answers = True

    @property
    def swallowed_bytes(self) -> int:
        """Of answers."""
        return sum(each.swallowed_bytes for each in self._connections)

    def cut(self) -> None:
        """End those there are."""
        for each in self._connections:
            each.cut()
        self._connections.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                client.close()
                continue
            connection = _Connection(client, server)
            self._connections.append(connection)
            for source, to in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(connection, source, to), daemon=True).start()

    def _pieces(self, source: socket.socket, *, is_answer: bool) -> Iterator[bytes]:
        """What is passed on."""
        while data := source.recv(_PIECE_BYTES):
            yield data

    def _pass(self, connection: _Connection, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in self._pieces(source, is_answer=to is connection.client):
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
                if connection.is_dead:
                    continue
                if connection.swallows_answers and to is connection.client:
                    connection.swallowed_bytes += len(data)
                    continue
                to.sendall(data)
            if not connection.is_dead:
                connection.cut()
