"""One frame to its request's answer: header, API and version, decoding, handler, encoding. Knows no connection.

A handler's own failure is logged with its traceback and ends the connection that asked, never the broker.
"""

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, NamedTuple

from headrace.broker.broker import Broker
from headrace.broker.handlers.api import Api, Encoded, RequestContext, Response, Steps
from headrace.broker.handlers.sasl import SASL_AUTHENTICATE, bare_token
from headrace.broker.handlers.steps import with_pauses
from headrace.broker.security.authentication import Authentication
from headrace.broker.session import Session
from headrace.broker.telemetry.metrics import ApiTimes
from headrace.broker.wire.header import RequestHeader, parse_header
from headrace.broker.wire.schema import RequestCodec, request_codec
from headrace.errors import PeerError

logger = logging.getLogger(__name__)
_LONG_BYTES = 32 << 10  # a request from this size on, but for Produce, may have more items than one step should decode


class UnsupportedRequestError(PeerError):
    """An API key or a version that is not served."""


class UnauthenticatedError(PeerError):
    """A request of a client that would have to say who it is first."""


class _Route(NamedTuple):
    """One API in one version."""

    api: Api
    version: int
    codec: RequestCodec
    times: ApiTimes


@dataclass(slots=True)
class _Call:
    """A request on its way through its handler."""

    route: _Route
    context: RequestContext
    correlation_id: int
    size_bytes: int
    spent_ns: int = 0

    def failed(self, error: Exception) -> PeerError:
        """Log and count a handler's own failure; what ends its connection."""
        self.route.times.errors += 1
        api, client = self.route.api.name, self.context.session.client_host
        logger.error("handler failed", exc_info=error, extra={"api": api, "client": client})
        return PeerError(f"{api} failed: {error!r}")


class Pending:
    """A request whose answer has to be waited for."""

    __slots__ = ("_answer", "_call", "_finish", "api")

    def __init__(
        self, call: _Call, answer: Awaitable[Response], finish: Callable[[_Call, Response], Generator[None, None, list[Any]]]
    ) -> None:
        self.api = call.route.api
        self._call, self._answer, self._finish = call, answer, finish

    async def parts(self) -> list[Any]:
        """The answer in parts, once it is there; none where nothing is to be sent.

        Raises:
            PeerError: the connection cannot go on.
        """
        try:
            return await with_pauses(self._finish(self._call, await self._answer))
        except PeerError:
            self._call.route.times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers, as in `Dispatcher.begin`
            raise self._call.failed(error) from error


class Stepped:
    """A request that is handled in several turns; the connection's later requests wait until it is done."""

    __slots__ = ("_call", "_work")

    def __init__(self, call: _Call, work: Generator[None, None, list[Any] | Pending]) -> None:
        self._call, self._work = call, work

    def step(self) -> "Begun":
        """Take one step: itself while there are more, then what `Dispatcher.begin` returns of other requests.

        Raises:
            PeerError: the connection cannot go on.
        """
        began_ns = perf_counter_ns()
        try:
            next(self._work)
        except StopIteration as done:
            result: Begun = done.value
            return result
        except PeerError:
            self._call.route.times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers, as in `Dispatcher.begin`
            raise self._call.failed(error) from error
        self._call.spent_ns += perf_counter_ns() - began_ns
        return self


Begun = list[Any] | Pending | Stepped


class Dispatcher:
    """Turns frames into answers."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._apis = broker.apis
        self._metrics = broker.metrics
        self._throttler = broker.throttler
        self._routes: dict[tuple[int, int], _Route] = {}

    def begin(self, session: Session, frame: bytes | memoryview) -> Begun:
        """Handle one request: its answer in parts, none where nothing is to be sent; or a pending one, or one in steps.

        Raises:
            PeerError: it is not a request that is served, or its handler failed; the connection cannot go on.
        """
        started_ns = perf_counter_ns()
        authentication = session.authentication
        if authentication is not None and authentication.wants_bare_token:
            return self._bare_token(session, authentication, bytes(frame))
        api_key, version, correlation_id, client_id, body_position = header = parse_header(frame)
        if authentication is not None:
            self._check_login(authentication, api_key)
        route = self._routes.get((api_key, version)) or self._route(api_key, version)
        if route is None:
            return self._unserved(frame, header)
        api, _, codec, times = route
        times.versions[version] += 1
        if session.client_id is None:
            session.client_id = client_id
        context = RequestContext(version, codec.flexible, client_id, session, started_ns)
        call = _Call(route, context, correlation_id, len(frame))
        if len(frame) >= _LONG_BYTES and not codec.is_produce:
            return Stepped(call, self._long(call, frame, body_position)).step()
        request = codec.decode(frame, body_position)
        try:
            answer = api.handle(self._broker, context, request)
            call.spent_ns = perf_counter_ns() - started_ns
            if isinstance(answer, Encoded) and not self._throttler.binds:
                times.at_once(call.spent_ns)
                return _encoded_parts(codec, correlation_id, answer)
            if not isinstance(answer, Generator):
                return self._answered(call, answer)
        except PeerError:
            times.errors += 1
            raise
        except Exception as error:  # the supervisor of handlers
            raise call.failed(error) from error
        return Stepped(call, self._in_steps(call, answer)).step()

    def _route(self, api_key: int, version: int) -> _Route | None:
        """Where requests of that API and version go; None if they are not served."""
        api = self._apis.get(api_key)
        if api is None or not api.min_version <= version <= api.max_version:
            return None
        codec = request_codec(api_key, version, (api.min_version, api.max_version))
        route = self._routes[api_key, version] = _Route(api, version, codec, self._metrics.api(api.name))
        return route

    def _bare_token(self, session: Session, authentication: Authentication, token: bytes) -> Pending:
        """A token of a login without a header, as after a SaslHandshake v0."""
        route = self._route(SASL_AUTHENTICATE.key, SASL_AUTHENTICATE.min_version)
        assert route is not None
        context = RequestContext(route.version, False, None, session, perf_counter_ns())
        answer = bare_token(self._broker, session, authentication, token)
        return Pending(_Call(route, context, 0, len(token)), answer, _bare_parts)

    def _long(self, call: _Call, frame: bytes | memoryview, body_position: int) -> Generator[None, None, list[Any] | Pending]:
        """A request of many items, from its decoding on."""
        request = yield from call.route.codec.decode_in_steps(frame, body_position)
        yield
        answer = call.route.api.handle(self._broker, call.context, request)
        if isinstance(answer, Generator):
            return (yield from self._in_steps(call, answer))
        return self._answered(call, answer)

    def _in_steps(self, call: _Call, steps: Steps) -> Generator[None, None, list[Any] | Pending]:
        answer = yield from steps
        if isinstance(answer, Awaitable):
            return self._answered(call, answer)
        call.route.times.local.add(call.spent_ns)
        return (yield from self._finish_in_steps(call, answer))

    def _answered(self, call: _Call, answer: Response | Awaitable[Response]) -> list[Any] | Pending:
        call.route.times.local.add(call.spent_ns)
        if isinstance(answer, Awaitable):
            return Pending(call, answer, self._finish_in_steps)
        response = self._throttler.answered(call.route.api, call.context, call.size_bytes, answer, call.spent_ns)
        return _told(call, _parts(call.route.codec, call.correlation_id, response))

    def _finish_in_steps(self, call: _Call, response: Response) -> Generator[None, None, list[Any]]:
        """The parts of an answer that a handler gave, none where nothing is to be sent; its quotas and times are counted."""
        codec = call.route.codec
        response = self._throttler.answered(call.route.api, call.context, call.size_bytes, response, call.spent_ns)
        if not isinstance(response, Mapping):
            return _told(call, _parts(codec, call.correlation_id, response))
        body = yield from codec.encode_in_steps(call.correlation_id, response)
        return _told(call, [len(body).to_bytes(4, "big") + body])

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

    def _unserved(self, frame: bytes | memoryview, header: RequestHeader) -> list[Any]:
        """ApiVersions in a version of the future is answered in v0, error 35 (KIP-511); all else closes the connection."""
        api = self._apis.get(header.api_key)
        if api is not None and api.refuse is not None:
            answer = api.refuse(self._broker, frame, header)
            if answer is not None:
                return [len(answer).to_bytes(4, "big"), answer]
        name = "unknown" if api is None else api.name
        raise UnsupportedRequestError(f"API key {header.api_key} ({name}) version {header.api_version} is not served")


def _told(call: _Call, parts: list[Any]) -> list[Any]:
    """Count the time that an answer took, and the delay that it tells."""
    times, session = call.route.times, call.context.session
    times.total.add(perf_counter_ns() - call.context.started_ns)
    if session.throttle_ms:
        times.throttle.add(session.throttle_ms * 1_000_000)
        session.throttle_ms = 0
    return parts


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


def _bare_parts(_: _Call, response: Response) -> Generator[None, None, list[Any]]:
    """The answer to a token without a header: its own token, and its size first."""
    assert isinstance(response, Mapping)
    token: bytes = response["auth_bytes"]
    yield from ()
    return [len(token).to_bytes(4, "big") + token]
