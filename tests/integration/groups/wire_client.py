"""A client of one connection that says exactly what it is told, in exactly that version; answers are decoded by kio alone."""

import socket
import ssl
import struct
from collections.abc import Mapping
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader

from headrace.broker.wire.encode import entity_writer

_API_VERSIONS = 18  # its answer's header is the first version's in every version (KIP-511)


class WireClient:
    """One connection; requests may be sent ahead of their answers."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, client_id: str = "wire") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._client_id = client_id.encode()
        self._correlation_id = 0
        self._expected: list[tuple[int, int, int]] = []

    def __enter__(self) -> "WireClient":
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def send(self, api_key: int, version: int, body: Mapping[str, Any], *, answered: bool = True) -> None:
        """Fields that the version lacks are dropped; durations are in ms. Produce with acks=0 is not `answered`."""
        schema = load_request_schema(api_key, version)
        self._correlation_id += 1
        out = bytearray(struct.pack(">hhih", api_key, version, self._correlation_id, len(self._client_id)))
        out += self._client_id
        if schema.__flexible__:
            out.append(0)
        entity_writer(schema)(out, body)
        self._socket.sendall(struct.pack(">i", len(out)) + out)
        if answered:
            self._expected.append((api_key, version, self._correlation_id))

    def receive(self) -> Any:
        """The answer to the oldest request."""
        api_key, version, correlation_id = self._expected.pop(0)
        (size,) = struct.unpack(">i", self._exactly(4))
        frame = self._exactly(size)
        schema = load_response_schema(api_key, version)
        assert struct.unpack_from(">i", frame) == (correlation_id,)
        header_size = 5 if schema.__flexible__ and api_key != _API_VERSIONS else 4
        response, used = entity_reader(schema)(frame, header_size)
        assert used + header_size == size, "bytes are left over"
        return response

    def send_bytes(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self._socket.sendall(data)

    def receive_bytes(self) -> bytes:
        """The next frame, as it is."""
        (size,) = struct.unpack(">i", self._exactly(4))
        return self._exactly(size)

    def call(self, api_key: int, version: int, body: Mapping[str, Any]) -> Any:
        self.send(api_key, version, body)
        return self.receive()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            assert piece, "the broker has closed the connection"
            data += piece
        return bytes(data)

    def forget_oldest(self) -> None:
        """The oldest request gets no answer (Produce with acks=0)."""
        self._expected.pop(0)
