"""One frame to its request's answer: header, API and version, decoding, handler, encoding. Knows no connection.

A handler's own failure is logged with its traceback and ends the connection that asked, never the broker.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from typing import Any, NamedTuple

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, Encoded, RequestContext, Response, Steps
from headrace.broker.handlers.sasl import SASL_AUTHENTICATE, bare_token
from headrace.broker.security.authentication import Authentication
from headrace.broker.session import Session
from headrace.broker.telemetry.metrics import ApiTimes
from headrace.broker.wire.header import RequestHeader, parse_header
from headrace.broker.wire.schema import RequestCodec, request_codec
from headrace.errors import PeerError

logger = logging.getLogger(__name__)


class UnsupportedRequestError(PeerError):
    """An API key or a version that is not served."""


class UnauthenticatedError(PeerError):
    """A request of a client that would have to say who it is first."""


class _Begun(NamedTuple):
    """A request that its handler has taken up."""

    api: Api
    times: ApiTimes
    codec: RequestCodec
    context: RequestContext
    correlation_id: int
    size_bytes: int
    spent_ns: int


class Pending:
    """A request whose answer has to be waited for."""

    __slots__ = ("_answer", "_client", "_encode", "_times", "api")

    def __init__(
        self, api: Api, times: ApiTimes, encode: Callable[[Response], list[Any]], answer: Awaitable[Response], client: str
    ) -> None:
        self.api = api
        self._times, self._encode, self._answer, self._client = times, encode, answer, client

    async def parts(self) -> list[Any]:
        """The answer in parts, once it is there; none where nothing is to be sent.

        Raises:
            PeerError: the connection cannot go on.
        """
        try:
            return self._encode(await self._answer)
        except PeerError:
            self._times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers: it logs, and ends the connection
            self._times.errors += 1
            raise _handler_failed(error, self.api, self._client) from error


class Stepped:
    """A request that is handled in several turns; the connection's later requests wait until it is done."""

    __slots__ = ("_begun", "_spent_ns", "_work")

    def __init__(
        self,
        steps: Steps,
        begun: "_Begun",
        finish: Callable[["_Begun", Response | Awaitable[Response]], Generator[None, None, "Begun"]],
    ) -> None:
        """`finish` makes of the answer what is sent, in steps too."""
        self._begun, self._spent_ns = begun, begun.spent_ns
        self._work = self._to_the_end(steps, finish)

    def step(self) -> "Begun":
        """Take one step: itself while there are more, then what `Dispatcher.begin` returns of other requests.

        Raises:
            PeerError: the connection cannot go on.
        """
        began_ns = time.perf_counter_ns()
        try:
            next(self._work)
        except StopIteration as done:
            result: Begun = done.value
            return result
        except PeerError:
            self._begun.times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers, as above
            self._begun.times.errors += 1
            raise _handler_failed(error, self._begun.api, self._begun.context.session.client_host) from error
        self._spent_ns += time.perf_counter_ns() - began_ns
        return self

    def _to_the_end(
        self, steps: Steps, finish: Callable[["_Begun", Response | Awaitable[Response]], Generator[None, None, "Begun"]]
    ) -> Generator[None, None, "Begun"]:
        answer = yield from steps
        return (yield from finish(self._begun._replace(spent_ns=self._spent_ns), answer))


Begun = list[Any] | Pending | Stepped


class Dispatcher:
    """Turns frames into answers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._apis = broker.apis
        self._metrics = broker.metrics
        self._throttler = broker.throttler

    def begin(self, session: Session, frame: bytes | memoryview) -> Begun:
        """Handle one request: its answer in parts, none where nothing is to be sent; or a pending one, or one in steps.

        Raises:
            PeerError: it is not a request that is served, or its handler failed; the connection cannot go on.
        """
        started_ns = time.perf_counter_ns()
        authentication = session.authentication
        if authentication is not None and authentication.wants_bare_token:
            token = bare_token(self._broker, session, authentication, bytes(frame))
            times = self._metrics.api(SASL_AUTHENTICATE.name)
            return Pending(SASL_AUTHENTICATE, times, _bare_parts, token, session.client_host)
        header = parse_header(frame)
        if authentication is not None:
            self._check_login(authentication, header.api_key)
        api = self._apis.get(header.api_key)
        if api is None or not api.min_version <= header.api_version <= api.max_version:
            return self._unserved(frame, header, api)
        times = self._metrics.api(api.name)
        times.versions[header.api_version] = times.versions.get(header.api_version, 0) + 1
        codec = request_codec(header.api_key, header.api_version, (api.min_version, api.max_version))
        request = codec.decode(frame, header.body_position)
        if session.client_id is None:
            session.client_id = header.client_id
        context = RequestContext(header.api_version, codec.flexible, header.client_id, session, started_ns)
        try:
            answer = api.handle(self._broker, context, request)
            spent_ns = time.perf_counter_ns() - started_ns
            if isinstance(answer, Encoded) and not self._throttler.binds:
                times.at_once(spent_ns)
                return _encoded_parts(codec, header.correlation_id, answer)
            begun = _Begun(api, times, codec, context, header.correlation_id, len(frame), spent_ns)
            if not isinstance(answer, Generator):
                return self._answered(begun, answer)
        except PeerError:
            times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers, as above
            times.errors += 1
            raise _handler_failed(error, api, session.client_host) from error
        return Stepped(answer, begun, self._answered_in_steps).step()

    def _answered_in_steps(self, begun: _Begun, answer: Response | Awaitable[Response]) -> Generator[None, None, Begun]:
        if not isinstance(answer, Mapping):
            return self._answered(begun, answer)
        begun.times.local.add(begun.spent_ns)
        response = self._throttler.answered(begun.api, begun.context, begun.size_bytes, answer, begun.spent_ns)
        assert isinstance(response, Mapping)  # the same, with a delay in it
        body = yield from begun.codec.encode_in_steps(begun.correlation_id, response)
        return self._told(begun, [len(body).to_bytes(4, "big") + body])

    def _answered(self, begun: _Begun, answer: Response | Awaitable[Response]) -> Begun:
        begun.times.local.add(begun.spent_ns)
        if isinstance(answer, Awaitable):
            finish = partial(self._finish, begun)
            return Pending(begun.api, begun.times, finish, answer, begun.context.session.client_host)
        return self._finish(begun, answer)

    def _check_login(self, authentication: Authentication, api_key: int) -> None:
        """
        Raises:
            UnauthenticatedError: the client has not logged in yet, or not again in time.
        """
        if not authentication.serves(api_key):
            name = self._apis[api_key].name if api_key in self._apis else "unknown"
            raise UnauthenticatedError(f"API key {api_key} ({name}) before the client has logged in")
        if authentication.has_expired(api_key, self._broker.clock.monotonic_ms()):
            raise UnauthenticatedError("the session has expired, and the client has not logged in again")

    def _finish(self, begun: _Begun, response: Response) -> list[Any]:
        """The parts of an answer that a handler gave, none where nothing is to be sent; its quotas and times are counted."""
        context = begun.context
        response = self._throttler.answered(begun.api, context, begun.size_bytes, response, begun.spent_ns)
        return self._told(begun, _parts(begun.codec, begun.correlation_id, response))

    def _told(self, begun: _Begun, parts: list[Any]) -> list[Any]:
        context = begun.context
        begun.times.total.add(time.perf_counter_ns() - context.started_ns)
        if context.session.throttle_ms:
            begun.times.throttle.add(context.session.throttle_ms * 1_000_000)
            context.session.throttle_ms = 0
        return parts

    def _unserved(self, frame: bytes | memoryview, header: RequestHeader, api: Api | None) -> list[Any]:
        """ApiVersions in a version of the future is answered in v0, error 35 (KIP-511); all else closes the connection."""
        if api is not None and api.refuse is not None:
            answer = api.refuse(self._broker, frame, header)
            if answer is not None:
                return [len(answer).to_bytes(4, "big"), answer]
        name = "unknown" if api is None else api.name
        raise UnsupportedRequestError(f"API key {header.api_key} ({name}) version {header.api_version} is not served")


def _handler_failed(error: Exception, api: Api, client: str) -> PeerError:
    """Log a handler's own failure; what ends its connection."""
    logger.error("handler failed", exc_info=error, extra={"api": api.name, "client": client})
    return PeerError(f"{api.name} failed: {error!r}")


def _parts(codec: RequestCodec, correlation_id: int, response: Response) -> list[Any]:
    """A whole answer in parts, its size first; none where nothing is to be sent."""
    if response is None:
        return []
    if isinstance(response, Encoded):
        return _encoded_parts(codec, correlation_id, response)
    body = codec.encode(correlation_id, response)
    return [len(body).to_bytes(4, "big") + body]


def _encoded_parts(codec: RequestCodec, correlation_id: int, response: Encoded) -> list[Any]:
    header, parts = codec.header(correlation_id), response.parts
    if len(parts) == 1:
        return [(len(header) + len(parts[0])).to_bytes(4, "big") + header + parts[0]]
    size = len(header) + sum(map(len, parts))
    first, *rest = parts
    return [size.to_bytes(4, "big") + header + first, *rest]


def _bare_parts(response: Response) -> list[Any]:
    """The answer to a token without a header: its own token, and its size first."""
    assert isinstance(response, Mapping)
    token: bytes = response["auth_bytes"]
    return [len(token).to_bytes(4, "big") + token]
