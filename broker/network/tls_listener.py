"""A listener over TLS: it takes connections, shakes hands with a bound in time and number, and hands on what came through.

Sockets are taken by hand and not by the loop's own server, for three reasons: each handshake uses the context that is in force
then (certificates change without a restart), each that fails is one line in the log, and those that stall are counted: with
the connections of their address and of all, and beyond a bound of their own the oldest one of the address that has most of them
is given up, so that a thousand half-open ones keep nobody out.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from headrace.broker.network.admission import Admission, CloseReason
from headrace.broker.security.tls import TlsContext

logger = logging.getLogger(__name__)
_HANDSHAKE_S = 10.0  # as long may a handshake take
_SHUTDOWN_S = 5.0  # as long may a peer take to say goodbye
_MOST = 1000  # handshakes under way
_PAUSE_S = 1.0  # after a failure to take one
_AT_ONCE = 64  # connections taken in a turn of the loop, so that others have theirs


class TlsListener:
    """One listener."""

    def __init__(
        self,
        name: str,
        sock: socket.socket,
        context: TlsContext,
        protocol: Callable[[], asyncio.BaseProtocol],
        admission: Admission,
        closed: Callable[[CloseReason], None],
    ) -> None:
        """`protocol` makes what serves a connection, once its handshake is done; `closed` is told of each that is not."""
        self._admission, self._closed = admission, closed
        self._name, self._socket, self._context, self._protocol = name, sock, context, protocol
        self._paused: asyncio.TimerHandle | None = None
        self._handshakes: dict[asyncio.Task[None], str] = {}  # → address; the oldest first

    def start(self) -> None:
        """Take connections."""
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._take)

    def refresh(self) -> None:
        """Use certificates whose files have changed, from the next handshake on."""
        self._context.refresh()

    def close(self) -> None:
        """Take no more, and give up handshakes that are under way."""
        if self._paused is not None:
            self._paused.cancel()
        asyncio.get_running_loop().remove_reader(self._socket)
        for handshake in self._handshakes:
            handshake.cancel()

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors: those that wait are taken when there are some again
                logger.error("no connection can be taken: %s", error, extra={"listener": self._name})
                self._pause()
                return
            self._begin(sock, address[0].removeprefix("::ffff:"), address[1])

    def _begin(self, sock: socket.socket, ip: str, port: int) -> None:
        refusal = self._admission.begin_handshake(ip)
        if refusal is not None:
            self._closed(refusal)
            why = f"as many as {refusal.value} allows are open"
            logger.info("connection closed: %s", why, extra={"client": f"{ip}:{port}", "listener": self._name})
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._handshakes) >= _MOST:
            (most, _), *_ = Counter(self._handshakes.values()).most_common(1)
            next(task for task, other in self._handshakes.items() if other == most).cancel()
        task = asyncio.ensure_future(self._shake_hands(sock, f"{ip}:{port}"))
        self._handshakes[task] = ip
        task.add_done_callback(self._ended)

    def _ended(self, handshake: asyncio.Task[None]) -> None:
        self._admission.end_handshake(self._handshakes.pop(handshake))

    def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._paused = loop.call_later(_PAUSE_S, loop.add_reader, self._socket, self._take)

    async def _shake_hands(self, sock: socket.socket, client: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                sock,
                ssl=self._context.current,
                ssl_handshake_timeout=_HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except asyncio.CancelledError:
            sock.close()
            self._failed(client, "given up for newer ones, or because the broker stops")
            raise
        except (OSError, TimeoutError) as error:  # ssl.SSLError among them
            self._failed(client, _reason(error))

    def _failed(self, client: str, reason: str) -> None:
        self._closed(CloseReason.TLS)
        logger.info("connection closed: no TLS handshake: %s", reason, extra={"client": client, "listener": self._name})


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        reasons = {
            "WRONG_VERSION_NUMBER": "the client does not speak TLS; set its security.protocol to SSL or SASL_SSL",
            "HTTP_REQUEST": "the client speaks HTTP without TLS",
            "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate",
        }
        return reasons.get(error.reason or "", f"{error.reason or ''} {getattr(error, 'verify_message', '')}".strip())
    return str(error) or type(error).__name__
