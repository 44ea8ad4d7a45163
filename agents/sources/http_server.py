"""HTTP/1.1 on a connection: requests one after another, by h11, with bounds on what a client makes us hold and wait for.

What can be said before the body has come (who is it, is there room, is it too long) is said before; then the connection ends,
after the client had a moment to read why.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import h11

from headrace.agents.sources.http_refusals import RequestError
from headrace.agents.sources.scratch import Scratch, Storage

logger = logging.getLogger(__name__)
READ_BYTES: Final = 64 * 1024
_MOST_HEAD_BYTES: Final = 16 * 1024
_IDLE_S: Final = 75.0  # between two requests, and for a request's head
_SILENT_S: Final = 30.0  # within a body
_BODY_S: Final = 300.0  # for a whole body
_LINGER_S, _LINGER_BYTES = 2.0, 1 << 20  # how much of a refused body is still read
_SERVER: Final = ("Server", "headrace")


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head. Names of `headers` are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    peer: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Handler(Protocol):
    """Answers requests."""

    most_body_bytes: int

    async def admit(self, request: Request) -> None:
        """Look at the head alone.

        Raises:
            RequestError: it is answered before its body is read.
        """

    async def answer(self, request: Request, body: Scratch) -> Answer:
        """Answer a whole request.

        Raises:
            RequestError: it is not taken in.
        """

    def refusal(self, request: Request, refused: RequestError) -> Answer:
        """How a client is told."""


class HttpConnections:
    """Serves connections; `idle` are those that wait for a request, the longest first.

    `handler` answers the requests that begin while it is there, `storage` is what they may hold.
    """

    def __init__(self, handler: Handler, storage: Storage) -> None:
        self.handler, self.storage = handler, storage
        self.idle: dict[asyncio.Task[None], None] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        await _Connection(reader, writer, peer, self).serve()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, serving: HttpConnections) -> None:
        self._reader, self._writer, self._peer, self._serving = reader, writer, peer, serving
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)

    async def serve(self) -> None:
        """Answer what comes, until one of us wants no more."""
        try:
            while await self._one():
                self._http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            logger.debug("bad http", extra={"client": self._peer, "error": str(error)})
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                refused = RequestError(error.error_status_hint, f"not HTTP/1.1 as it should be: {error}")
                await self._send(_told(refused), "GET", last=True)
        await self._linger()

    async def _one(self) -> bool:
        """Answer one request; whether another may come."""
        head = await self._next_head()
        if not isinstance(head, h11.Request):
            return False
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        path = head.target.decode("latin-1").partition("?")[0]
        request = Request(head.method.decode("ascii"), path, headers, self._peer)
        handler, storage = self._serving.handler, self._serving.storage
        body = Scratch(storage)
        try:
            await handler.admit(request)
            async with asyncio.timeout(_BODY_S):
                self._announce_room(headers, handler.most_body_bytes)
                while isinstance(part := await self._part(), h11.Data):
                    if body.size_bytes + len(part.data) > handler.most_body_bytes:
                        raise too_long(handler.most_body_bytes)
                    body.add(part.data)
            answer = await handler.answer(request, body)
        except RequestError as refused:
            answer = handler.refusal(request, refused)
        finally:
            body.close()
        whole = self._http.their_state is h11.DONE
        await self._send(answer, request.method, last=not whole)
        return whole and self._http.our_state is h11.DONE

    async def _next_head(self) -> object:
        task = asyncio.current_task()
        assert task is not None, "connections are served by tasks"
        self._serving.idle[task] = None
        try:
            async with asyncio.timeout(_IDLE_S):
                return await self._event()
        finally:
            self._serving.idle.pop(task, None)

    def _announce_room(self, headers: Mapping[str, str], most_body_bytes: int) -> None:
        """Refuse what says that it is too long; tell who waits for that to go on."""
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > most_body_bytes:
            raise too_long(most_body_bytes)
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))

    async def _part(self) -> object:
        async with asyncio.timeout(_SILENT_S):
            return await self._event()

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_BYTES))
        return event

    async def _send(self, answer: Answer, method: str, *, last: bool) -> None:
        headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body))), _SERVER]
        headers += answer.headers.items()
        if last:
            headers.append(("Connection", "close"))
        self._write(h11.Response(status_code=answer.status, headers=headers))
        if method != "HEAD":
            self._write(h11.Data(data=answer.body))
        self._write(h11.EndOfMessage())
        async with asyncio.timeout(_SILENT_S):
            await self._writer.drain()

    def _write(self, event: h11.Event) -> None:
        self._writer.write(self._http.send(event) or b"")

    async def _linger(self) -> None:
        """Read on for a moment: a socket that is closed with bytes unread takes the answer with it."""
        if self._http.their_state in (h11.DONE, h11.CLOSED) or self._reader.at_eof():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                read = 0
                while read < _LINGER_BYTES and (data := await self._reader.read(READ_BYTES)):
                    read += len(data)


def too_long(most_bytes: int) -> RequestError:
    """The refusal of a body of more bytes."""
    return RequestError(413, f"the body is more than {most_bytes} bytes (max_body_bytes); send less at a time")


def _told(refused: RequestError) -> Answer:
    return Answer(refused.status, f"{refused}\n".encode(), "text/plain; charset=utf-8", refused.headers)
