"""The http input: JSON, NDJSON and text posted to a path, and OTLP/HTTP logs.

A request is answered with success once all its lines are durable in the spool, never before; while the spool is full it is told
to come again. So a client that repeats what was not answered loses nothing, whatever is killed.
"""

import asyncio
import hmac
import logging
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.agents.sources import metrics, otlp
from headrace.agents.sources.doors import Door, Doors
from headrace.agents.sources.http_bodies import decoded
from headrace.agents.sources.http_pushed import content_types, lines_of
from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.http_server import READ_BYTES, Answer, HttpConnections, Request
from headrace.agents.sources.intake import Intake, Pushed, Source
from headrace.agents.sources.listening import http_doors
from headrace.agents.sources.network import Connections, in_url, together
from headrace.agents.sources.packed import Packed
from headrace.agents.sources.scratch import Data, Scratch, Storage, Turns
from headrace.clock import Clock
from headrace.failed_logins import FailedLogins
from headrace.http_access import Credentials
from headrace.https import server_context, warn_if_exposed

if TYPE_CHECKING:
    from pydantic import SecretStr

    from headrace.agents.sources.http_keys import HttpInputKeys

logger = logging.getLogger(__name__)
_BODIES: Final = 16  # of the longest at a time, as they came or as lines: on disk
_SHORT_BYTES: Final = 2 * 1024 * 1024  # of short ones, at a time, in memory
_WORK_BYTES: Final = 512 * 1024  # of bodies that are made lines of at a time: short ones share the spool's syncs
_COME_AGAIN_S: Final = "5"
_FIRST_DELAY_MS: Final = 100


class HttpSource:
    """One http input.

    Args:
        name: of the input. doors: of the agent. scratch: a folder that is there, for what is not taken in yet.
    """

    def __init__(self, name: str, keys: "HttpInputKeys", clock: Clock, doors: Doors, scratch: Path) -> None:
        self._scratch = scratch
        self._name, self._keys, self._clock, self._doors = name, keys, clock, doors
        self._tls: ssl.SSLContext | None = None
        self._changed = asyncio.Event()

    @property
    def doors(self) -> list[Door]:
        """Where it listens."""
        return http_doors(self._keys, self._name)

    @property
    def ports(self) -> Mapping[str, int]:
        """What it listens on once it runs."""
        return {door.transport: self._doors.port(door) for door in self.doors}

    async def prepare(self) -> None:
        """Open its port, and read its certificate.

        Raises:
            UsageError: the port is taken, or a certificate cannot be used.
        """
        await self._doors.open(self.doors)
        if self._tls is None:
            keys = self._keys
            self._tls = server_context(keys.ssl_keystore_location, keys.ssl_key_password, keys.ssl_truststore_location)

    def become(self, other: "Source") -> bool:
        """Go on as another of this kind; requests that begin from now on are judged by its keys, whoever is connected."""
        assert isinstance(other, HttpSource)
        self._keys, self._tls = other._keys, other._tls
        self._changed.set()
        return True

    async def run(self, intake: Intake) -> None:
        """Take in until cancelled.

        Raises:
            UsageError: the port is taken, or a certificate cannot be used.
        """
        await self.prepare()
        serving = HttpConnections(*self._handler(intake))
        connections = Connections("http", self._keys.max_connections, READ_BYTES, serving, serving.idle)
        try:
            while True:
                self._changed.clear()
                keys = self._keys
                serving.handler, serving.storage = self._handler(intake)
                connections.most = keys.max_connections
                await connections.listen((sock, self._tls) for door in self.doors for sock in self._doors.sockets(door))
                shown, secure = f"http input {keys.listen}", self._tls is not None
                warn_if_exposed(shown, keys.listen, tls=secure, authenticates=keys.authenticates, risk="write log lines")
                intake.began()
                await together(self._changed.wait(), connections.wait())
                await self.prepare()
        finally:
            await connections.close()

    def _handler(self, intake: Intake) -> "tuple[_Posts, Storage]":
        """Who answers requests by the keys as they are now, and what those may hold."""
        storage = Storage(self._scratch, _SHORT_BYTES, _BODIES * self._keys.max_body_bytes)
        return _Posts(self._keys, self._clock, intake, storage, secure=self._tls is not None), storage


class _Posts:
    """Answers requests."""

    def __init__(self, keys: "HttpInputKeys", clock: Clock, intake: Intake, storage: Storage, *, secure: bool) -> None:
        self._keys, self._clock, self._intake, self._storage = keys, clock, intake, storage
        self._scheme = "https" if secure else "http"
        self._failed = FailedLogins(_FIRST_DELAY_MS)
        self._turns = Turns(_WORK_BYTES)
        self.most_body_bytes = keys.max_body_bytes

    async def admit(self, request: Request) -> None:
        """Who, what, and whether there is room.

        Raises:
            RequestError: 401, 404, 405, 415, 503.
        """
        await self._authenticate(request)
        if request.path not in (self._keys.path, otlp.PATH):
            raise RequestError(404, f"post lines to {self._keys.path}, or OTLP logs to {otlp.PATH}")
        if request.method != "POST":
            raise RequestError(405, "lines are posted", {"Allow": "POST"})
        known = content_types(request.path)
        if _content_type(request) not in known:
            raise RequestError(415, f"Content-Type: one of {', '.join(known)}")
        if self._intake.full:
            raise RequestError(503, "the spool is full; come again", {"Retry-After": _COME_AGAIN_S})

    async def answer(self, request: Request, body: Scratch) -> Answer:
        """Success, once it is durable.

        Raises:
            RequestError: 400, 413, 415, 503; nothing of the body is taken in.
        """
        packed, taken = Packed(self._storage), otlp.Taken()
        coding = request.headers.get("content-encoding", "").strip().lower()
        try:
            async with self._turns.of(_WORK_BYTES if coding else body.size_bytes):
                with body.opened() as data:
                    for line in self._lines(request, decoded(data, coding, self.most_body_bytes), taken):
                        packed.add(line)
                if self._intake.full:  # since the head was looked at
                    raise RequestError(503, "the spool is full; come again", {"Retry-After": _COME_AGAIN_S})
                for piece in packed.pieces():
                    await self._intake.put(piece)
        finally:
            packed.close()
        metrics.http_requests.labels("200").inc()
        if request.path == otlp.PATH:
            return Answer(200, otlp.success(taken, _content_type(request)), _content_type(request))
        return Answer(200, b'{"lines": %d}\n' % taken.records)

    def refusal(self, request: Request, refused: RequestError) -> Answer:
        """The same in the words of the protocol; OTLP has its own."""
        metrics.http_requests.labels(str(refused.status)).inc()
        logger.debug("not taken in", extra={"client": request.peer, "status": refused.status, "why": str(refused)})
        if request.path == otlp.PATH and refused.status != 404:
            kind = otlp.JSON if _content_type(request) == otlp.JSON else otlp.PROTOBUF
            return Answer(refused.status, otlp.failure(refused.status, str(refused), kind), kind, refused.headers)
        return Answer(refused.status, f"{refused}\n".encode(), "text/plain; charset=utf-8", refused.headers)

    def _lines(self, request: Request, body: Data, taken: otlp.Taken) -> Iterator[Pushed]:
        origin = f"{self._scheme}://{in_url(request.peer)}"
        return lines_of(body, request.path, _content_type(request), self._clock.wall_ms(), origin, taken)

    async def _authenticate(self, request: Request) -> None:
        """Let in who has the token, or the name and password; others are answered late, and later each time.

        Raises:
            RequestError: 401
        """
        keys = self._keys
        if keys.bearer_token is None and keys.basic_user is None:
            return
        header = request.headers.get("authorization", "")
        kind, _, token = header.partition(" ")
        credentials = Credentials.of_header(header)
        if kind.lower() == "bearer" and _same(keys.bearer_token, token.strip()):
            return
        right_name = credentials is not None and credentials.name == keys.basic_user
        if credentials is not None and _same(keys.basic_password, credentials.password) and right_name:
            return
        logger.warning("http input: login failed", extra={"client": request.peer})
        if header:
            delay_ms = self._failed.failed(request.peer, None, now_ms=self._clock.monotonic_ms())
            await asyncio.sleep(delay_ms / 1000)
        challenge = 'Bearer realm="headrace"' if keys.bearer_token is not None else 'Basic realm="headrace", charset="UTF-8"'
        raise RequestError(
            401, "who are you? send what the input's bearer.token or basic.user say", {"WWW-Authenticate": challenge}
        )


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _same(secret: "SecretStr | None", given: str) -> bool:
    """Whether it is the secret, in a time that does not tell how nearly."""
    return secret is not None and hmac.compare_digest(secret.get_secret_value().encode(), given.encode())
