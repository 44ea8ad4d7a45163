"""A connection's life: bytes to requests, answers to bytes, in order, with bounds. What requests mean, handlers know.

A connection handles its requests in turns (`turns.py`); several may wait (a long poll, an fsync) while answers still leave in
the order of requests (`answers.py`). Bounds: reading pauses while requests are left that had no turn yet, while
`max.in.flight.requests.per.connection` are not answered, and while the peer does not read its answers; what is fetched stays
in its file until the transport has drained (`sending.py`), so a slow reader holds no memory. Any fault of the peer closes its
connection and logs one line.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, cast

from headrace.broker.network.admission import CloseReason
from headrace.broker.network.answers import Answers, Slot
from headrace.broker.network.dispatch import Pending, Stepped
from headrace.broker.network.endpoint import Endpoint
from headrace.broker.network.muting import Muting
from headrace.broker.network.patience import Patience
from headrace.broker.network.request_memory import SMALL_BYTES
from headrace.broker.network.sending import PIECE_BYTES, Sender
from headrace.broker.network.turns import Share
from headrace.broker.security.access import Principal
from headrace.broker.security.authentication import Authentication
from headrace.broker.security.certificate_names import subject_name
from headrace.broker.session import Session
from headrace.broker.wire.frames import RECEIVE_BYTES, FrameReader
from headrace.errors import PeerError

if TYPE_CHECKING:
    from headrace.broker.network.server import Server

logger = logging.getLogger(__name__)
_WORKING_BYTES = 1 << 20  # more than so much at a time is not worked on for one connection, but for one request that is larger
_MUCH_BYTES = 64 << 10  # when so much came at a time, and no frame is whole, more is likely to be there
_TIGHT_BUFFER_BYTES = 16 << 10  # what is received at a time while memory is short


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, server: "Server", endpoint: Endpoint) -> None:
        self._server, self._endpoint = server, endpoint
        self._session = Session(endpoint.name, endpoint.advertised, "?", server.broker.authorizer)
        config = server.broker.config
        if endpoint.mechanisms is not None:
            self._session.authentication = Authentication(endpoint.mechanisms)
        most_bytes = config.sasl_server_max_receive_size if endpoint.mechanisms else config.socket_request_max_bytes
        self._reader = FrameReader(most_bytes, server.receive_memory)
        self._stepped: Stepped | None = None  # the request that is being handled, in several turns
        self._tasks: set[asyncio.Task[None]] = set()
        self._bound = config.max_in_flight_requests_per_connection
        self._reading = True
        self._receives_in_turn = False  # more of a large frame is there, and is received when it is our turn
        self._receive_began_ns = 0
        self._muting = Muting(self._session, server.broker.clock, self._unmute)
        self._takes_more = True
        self._admitted = False
        self._share_of: Principal | None = None
        self.share = Share()  # until the client says who it is
        self.is_in_line = False
        self.last_active_ms = server.broker.clock.monotonic_ms()
        self._patience = Patience(config.request_receive_timeout_ms, self.last_active_ms)
        self._memory = server.memory
        self._frame_bytes = 0  # of the request that is handled in several turns
        self.held_bytes = 0  # of all that is kept for this client, as the memory of all requests knows it

    # what the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class does not say so
        self._sender = Sender(self._transport, self._server.metrics, self._go_on)
        self._answers = Answers(self._transport, self._sender)
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
            too_often = "its address connects more often than its quota allows"
            self._muting.until_closed(wait_ms, partial(self.close_for, CloseReason.TOO_FAST, too_often))  # KIP-612
            self._read_or_wait()

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
        self._forget()
        self._muting.cancel()
        for task in self._tasks:
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        self._receive_began_ns = perf_counter_ns()
        return self._reader.buffer(_TIGHT_BUFFER_BYTES if self._memory.is_tight else RECEIVE_BYTES)

    def buffer_updated(self, nbytes: int) -> None:
        self._server.metrics.bytes_in += nbytes
        now_ms = self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._reader.received(nbytes)
        had_turn = False
        if self._reader.has_frame:
            had_turn = self._server.turns.ask(self)
        elif nbytes >= _MUCH_BYTES:
            self._server.turns.count(self, perf_counter_ns() - self._receive_began_ns)
            self._receives_in_turn = True
            self._server.turns.ask(self)
        self._reader.settle()
        self._patience.came(nbytes, now_ms, is_in_frame=self._reader.is_in_frame or self._session.is_authenticating)
        if not had_turn:
            self._read_or_wait()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._sender.pause()

    def resume_writing(self) -> None:
        self.last_active_ms = self._server.broker.clock.monotonic_ms()
        self._patience.read(PIECE_BYTES)
        self._sender.resume()
        self._go_on()

    # what the line of turns calls

    def take_turn(self, until_ns: int, *, is_alone: bool) -> bool:
        """Send, and handle requests, until the time is over, or nothing is left that can be done; whether something is."""
        self._receives_in_turn = False
        self._sender.hold()
        more = True
        try:
            while more:
                more = self._do_next()
                if perf_counter_ns() >= until_ns:
                    break
        except PeerError as error:
            self._refuse(error)
        finally:
            self._reader.settle()
        more = more and self._has_work()
        if not (more and is_alone) or self._sender.is_held_long:
            self._sender.release()
            more = more and self._has_work()  # the transport may be full now
        self._read_or_wait()
        return more

    # what the server calls

    @property
    def session(self) -> Session:
        return self._session

    @property
    def is_waiting_for_us(self) -> bool:
        """Whether a request is being worked on: then the connection is not idle, however silent."""
        return self._stepped is not None or self._answers.are_worked_on

    @property
    def is_late(self) -> bool:
        """Whether its first request, the rest of a frame, or the rest of a login has not come in time."""
        return self._patience.is_over(self._server.broker.clock.monotonic_ms(), is_read=self._reading)

    def looks_stuck(self) -> bool:
        """Whether it keeps memory of ours and has hardly sent or read anything for some seconds, each of which asks this."""
        is_to_send = self._reading and not self.is_waiting_for_us
        is_waited_for = self.held_bytes > 0 and (is_to_send or self._sender.is_paused)
        return self._patience.looks_stuck(is_waited_for=is_waited_for)

    @property
    def has_unsent_answers(self) -> bool:
        """Whether an answer is being worked on, or sent."""
        return self._stepped is not None or len(self._answers.slots) > 0 or self._sender.is_paused

    def read_no_more(self) -> None:
        """Take up no more requests, also of those that have arrived."""
        self._takes_more = False
        self._read_or_wait()

    def close(self) -> None:
        """Close after what has been answered is sent."""
        self._sender.release()
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is not sent."""
        self._transport.abort()

    def close_for(self, reason: CloseReason, why: str) -> None:
        """Close at once, counted by its reason, with one line in the log."""
        self._server.metrics.connections_closed[reason.value] += 1
        logger.info("connection closed: %s", why, extra={"client": f"{self._session.client_host}:{self._peer_port}"})
        self._transport.abort()
        self._forget()

    def _forget(self) -> None:
        """Let go of all that is kept for it."""
        self._reader.clear()
        self._answers.clear()
        self._stepped = None
        self._sender.stop()
        self._account()

    def memory_is_free(self) -> None:
        self._read_or_wait()

    # requests

    def _has_work(self) -> bool:
        if self._transport.is_closing():
            return False
        return self._sender.has_more or (self._may_handle() and (self._stepped is not None or self._has_frame()))

    def _has_frame(self) -> bool:
        return self._takes_more and self._reader.has_frame

    def _may_handle(self) -> bool:
        session, answers = self._session, self._answers
        bound = 1 if session.authentication is not None and session.is_authenticating else self._bound
        return (
            len(answers.slots) < bound
            and answers.held_bytes <= _WORKING_BYTES
            and not self._sender.is_paused
            and not self._transport.is_closing()
            and not (session.muted_until_ms and self._muting.is_on())
        )

    def _unmute(self) -> None:
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
            begun = stepped.step()
            if not isinstance(begun, list):
                self._take_up(begun, self._frame_bytes)
            elif begun:
                self._answers.add(begun)
            return True
        frame = self._reader.take() if self._takes_more else None
        if frame is None:
            return False
        begun = self._server.dispatcher.begin(self._session, frame)
        if not isinstance(begun, list):
            self._take_up(begun, len(frame))
        elif begun:
            self._answers.add(begun)
        if self._share_of is not self._session.principal:
            self._share_of = self._session.principal
            self.share = self._server.share_of(self._session)
        return True

    def _take_up(self, begun: Pending | Stepped, frame_bytes: int) -> None:
        if isinstance(begun, Stepped):
            self._stepped, self._frame_bytes = begun, frame_bytes
        else:
            self._wait_for(begun, frame_bytes)

    def _wait_for(self, pending: Pending, frame_bytes: int) -> None:
        task = asyncio.ensure_future(self._finish(self._answers.expect(frame_bytes), pending))
        if pending.api.cancelled_with_connection:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._server.keep(task)

    async def _finish(self, slot: Slot, pending: Pending) -> None:
        try:
            parts = await pending.parts()
        except PeerError as error:
            self._refuse(error)
            return
        except asyncio.CancelledError:  # let go: what comes after it cannot be answered either
            self.close()
            raise
        if self._transport.is_closing():
            return
        self._answers.came(slot, parts)
        if self._session.authentication is not None:
            self._follow_login()
        self._go_on()

    def _follow_login(self) -> None:
        """After an answer that may have been the last of a login."""
        if self._session.has_failed:
            self._server.metrics.connections_closed[CloseReason.AUTHENTICATION.value] += 1
            self.close()
        elif not self._session.is_authenticating:
            self._reader.accept(self._server.broker.config.socket_request_max_bytes)
            self._patience.came(0, self.last_active_ms, is_in_frame=self._reader.is_in_frame)

    def _go_on(self) -> None:
        """Something that was waited for is there."""
        if self._has_work():
            self._server.turns.ask(self)
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        """Read while there is nothing to do but that."""
        self._account()
        if self._transport.is_closing():
            return
        reads = self._takes_more and self._may_handle() and self._stepped is None and not self._reader.has_frame
        reads = reads and not self._receives_in_turn and self._memory.may_grow(self, self.held_bytes)
        if reads is self._reading:
            return
        self._reading = reads
        if reads:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _account(self) -> None:
        """Tell the memory of all requests what is held here."""
        held_bytes = self._reader.held_bytes + self._answers.held_bytes + self._sender.waiting_bytes
        if self._stepped is not None:
            held_bytes += self._frame_bytes
        change = held_bytes - self.held_bytes
        if not change:
            return
        self.held_bytes = held_bytes
        if held_bytes <= SMALL_BYTES:
            self._memory.finished(self)
        self._memory.changed(change)
        if change > 0 and self._memory.is_over:
            self._server.make_room()

    def _refuse(self, error: PeerError) -> None:
        """Close the connection of a peer that broke the protocol, with one line in the log."""
        if self._transport.is_closing():
            return
        self._server.metrics.connections_closed[CloseReason.PROTOCOL.value] += 1
        logger.warning("connection closed: %s", error, extra={"client": f"{self._session.client_host}:{self._peer_port}"})
        self.close()
