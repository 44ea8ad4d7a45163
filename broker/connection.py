"""A connection's life: bytes to requests, answers to bytes, in order, with bounds. What requests mean, handlers know.

A connection handles its requests in turns (`turns.py`) and keeps a slot per request, so that several may wait (a long poll, an
fsync) while answers still leave in the order of requests. Bounds: reading pauses while requests are left that had no turn yet,
while `max.in.flight.requests.per.connection` slots are open, and while the peer does not read its answers; what is fetched
stays in its file until the transport has drained (`sending.py`), so a slow reader holds no memory. Any fault of the peer
closes its connection and logs one line.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

from headrace.broker.admission import CloseReason
from headrace.broker.dispatch import Begun, Pending, Stepped
from headrace.broker.endpoint import Endpoint
from headrace.broker.security.access import Principal
from headrace.broker.security.authentication import Authentication
from headrace.broker.security.certificate_names import subject_name
from headrace.broker.sending import Sender
from headrace.broker.session import Session
from headrace.broker.turns import Share
from headrace.broker.wire.frames import FrameReader
from headrace.errors import PeerError

if TYPE_CHECKING:
    from headrace.broker.server import Server

logger = logging.getLogger(__name__)
_NEVER_MS = 1 << 62


class _Slot:
    """The place of one request's answer among those of its connection."""

    __slots__ = ("answered", "parts")

    def __init__(self) -> None:
        self.answered = False
        self.parts: list[Any] = []  # empty: nothing is sent


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, server: "Server", endpoint: Endpoint) -> None:
        self._server, self._endpoint = server, endpoint
        self._session = Session(endpoint.name, endpoint.advertised, "?", server.broker.authorizer)
        config = server.broker.config
        if endpoint.mechanisms is not None:
            self._session.authentication = Authentication(endpoint.mechanisms)
        most_bytes = config.sasl_server_max_receive_size if endpoint.mechanisms else config.socket_request_max_bytes
        self._reader = FrameReader(most_bytes, server.receive_buffer)
        self._slots: deque[_Slot] = deque()
        self._stepped: Stepped | None = None  # the request that is being handled, in several turns
        self._tasks: set[asyncio.Task[None]] = set()
        self._bound = config.max_in_flight_requests_per_connection
        self._reading = True
        self._muted: asyncio.TimerHandle | None = None  # runs while the client is over a quota
        self._admitted = False
        self._share_of: Principal | None = None
        self.share = Share()  # until the client says who it is
        self.is_in_line = False
        self.last_active_ms = server.broker.clock.monotonic_ms()

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not say so
        self._sender = Sender(self._transport, self._server.metrics, self._go_on)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._session.client_host = peer[0].removeprefix("::ffff:")  # an IPv4 client of an IPv6 listener
        self._peer_port = peer[1] if isinstance(peer, tuple) else 0
        if self._endpoint.user_of is not None and not self._learn_user(self._endpoint.user_of):
            return
        refusal = self._server.entered(self)
        self._admitted = refusal is None
        if refusal is not None:
            self.close_for(refusal, f"as many as {refusal.value} allows are open")
            return
        wait_ms = self._server.broker.quotas.record_connection(self._session.client_host, self.last_active_ms)
        if wait_ms:
            self._close_later(wait_ms)

    def _learn_user(self, user_of: Callable[[str], str | None]) -> bool:
        """Take the client's name from its certificate, if it showed one; whether it may stay."""
        certificate = self._transport.get_extra_info("ssl_object").getpeercert(True)
        if certificate is None:
            return True
        subject = subject_name(certificate)
        user = user_of(subject)
        if user is None:
            self.close_for(CloseReason.AUTHENTICATION, f"no rule of ssl.principal.mapping.rules fits {subject}")
            return False
        self._session.principal = Principal("User", user)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._admitted:
            self._server.left(self)
        self._reader.clear()
        self._slots.clear()
        self._stepped = None
        self._sender.stop()
        if self._muted is not None:
            self._muted.cancel()
        for task in self._tasks:
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._server.metrics.bytes_in += nbytes
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._reader.received(nbytes)
        if self._reader.has_frame:
            self._server.turns.ask(self)
        self._reader.settle()
        self._read_or_wait()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._sender.pause()

    def resume_writing(self) -> None:
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._sender.resume()
        self._go_on()

    # what the line of turns calls

    def take_turn(self, until_ns: int) -> bool:
        """Send, and handle requests, until the time is over, or nothing is left that can be done; whether something is."""
        self._sender.hold()
        try:
            while self._do_next() and perf_counter_ns() < until_ns:
                pass
        except PeerError as error:
            self._refuse(error)
        finally:
            self._sender.release()
            self._reader.settle()
        self._read_or_wait()
        return self._has_work()

    # what the server calls

    @property
    def session(self) -> Session:
        return self._session

    @property
    def is_waiting_for_us(self) -> bool:
        """Whether a request is being worked on: then the connection is not idle, however silent."""
        return self._stepped is not None or any(not slot.answered for slot in self._slots)

    def close(self) -> None:
        """Close after what has been answered is sent."""
        self._transport.close()

    def close_for(self, reason: CloseReason, why: str) -> None:
        """Close at once, counted by its reason, with one line in the log."""
        self._server.metrics.connections_closed[reason.value] += 1
        logger.info("connection closed: %s", why, extra={"client": f"{self._session.client_host}:{self._peer_port}"})
        self._transport.abort()

    def _close_later(self, wait_ms: int) -> None:
        """Its address connects too often: not read, and closed when the delay is over (KIP-612)."""
        self._session.muted_until_ms = _NEVER_MS
        self._muted = asyncio.get_running_loop().call_later(
            wait_ms / 1000, self.close_for, CloseReason.TOO_FAST, "its address connects more often than its quota allows"
        )
        self._read_or_wait()

    # requests

    def _has_work(self) -> bool:
        if self._transport.is_closing():
            return False
        return self._sender.has_more or (self._may_handle() and (self._stepped is not None or self._reader.has_frame))

    def _may_handle(self) -> bool:
        bound = 1 if self._session.is_authenticating else self._bound
        if len(self._slots) >= bound or self._sender.is_paused or self._transport.is_closing():
            return False
        return not self._mutes()

    def _mutes(self) -> bool:
        """Whether the client is over a quota and not to be read; then this is looked at again when the delay is over."""
        if not self._session.muted_until_ms:
            return False
        left_ms = self._session.muted_until_ms - self._server.broker.clock.monotonic_ms()
        if left_ms <= 0:
            self._session.muted_until_ms = 0
            return False
        if self._muted is None:
            self._muted = asyncio.get_running_loop().call_later(left_ms / 1000, self._unmute)
        return True

    def _unmute(self) -> None:
        self._muted = None
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._go_on()

    def _do_next(self) -> bool:
        """One piece of what is sent, or one request or a step of it; whether there was one."""
        if self._sender.has_more:
            self._sender.send_piece()
            return True
        if not self._may_handle():
            return False
        if self._stepped is not None:
            stepped, self._stepped = self._stepped, None
            self._take_up(stepped.step())
            return True
        frame = self._reader.take()
        if frame is None:
            return False
        self._take_up(self._server.dispatcher.begin(self._session, frame))
        if self._share_of is not self._session.principal:
            self._share_of = self._session.principal
            self.share = self._server.share_of(self._session)
        return True

    def _take_up(self, begun: Begun) -> None:
        if isinstance(begun, list):
            if begun:
                self._answer_now(begun)
        elif isinstance(begun, Stepped):
            self._stepped = begun
        else:
            self._wait_for(begun)

    def _wait_for(self, pending: Pending) -> None:
        slot = _Slot()
        self._slots.append(slot)
        task = asyncio.ensure_future(self._finish(slot, pending))
        if pending.api.cancelled_with_connection:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._server.keep(task)

    async def _finish(self, slot: _Slot, pending: Pending) -> None:
        try:
            slot.parts = await pending.parts()
        except PeerError as error:
            self._refuse(error)
            return
        slot.answered = True
        self._send_answered()
        if self._session.authentication is not None:
            self._follow_login()
        self._go_on()

    def _follow_login(self) -> None:
        """After an answer that may have been the last of a login."""
        if self._session.has_failed:
            self._server.metrics.connections_closed[CloseReason.AUTHENTICATION.value] += 1
            self._transport.close()
        elif not self._session.is_authenticating:
            self._reader.accept(self._server.broker.config.socket_request_max_bytes)

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

    def _go_on(self) -> None:
        """Something that was waited for is there."""
        if self._has_work():
            self._server.turns.ask(self)
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        """Read while there is nothing to do but that."""
        reads = self._may_handle() and self._stepped is None and not self._reader.has_frame
        if reads is self._reading or self._transport.is_closing():
            return
        self._reading = reads
        if reads:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _refuse(self, error: PeerError) -> None:
        """Close the connection of a peer that broke the protocol, with one line in the log."""
        if self._transport.is_closing():
            return
        self._server.metrics.connections_closed[CloseReason.PROTOCOL.value] += 1
        logger.warning("connection closed: %s", error, extra={"client": f"{self._session.client_host}:{self._peer_port}"})
        self._sender.release()
        self._transport.close()
