"""A listener over TLS: it takes connections, shakes hands with a bound in time and number, and hands on what came through.

Sockets are taken by hand and not by the loop's own server, for three reasons: each handshake uses the context that is in force
then (certificates change without a restart), each that fails is one line in the log, and those that stall are counted: beyond
the bound the oldest is given up, so that a thousand half-open ones keep nobody out.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

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
        failed: Callable[[], None],
    ) -> None:
        """`protocol` makes what serves a connection, once its handshake is done; `failed` is told of each that does not."""
        self._failed_one = failed
        self._name, self._socket, self._context, self._protocol = name, sock, context, protocol
        self._paused: asyncio.TimerHandle | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}  # the oldest first

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
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self._handshakes) >= _MOST:
                next(iter(self._handshakes)).cancel()
            task = asyncio.ensure_future(self._shake_hands(sock, f"{address[0]}:{address[1]}"))
            self._handshakes[task] = None
            task.add_done_callback(self._handshakes.pop)

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
        self._failed_one()
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
