"""Listeners and connections: bytes to requests, answers to bytes, in order, with bounds. What requests mean, handlers know.

A connection handles requests as they come and keeps a slot per request, so that several may wait (a long poll, an fsync) while
answers still leave in the order of requests. Bounds: reading pauses while `max.in.flight.requests.per.connection` slots are
open, and while the peer does not read its answers; what is fetched stays in its file until the transport has drained
(`sending.py`), so a slow reader holds no memory. Any fault of the peer closes its connection and logs one line.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, Encoded, RequestContext, Response
from headrace.broker.sending import Sender
from headrace.broker.session import Session
from headrace.broker.wire.frames import RECEIVE_BYTES, FrameReader
from headrace.broker.wire.header import RequestHeader, parse_header
from headrace.broker.wire.schema import RequestCodec, request_codec
from headrace.errors import HeadraceError, PeerError

logger = logging.getLogger(__name__)


_BACKLOG = 1024  # connections that wait to be taken; a client beyond them tries again after a second


class UnsupportedRequestError(PeerError):
    """An API key or a version that is not served."""


class _Slot:
    """The place of one request's answer among those of its connection."""

    __slots__ = ("answered", "parts")

    def __init__(self) -> None:
        self.answered = False
        self.parts: list[Any] = []  # empty: nothing is sent


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, server: "Server", listener: str, advertised: tuple[str, int]) -> None:
        self._server = server
        self._session = Session(listener, advertised, "?", server.broker.authorizer)
        self._reader = FrameReader(server.broker.config.socket_request_max_bytes, server.receive_buffer)
        self._backlog: deque[bytes | memoryview] = deque()  # frames beyond the bound; at most one buffer of them
        self._slots: deque[_Slot] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bound = server.broker.config.max_in_flight_requests_per_connection
        self._reading = True
        self.last_active_ms = server.broker.clock.monotonic_ms()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not say so
        self._sender = Sender(self._transport, self._server.metrics, self._go_on)
        peer = transport.get_extra_info("peername")
        self._session.client_host = peer[0] if isinstance(peer, tuple) else "?"
        self._peer_port = peer[1] if isinstance(peer, tuple) else 0
        self._server.connections.add(self)
        self._server.metrics.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self)
        self._server.metrics.connections -= 1
        self._backlog.clear()
        self._slots.clear()
        self._sender.stop()
        for task in self._tasks:
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._server.metrics.bytes_in += nbytes
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._sender.hold()
        try:
            self._backlog.extend(self._reader.received(nbytes))
            self._handle_backlog()
        except PeerError as error:
            self._sender.release()
            self._refuse(error)
        finally:
            self._sender.release()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._sender.pause()

    def resume_writing(self) -> None:
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._sender.resume()
        self._go_on()

    # what the server calls

    @property
    def is_waiting_for_us(self) -> bool:
        """Whether a request is being worked on: then the connection is not idle, however silent."""
        return any(not slot.answered for slot in self._slots)

    def close(self) -> None:
        """Close after what has been answered is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # requests

    def _handle_backlog(self) -> None:
        while self._backlog and len(self._slots) < self._bound and not self._sender.is_paused:
            if self._transport.is_closing():
                return
            self._handle(self._backlog.popleft())
        must_wait = bool(self._backlog) or len(self._slots) >= self._bound or self._sender.is_paused
        if must_wait and self._reading:
            self._transport.pause_reading()
            self._reading = False
        elif not must_wait and not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _go_on(self) -> None:
        if self._backlog or not self._reading:
            try:
                self._handle_backlog()
            except PeerError as error:
                self._refuse(error)

    def _handle(self, frame: bytes | memoryview) -> None:
        header = parse_header(frame)
        api = self._server.apis.get(header.api_key)
        if api is None or not api.min_version <= header.api_version <= api.max_version:
            self._handle_unserved(frame, header, api)
            return
        times = self._server.metrics.api(api.name)
        times.versions[header.api_version] = times.versions.get(header.api_version, 0) + 1
        codec = request_codec(header.api_key, header.api_version, (api.min_version, api.max_version))
        request = codec.decode(frame, header.body_position)
        context = RequestContext(header.api_version, codec.flexible, header.client_id, self._session)
        answer = self._supervised(api, context, request)
        if isinstance(answer, Awaitable):
            slot = _Slot()
            self._slots.append(slot)
            task = asyncio.ensure_future(self._finish(slot, codec, header.correlation_id, api, answer))
            if api.cancelled_with_connection:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                self._server.keep(task)
        elif answer is not None:
            self._answer_now(_parts(codec, header.correlation_id, answer))

    def _handle_unserved(self, frame: bytes | memoryview, header: RequestHeader, api: Api | None) -> None:
        """ApiVersions in a version of the future is answered in v0, error 35 (KIP-511); all else closes the connection."""
        if api is not None and api.refuse is not None:
            parts = api.refuse(self._server.broker, frame, header)
            if parts is not None:
                self._answer_now([len(parts).to_bytes(4, "big"), parts])
                return
        name = "unknown" if api is None else api.name
        raise UnsupportedRequestError(f"API key {header.api_key} ({name}) version {header.api_version} is not served")

    def _supervised(self, api: Api, context: RequestContext, request: Any) -> Any:
        """Call the handler; its failure ends this connection, never the broker."""
        try:
            return api.handle(self._server.broker, context, request)
        except PeerError:
            raise
        except Exception as error:
            logger.exception(
                "handler failed", extra={"api": api.name, "version": context.api_version, "client": self._session.client_host}
            )
            raise PeerError(f"{api.name} failed: {error!r}") from error

    async def _finish(
        self, slot: _Slot, codec: RequestCodec, correlation_id: int, api: Api, answer: Awaitable[Response]
    ) -> None:
        try:
            response = await answer
            slot.parts = [] if response is None else _parts(codec, correlation_id, response)
        except PeerError as error:
            self._refuse(error)
            return
        except Exception as error:  # the supervisor of handlers: it logs, and ends the connection
            logger.error("handler failed", exc_info=error, extra={"api": api.name, "client": self._session.client_host})
            self._refuse(PeerError(f"{api.name} failed: {error!r}"))
            return
        slot.answered = True
        self._send_answered()
        self._go_on()

    def _answer_now(self, parts: list[Any]) -> None:
        if not self._slots:
            self._sender.send(parts)
            return
        slot = _Slot()
        slot.parts, slot.answered = parts, True
        self._slots.append(slot)

    def _send_answered(self) -> None:
        while self._slots and self._slots[0].answered:
            parts = self._slots.popleft().parts
            if parts and not self._transport.is_closing():
                self._sender.send(parts)

    def _refuse(self, error: HeadraceError) -> None:
        """Close the connection of a peer that broke the protocol, with one line in the log."""
        if self._transport.is_closing():
            return
        self._server.metrics.connections_refused += 1
        logger.warning("connection closed: %s", error, extra={"client": f"{self._session.client_host}:{self._peer_port}"})
        self._transport.close()


def _parts(codec: RequestCodec, correlation_id: int, response: Mapping[str, Any] | Encoded) -> list[Any]:
    """A whole answer in parts, its size first."""
    if isinstance(response, Encoded):
        header = codec.header(correlation_id)
        size = len(header) + sum(map(len, response.parts))
        first, *rest = response.parts
        return [size.to_bytes(4, "big") + header + first, *rest]
    body = codec.encode(correlation_id, response)
    return [len(body).to_bytes(4, "big") + body]


class Server:
    """The listeners of one broker, and every connection."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.apis = broker.apis
        self.metrics = broker.metrics
        self.connections: set[Connection] = set()
        self.receive_buffer = bytearray(RECEIVE_BYTES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.Server] = []

    async def listen(self, name: str, sock: socket.socket, advertised: tuple[str, int]) -> None:
        """Serve a bound socket as the listener `name`; `advertised` is the address that clients are told."""
        loop = asyncio.get_running_loop()
        self._listening.append(
            await loop.create_server(lambda: Connection(self, name, advertised), sock=sock, backlog=_BACKLOG)
        )

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task that outlives its connection."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close_idle(self) -> None:
        """Close connections that were silent for `connections.max.idle.ms` and wait for nothing of ours."""
        limit_ms = self.broker.config.connections_max_idle_ms
        now_ms = self.broker.clock.monotonic_ms()
        for connection in list(self.connections):
            if now_ms - connection.last_active_ms > limit_ms and not connection.is_waiting_for_us:
                logger.info("connection closed: idle for %d ms", now_ms - connection.last_active_ms)
                connection.abort()

    async def stop(self, grace_s: float) -> None:
        """Stop listening, let requests that are being worked on end within `grace_s`, and close every connection."""
        for server in self._listening:
            server.close()
        for connection in list(self.connections):
            if not connection.is_waiting_for_us:
                connection.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for connection in list(self.connections):
            connection.close()
        await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
