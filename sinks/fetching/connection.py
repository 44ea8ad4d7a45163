"""One connection to a broker, on which one request at a time is on its way. It knows bytes, and neither topics nor clocks."""

import socket
import ssl
import struct
from typing import Final

from headrace.errors import PeerError
from headrace.sinks.fetching.security import Security

Address = tuple[str, int]
_PATIENCE_S: Final = 3.0
"""For connecting, and for a request to leave; meanwhile nothing lands. Then the broker is left for a while."""
_LENGTH: Final = struct.Struct(">i")
_MAX_FRAME_BYTES: Final = 100_000_000
"""As Kafka's client has it."""


class Connection:
    """Raises (all methods) PeerError: the connection is of no use any more."""

    def __init__(self, address: Address, security: Security | None = None, client_id: str = "") -> None:
        """`security`: what is asked for before the first request; it may raise UnsecuredError."""
        self._name = f"{address[0]}:{address[1]}"
        self._head = memoryview(bytearray(_LENGTH.size))
        self._frame: memoryview | None = None
        self._have = 0
        try:
            self._socket = socket.create_connection(address, timeout=_PATIENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if security is not None:
                self._socket = security.secure(self._socket, address[0], client_id)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: object) -> PeerError:
        return PeerError(f"kafka: {self._name}: {error}")

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send a request."""
        try:
            self._socket.settimeout(_PATIENCE_S)
            self._socket.sendall(data)
            self._socket.settimeout(0)
        except OSError as error:
            raise self._failed(error) from error

    def receive(self) -> memoryview | None:
        """A response, without its length; None while it is not all there. Does not wait."""
        try:
            while True:
                if self._frame is None:
                    self._have += self._into(self._head)
                    if self._have < _LENGTH.size:
                        continue
                    (size,) = _LENGTH.unpack(self._head)
                    if not 0 < size <= _MAX_FRAME_BYTES:
                        raise self._failed(f"a response of {size} bytes")
                    self._frame, self._have = memoryview(bytearray(size)), 0
                self._have += self._into(self._frame)
                if self._have == len(self._frame):
                    frame, self._frame, self._have = self._frame, None, 0
                    return frame.toreadonly()
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise self._failed(error) from error

    def _into(self, target: memoryview) -> int:
        received = self._socket.recv_into(target[self._have :])
        if not received:
            raise self._failed("the broker has closed the connection")
        return received

    def close(self) -> None:
        self._socket.close()
