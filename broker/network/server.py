"""The listeners of a broker and what all its connections share; a connection's own life is in `connection.py`."""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable, Iterator
from time import perf_counter_ns
from weakref import WeakValueDictionary

from headrace.broker.broker import Broker
from headrace.broker.keys.network import parse_overrides
from headrace.broker.network.admission import Admission, CloseReason
from headrace.broker.network.connection import Connection
from headrace.broker.network.dispatch import Dispatcher
from headrace.broker.network.endpoint import Endpoint
from headrace.broker.network.request_memory import RequestMemory
from headrace.broker.network.returning import Returning
from headrace.broker.network.tls_listener import TlsListener
from headrace.broker.network.turns import Share, Turns
from headrace.broker.security.access import Principal
from headrace.broker.security.tls import TlsContext
from headrace.broker.session import Session
from headrace.broker.telemetry.metric_families import CONNECTIONS_MUTED, REQUEST_MEMORY, REQUEST_MEMORY_LIMIT
from headrace.broker.wire.pages import Pages, ReceiveMemory

logger = logging.getLogger(__name__)


_LOOK_AGAIN_S = 0.01
_FLUSH_S = 0.5  # for what a closed connection has still to send
_BACKLOG = 1024  # connections that wait to be taken; a client beyond them tries again after a second


class Server:
    """The listeners of one broker, and every connection."""

    def __init__(self, broker: Broker) -> None:
        """On the loop that is to serve."""
        self._loop = asyncio.get_running_loop()
        self.broker = broker
        self.metrics = broker.metrics
        self.dispatcher = Dispatcher(broker)
        self.connections: set[Connection] = set()
        self.receive_memory = ReceiveMemory(self._take_back)
        config = broker.config
        self._admission = Admission(
            min(config.max_connections, _most_by_descriptors()),
            config.max_connections_per_ip,
            parse_overrides(config.max_connections_per_ip_overrides),
        )
        self.memory = RequestMemory(config.queued_max_request_bytes)
        self.metrics.watch(REQUEST_MEMORY, lambda: self.memory.held_bytes)
        self.metrics.watch(REQUEST_MEMORY_LIMIT, lambda: config.queued_max_request_bytes)
        self.metrics.watch(CONNECTIONS_MUTED, self._muted)
        self.turns = Turns(perf_counter_ns, self._loop.call_soon)
        self._returning = Returning(self.turns, perf_counter_ns, self._loop.call_soon_threadsafe)
        self._shares: WeakValueDictionary[tuple[Principal, str, str | None], Share] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[asyncio.Server | TlsListener] = []

    async def listen(self, endpoint: Endpoint, sock: socket.socket, tls: TlsContext | None) -> None:
        """Serve a bound socket, over TLS where there is a context for it."""
        if tls is not None:
            listener = TlsListener(
                endpoint.name, sock, tls, lambda: Connection(self, endpoint), self._admission, self._count_closed
            )
            listener.start()
            self._listening.append(listener)
            return
        self._listening.append(await self._loop.create_server(lambda: Connection(self, endpoint), sock=sock, backlog=_BACKLOG))

    def share_of(self, session: Session) -> Share:
        """The share of the loop's time that all connections of one client have together."""
        key = (session.principal, session.client_host, session.client_id)
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = Share()
        return share

    def _take_back(self, pages: Pages) -> None:
        """The memory of a large request, of which nobody needs anything any more; may be called on any thread."""
        if not self._loop.is_closed():
            self._returning.take(pages)

    def _count_closed(self, reason: CloseReason) -> None:
        self.metrics.connections_closed[reason.value] += 1

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold a task that outlives its connection."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def entered(self, connection: Connection) -> CloseReason | None:
        """A client has connected; why it may not stay, if it may not."""
        refusal = self._admission.enter(connection.session.client_host)
        if refusal is None:
            self.connections.add(connection)
            self.metrics.connections[connection.session.listener] += 1
        return refusal

    def left(self, connection: Connection) -> None:
        """A connection that stayed is gone."""
        self._admission.leave(connection.session.client_host)
        self.connections.discard(connection)
        self.metrics.connections[connection.session.listener] -= 1

    def refresh_certificates(self) -> None:
        """Let new connections see certificates whose files have changed."""
        for listener in self._listening:
            if isinstance(listener, TlsListener):
                listener.refresh()

    def look_around(self) -> Iterator[None]:
        """Close connections that do not go on; once a second."""
        limit_ms, now_ms = self.broker.config.connections_max_idle_ms, self.broker.clock.monotonic_ms()
        for connection in list(self.connections):
            if connection not in self.connections:  # left meanwhile
                continue
            silent_ms = now_ms - connection.last_active_ms
            is_stuck = connection.looks_stuck()
            if silent_ms > limit_ms and not connection.is_waiting_for_us:
                connection.close_for(CloseReason.IDLE, f"idle for {silent_ms} ms")
            elif connection.is_late:
                connection.close_for(CloseReason.LATE, "a request did not come in time (request.receive.timeout.ms)")
            elif is_stuck and self.memory.is_tight:
                held = connection.held_bytes
                connection.close_for(CloseReason.MEMORY, f"it keeps {held} bytes and does not go on, and memory is short")
            yield

    def make_room(self) -> None:
        """More than `queued.max.request.bytes` is held: drop those who hold most."""
        for connection in sorted(self.connections, key=lambda connection: -connection.held_bytes):
            if not self.memory.is_over:
                return
            held = connection.held_bytes
            connection.close_for(
                CloseReason.MEMORY, f"it keeps {held} bytes, and all requests more than queued.max.request.bytes"
            )

    def _muted(self) -> int:
        now_ms = self.broker.clock.monotonic_ms()
        return sum(connection.session.muted_until_ms > now_ms for connection in list(self.connections))

    async def stop(self, grace_s: float) -> None:
        """Stop listening and reading, let requests that are being worked on be answered within `grace_s`, and close.

        Who does not read its answers by then does not get them.
        """
        for server in self._listening:
            server.close()
        for connection in list(self.connections):
            connection.read_no_more()
        await _until(lambda: not any(connection.has_unsent_answers for connection in self.connections), grace_s)
        for connection in list(self.connections):
            connection.close()
        await _until(lambda: not self.connections, _FLUSH_S)
        for connection in list(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()


async def _until(holds: Callable[[], bool], at_most_s: float) -> None:
    for _ in range(int(at_most_s / _LOOK_AGAIN_S)):
        if holds():
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def _most_by_descriptors() -> int:
    """Three quarters of what we may open: a flood of connections must not keep the logs from opening their files."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4
