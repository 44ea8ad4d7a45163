"""Who may ask the registry for what: names and passwords are the broker's, and so are the rights: those on its topic.

READ on the topic lets read schemas and check compatibility, WRITE register and delete, ALTER_CONFIGS change configurations and
modes; metrics need DESCRIBE on the cluster. What is not listed here nobody may ask for.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import prometheus_client
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.http_access import CHALLENGE, Credentials, KnownUsers, Rights
from headrace.schemas.refusals import RestError
from headrace.schemas.subjects import IN_CONTEXT

logger = logging.getLogger(__name__)
OPEN: Final = frozenset({"/healthz", "/readyz"})  # told to everybody, and nothing but that it is so
_METRICS: Final = "/metrics"
_LOGINS_AT_A_TIME: Final = 4
_WAITING: Final = 64
_WAITING_PER_ADDRESS: Final = 4
_refused = prometheus_client.Counter("headrace_registry_refused_requests", "Requests refused, by reason", ["reason"])
_NEEDED = {
    ("GET", "/"): "READ",
    ("GET", "/subjects"): "READ",
    ("POST", "/subjects/{subject}"): "READ",
    ("GET", "/subjects/{subject}/versions"): "READ",
    ("GET", "/subjects/{subject}/versions/{version}"): "READ",
    ("GET", "/subjects/{subject}/versions/{version}/schema"): "READ",
    ("GET", "/subjects/{subject}/versions/{version}/referencedby"): "READ",
    ("GET", "/schemas"): "READ",
    ("GET", "/schemas/types"): "READ",
    ("GET", "/schemas/ids/{id}"): "READ",
    ("GET", "/schemas/ids/{id}/schema"): "READ",
    ("GET", "/schemas/ids/{id}/subjects"): "READ",
    ("GET", "/schemas/ids/{id}/versions"): "READ",
    ("POST", "/compatibility/subjects/{subject}/versions"): "READ",
    ("POST", "/compatibility/subjects/{subject}/versions/{version}"): "READ",
    ("GET", "/config"): "READ",
    ("GET", "/config/{subject}"): "READ",
    ("GET", "/subjects/{subject}/metadata"): "READ",
    ("GET", "/schemas/guids/{guid}"): "READ",
    ("GET", "/schemas/guids/{guid}/ids"): "READ",
    ("GET", "/contexts"): "READ",
    ("GET", "/v1/metadata/id"): "READ",
    ("GET", "/v1/metadata/version"): "READ",
    ("GET", "/associations/subjects/{subject}"): "READ",
    ("GET", "/associations/resources/{resource}"): "READ",
    ("GET", "/associations/resources/{namespace}/{name}"): "READ",
    ("POST", "/associations"): "WRITE",
    ("PUT", "/associations/resources/{resource}"): "WRITE",
    ("DELETE", "/associations/resources/{resource}"): "WRITE",
    ("GET", "/mode"): "READ",
    ("GET", "/mode/{subject}"): "READ",
    ("POST", "/subjects/{subject}/versions"): "WRITE",
    ("DELETE", "/"): "WRITE",  # of a context
    ("DELETE", "/subjects/{subject}"): "WRITE",
    ("DELETE", "/subjects/{subject}/versions/{version}"): "WRITE",
    ("PUT", "/config"): "ALTER_CONFIGS",
    ("PUT", "/config/{subject}"): "ALTER_CONFIGS",
    ("DELETE", "/config"): "ALTER_CONFIGS",
    ("DELETE", "/config/{subject}"): "ALTER_CONFIGS",
    ("PUT", "/mode"): "ALTER_CONFIGS",
    ("PUT", "/mode/{subject}"): "ALTER_CONFIGS",
    ("DELETE", "/mode"): "ALTER_CONFIGS",
    ("DELETE", "/mode/{subject}"): "ALTER_CONFIGS",
}


class Login(Protocol):
    """Proves credentials; blocks."""

    def rights(self, credentials: Credentials) -> Rights | None:
        """What they give; None if they are wrong. PeerError if that cannot be found out."""
        ...


class AccessControl:
    """Asks every request who sends it; the event loop owns it."""

    def __init__(self, login: Login, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        """`sleep` waits for so many seconds; it holds answers to failed logins back."""
        self._login = login
        self._clock = clock
        self._sleep = sleep
        self._known = KnownUsers(secrets.token_bytes(32))
        self._threads = ThreadPoolExecutor(_LOGINS_AT_A_TIME, thread_name_prefix="logins")
        self._waiting: Counter[str] = Counter()  # logins by address

    async def admit(self, request: web.Request) -> None:
        """Return if the request may go on.

        Raises:
            RestError: 401 without valid credentials, 403 without the right, 429 and 503 where that cannot be found out now.
        """
        if request.path in OPEN:
            return
        credentials = Credentials.of_header(request.headers.get("Authorization"))
        if credentials is None:
            raise _refusal("no credentials", 401, 401, "Unauthorized: send the name and password of a user of the broker")
        rights = self._known.rights(credentials, now_ms=self._clock.monotonic_ms())
        if rights is None:
            rights = await self._prove(credentials, request.remote or "?")
        if not _may(request, rights):
            raise _refusal("no right", 403, 40301, "User is denied operation on this resource")

    async def _prove(self, credentials: Credentials, address: str) -> Rights:
        if self._waiting[address] >= _WAITING_PER_ADDRESS or self._waiting.total() >= _WAITING:
            raise _refusal("too many logins", 429, 42901, "too many logins at a time; try again later")
        self._waiting[address] += 1
        try:
            rights = await asyncio.get_running_loop().run_in_executor(self._threads, self._login.rights, credentials)
            delay_ms = self._known.learned(credentials, address, rights, now_ms=self._clock.monotonic_ms())
            await self._sleep(delay_ms / 1000)
        except PeerError as error:
            raise _refusal("no broker", 503, 50303, str(error)) from error
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        if rights is None:
            logger.warning("login failed", extra={"client": address, "user": credentials.name[:100]})
            raise _refusal("wrong credentials", 401, 401, "Unauthorized: wrong name or password")
        return rights

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _may(request: web.Request, rights: Rights) -> bool:
    resource = request.match_info.route.resource
    if resource is None:  # there is no such path, or method: any user may be told so
        return True
    path = resource.canonical.removeprefix(IN_CONTEXT).removesuffix("/") or "/"
    if path == _METRICS:
        return "DESCRIBE" in rights.cluster
    method = "GET" if request.method == "HEAD" else request.method
    needed = _NEEDED.get((method, path))
    return needed is not None and needed in rights.topic


def _refusal(reason: str, status: int, code: int, message: str) -> RestError:
    _refused.labels(reason).inc()
    return RestError(status, code, message)


def challenge(response: web.StreamResponse) -> None:
    """Say in an answer of status 401 how to log in."""
    if response.status == 401:
        response.headers["WWW-Authenticate"] = CHALLENGE


def admission(access: AccessControl) -> Middleware:
    """The middleware that lets nothing pass that `access` does not admit."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        await access.admit(request)
        return await handler(request)

    return admit
