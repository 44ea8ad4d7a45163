"""The small HTTP port that every part may have, on threads of its own: `/healthz`, `/readyz`, `/metrics` (Prometheus' text)."""

import logging
import socket
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from headrace.config_values import Address
from headrace.errors import UsageError
from headrace.health import Health

logger = logging.getLogger(__name__)
_metrics = make_wsgi_app()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name, as the base class does: that may take many seconds."""
        TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        logger.debug(format, *args)


def _application(health: Health) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return _metrics(environ, start_response)  # type: ignore[no-any-return]
        status, text = _told(health, environ["PATH_INFO"])
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{text}\n".encode()]

    return answer


def _told(health: Health, path: str) -> tuple[str, str]:
    if path not in ("/healthz", "/readyz"):
        return "404 Not Found", "not found: /healthz, /readyz or /metrics"
    wrong = health.why_not_alive() or (health.why_not_ready() if path == "/readyz" else None)
    return ("200 OK", "ok") if wrong is None else ("503 Service Unavailable", wrong)


def serve_http(address: Address, health: Health) -> int:
    """Serve until the process ends, and return the port that was bound (useful where the address says 0).

    Raises:
        UsageError: the port is taken or the address is not ours.
    """
    try:
        kind = _ServerV6 if ":" in address.host else _Server
        server = make_server(address.host, address.port, _application(health), server_class=kind, handler_class=_QuietHandler)
    except OSError as error:
        raise UsageError(f"http {address}: {error.strerror or error}; choose another port") from error
    if not address.is_loopback:
        logger.warning(
            "LISTENING BEYOND THIS MACHINE WITHOUT TLS AND WITHOUT AUTHENTICATION: anybody who reaches "
            "http %s can read the metrics; use loopback or a firewall",
            address,
        )
    Thread(target=server.serve_forever, name="http", daemon=True).start()
    return int(server.server_port)
