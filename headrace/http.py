"""The small HTTP port that every part may have, on threads of its own: `/healthz`, `/readyz`, `/metrics` (Prometheus' text).

A part that has something for people to look at serves a page on `/` too.
"""

import contextlib
import logging
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Lock, Thread
from typing import IO, Any, cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from headrace.addresses import Address
from headrace.errors import UsageError
from headrace.health import Health
from headrace.http_access import CHALLENGE
from headrace.https import warn_if_exposed

logger = logging.getLogger(__name__)
_metrics = make_wsgi_app()
_AT_A_TIME = 64  # requests; each has a thread
_LONGEST_LINE = 65_536  # bytes, of a request
_ASKING = 32  # of them may wait for the door, which holds failures back
_TOO_MANY = HTTPStatus.TOO_MANY_REQUESTS
Door = Callable[[str | None, str], int]
"""Who sends that Authorization header, from that address, gets that HTTP status; 200 lets in."""
Page = Callable[[], bytes]
"""Makes an HTML page that holds all it needs; asked by many threads."""
_PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self._lock = Lock()
        self._open: dict[socket.socket, None] = {}  # the oldest first
        super().__init__(*args, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Over TLS, hands are shaken by the request's own thread, so that a silent peer keeps nobody else waiting."""
        connection, address = super().get_request()
        if self.tls is not None:
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread of its own for each; beyond as many as there may be the oldest is given up.

        So clients that send a byte at a time do not keep those out who ask whether we live, and who would start us again.
        """
        oldest = None
        with self._lock:
            if len(self._open) >= _AT_A_TIME:
                oldest = next(iter(self._open))
                del self._open[oldest]
            self._open[request] = None
        if oldest is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # below TLS: its thread reads the end, or fails
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """A peer that goes away, or does not shake hands, is no error of ours."""
        said = {"client": str(client_address[0])}
        if isinstance(sys.exc_info()[1], OSError):
            logger.debug("http request failed", exc_info=True, extra=said)
        else:
            logger.exception("http request failed", extra=said)

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name, as the base class does: that may take many seconds."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Answering(ServerHandler):
    request_handler: WSGIRequestHandler  # for its log; the base class's name

    def log_exception(self, exc_info: Any) -> None:
        """Never to stderr itself, and not at all what a client causes by going away: over TLS that is an ssl.SSLError."""
        if isinstance(exc_info[1], OSError):
            logger.debug("http client went away", exc_info=exc_info)
        else:
            logger.error("http request failed", exc_info=exc_info)


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def handle(self) -> None:
        """As the base class does it, with `_Answering`."""
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if len(self.raw_requestline) > _LONGEST_LINE:
            self.requestline = self.request_version = self.command = ""
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        elif self.parse_request():
            out = cast("IO[bytes]", self.wfile)
            answering = _Answering(self.rfile, out, self.get_stderr(), self.get_environ(), multithread=True)
            answering.request_handler = self
            answering.run(self.server.get_app())  # type: ignore[attr-defined]  # it is ours

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        logger.debug(format, *args)


def _at_most(asking: int, door: Door) -> Door:
    """The door, with so many before it at a time."""
    places = BoundedSemaphore(asking)

    def ask(authorization: str | None, address: str) -> int:
        if not places.acquire(blocking=False):
            return _TOO_MANY
        try:
            return door(authorization, address)
        finally:
            places.release()

    return ask


def _application(health: Health, door: Door | None, page: Page | None) -> Callable[..., Iterable[bytes]]:
    known = "/healthz, /readyz or /metrics" if page is None else "/, /healthz, /readyz or /metrics"

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, headers = environ["PATH_INFO"], [("Content-Type", "text/plain; charset=utf-8")]
        if path in ("/healthz", "/readyz"):
            status, text = _told(health, path, reasons=door is None)
        else:
            status = HTTPStatus(200 if door is None else door(environ.get("HTTP_AUTHORIZATION"), environ["REMOTE_ADDR"]))
            if status is HTTPStatus.OK and path == "/metrics":
                return _metrics(environ, start_response)  # type: ignore[no-any-return]  # untyped in prometheus-client
            if status is HTTPStatus.OK and path == "/" and page is not None:
                start_response("200 OK", _PAGE_HEADERS)
                return [page()]
            if status is HTTPStatus.OK:
                status, text = HTTPStatus.NOT_FOUND, f"not found: {known}"
            else:
                text = status.phrase.lower()
            if status is HTTPStatus.UNAUTHORIZED:
                headers.append(("WWW-Authenticate", CHALLENGE))
        start_response(f"{status.value} {status.phrase}", headers)
        return [f"{text}\n".encode()]

    return answer


def _told(health: Health, path: str, *, reasons: bool) -> tuple[HTTPStatus, str]:
    """Health; the reasons only where everybody may see the metrics too."""
    wrong = health.why_not_alive() or (health.why_not_ready() if path == "/readyz" else None)
    if wrong is None:
        return HTTPStatus.OK, "ok"
    return HTTPStatus.SERVICE_UNAVAILABLE, wrong if reasons else "not ok"


def serve_http(
    address: Address, health: Health, *, door: Door | None = None, tls: ssl.SSLContext | None = None, page: Page | None = None
) -> int:
    """Serve until the process ends, and return the port that was bound (useful where the address says 0).

    With a `door` metrics and the page on `/` are for those whom it lets in; health is told to everybody.

    Raises:
        UsageError: the port is taken or the address is not ours.
    """
    try:
        kind = _ServerV6 if ":" in address.host else _Server
        application = _application(health, None if door is None else _at_most(_ASKING, door), page)
        server = make_server(address.host, address.port, application, server_class=kind, handler_class=_QuietHandler)
        server.tls = tls
    except OSError as error:
        raise UsageError(f"http {address}: {error.strerror or error}; choose another port") from error
    warn_if_exposed(f"http {address}", address, tls=tls is not None, authenticates=door is not None, risk="read the metrics")
    Thread(target=server.serve_forever, name="http", daemon=True).start()
    return int(server.server_port)
