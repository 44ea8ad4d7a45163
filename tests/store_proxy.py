"""Between a client and a real object store: requests lost before it, answers lost behind it, conflicts, and bytes counted."""

import http.client
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>a conflicting operation is under way</Message></Error>"
_REFUSED = b"<Error><Code>AccessDenied</Code><Message>access denied</Message></Error>"


class Fate(Enum):
    """What becomes of a request.

    CONFLICT: S3's 409 for a conditional put beside another, which has not happened. REFUSE: 403. HANG: it is neither passed on
    nor answered, as long as the proxy lives.
    """

    PASS = "pass"
    LOSE_REQUEST = "lose request"
    LOSE_ANSWER = "lose answer"
    CONFLICT = "conflict"
    REFUSE = "refuse"
    HANG = "hang"


@dataclass(frozen=True)
class Request:
    """`headers` may be changed before it is passed on."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_commit(self) -> bool:
        """Whether it puts a record of a table's log; Google's JSON interface has its name in the body."""
        named = self.path.encode() if self.method == "PUT" else self.body[:1000] if self.method == "POST" else b""
        return b"/_headrace/log/" in named


class StoreProxy:
    """Listens on a free loopback port in front of one on which a store listens; `rule` decides on every request."""

    def __init__(self, store_port: int) -> None:
        self.rule: Callable[[Request], Fate] = lambda _: Fate.PASS
        self.fates: list[Fate] = []
        self.answered_bytes = 0
        self._is_over = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers.items()), body)
                fate = proxy.rule(request)
                proxy.fates.append(fate)
                if fate is Fate.HANG:
                    proxy._is_over.wait()
                    self.close_connection = True
                    return
                if fate in (Fate.CONFLICT, Fate.REFUSE):
                    status, said = (409, _CONFLICT) if fate is Fate.CONFLICT else (403, _REFUSED)
                    self._answer(status, {"Content-Length": str(len(said))}, said)
                    return
                answer = None if fate is Fate.LOSE_REQUEST else proxy._passed(store_port, request)
                if answer is None or fate is Fate.LOSE_ANSWER:
                    self.close_connection = True
                    return
                proxy.answered_bytes += len(answer[2])
                self._answer(*answer)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                pass

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay  # noqa: N815 - their names there

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @staticmethod
    def _passed(port: int, request: Request) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            headers = {
                name: value for name, value in answer.getheaders() if name.lower() not in ("transfer-encoding", "connection")
            }
            content = answer.read()
            if request.method != "HEAD":
                headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
                headers["Content-Length"] = str(len(content))
            return answer.status, headers, content
        finally:
            connection.close()

    def __enter__(self) -> "StoreProxy":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._server.shutdown()
        self._server.server_close()
