"""Logins: the shell around exchanges. It does their checks off the loop, holds failures back, counts and logs them."""

import asyncio
import logging
import secrets
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from headrace.broker.security.authentication import Authentication, Mechanisms
from headrace.broker.security.exchange import (
    Accepted,
    Challenge,
    Check,
    Exchange,
    PasswordCheck,
    Reason,
    Rejected,
    Step,
    TokenCheck,
    Verdict,
)
from headrace.broker.security.oauthbearer import OAuthBearerExchange
from headrace.broker.security.plain import PlainExchange
from headrace.broker.security.scram import SCRAM_MECHANISMS, ScramExchange, is_password
from headrace.broker.security.users import Users
from headrace.clock import Clock
from headrace.failed_logins import FailedLogins

logger = logging.getLogger(__name__)
MECHANISMS = ("PLAIN", *SCRAM_MECHANISMS, "OAUTHBEARER")
_CHECKING = 2  # passwords that are checked at a time


class TokenVerifier(Protocol):
    """Says what a bearer token is worth."""

    def keep_fresh(self) -> None:
        """Do what is due; once a second."""
        ...

    async def verify(self, token: str) -> Verdict:
        """The verdict; whatever the token, nothing is raised."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What the client is told next; `lifetime_ms` and `done` once it is who it says."""

    token: bytes
    done: bool = False
    lifetime_ms: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """The login failed, and the answer has been held back long enough; `message` is for the client."""

    message: str


class Logins:
    """Every login of one broker."""

    def __init__(self, users: Users, clock: Clock, failed: FailedLogins, tokens: TokenVerifier | None) -> None:
        self.users = users
        self.counts: Counter[tuple[str, str]] = Counter()  # (mechanism, "success" or the reason of a failure)
        self._clock = clock
        self._failed = failed
        self._tokens = tokens
        self._checks = PasswordChecks(ThreadPoolExecutor(_CHECKING, thread_name_prefix="passwords"))

    def mechanisms(self, names: Sequence[str], max_reauth_ms: Callable[[str], int]) -> Mechanisms:
        """What a listener offers."""
        return Mechanisms({name: self._beginning(name) for name in names}, {name: max_reauth_ms(name) for name in names})

    def keep_fresh(self) -> None:
        """Do what is due; once a second."""
        if self._tokens is not None:
            self._tokens.keep_fresh()

    def close(self) -> None:
        """End the threads."""
        self._checks.close()

    async def advance(self, authentication: Authentication, client_host: str, token: bytes) -> Progress | Failure:
        """Take the client's next token; a failure returns only after its delay."""
        exchange, mechanism = authentication.exchange, authentication.mechanism
        assert exchange is not None
        assert mechanism is not None
        step: Step = exchange.step(token)
        while isinstance(step, Check):
            step = exchange.checked(await self._verdict(step, client_host))
        if isinstance(step, Challenge):
            return Progress(step.token)
        if isinstance(step, Accepted):
            outcome = authentication.accept(step, now_ms=self._clock.monotonic_ms(), wall_ms=self._clock.wall_ms())
            if isinstance(outcome, int):
                self.counts[mechanism, "success"] += 1
                self._failed.succeeded(step.name)
                return Progress(step.token, done=True, lifetime_ms=outcome)
            step = outcome
        authentication.reject(step)
        await self.hold_back(mechanism, client_host, step)
        return Failure(_told(step, mechanism, again=authentication.is_again))

    async def is_password(self, name: str, password: str, client_host: str) -> bool:
        """Whether this is the user's password, told over another protocol (HTTP); a failure returns only after its delay."""
        verdict = await self._password_verdict(PasswordCheck(name, password.encode()), client_host)
        if isinstance(verdict, Accepted):
            self.counts["BASIC", "success"] += 1
            self._failed.succeeded(name)
            return True
        await self.hold_back("BASIC", client_host, verdict)
        return False

    async def hold_back(self, mechanism: str, client_host: str, rejected: Rejected) -> None:
        """Count and log a failed login, and return when it may be answered."""
        await asyncio.sleep(self._failure(mechanism, client_host, rejected) / 1000)

    def _failure(self, mechanism: str, client_host: str, rejected: Rejected) -> int:
        self.counts[mechanism, rejected.reason.value] += 1
        said = {
            "client": client_host,  # so that a flood of them is cut (logs.py)
            "mechanism": mechanism,
            "user": (rejected.name or "?")[:100],
            "reason": rejected.reason,
            "detail": rejected.detail,
        }
        logger.warning("login failed", extra=said)
        return self._failed.failed(client_host, rejected.name, now_ms=self._clock.monotonic_ms())

    def _beginning(self, name: str) -> Callable[[], Exchange]:
        if name in SCRAM_MECHANISMS:
            mechanism = SCRAM_MECHANISMS[name]
            return lambda: ScramExchange(mechanism, lambda user: self.users.claimed(user, mechanism), secrets.token_urlsafe(24))
        return PlainExchange if name == "PLAIN" else OAuthBearerExchange

    async def _verdict(self, check: Check, client_host: str) -> Verdict:
        if isinstance(check, TokenCheck):
            if self._tokens is None:
                return Rejected(Reason.UNAVAILABLE, detail="no keys are configured")
            return await self._tokens.verify(check.token)
        return await self._password_verdict(check, client_host)

    async def _password_verdict(self, check: PasswordCheck, client_host: str) -> Verdict:
        mechanism, claimed = self.users.claimed_by_password(check.name)
        right = await self._checks.run(client_host, lambda: is_password(mechanism, claimed, check.password))
        return Accepted(check.name) if right else Rejected(Reason.CREDENTIALS, check.name)


class PasswordChecks:
    """Password checks in few threads; each address has its turn, so that one that floods keeps no other waiting."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: OrderedDict[str, deque[tuple[Callable[[], bool], asyncio.Future[bool]]]] = OrderedDict()
        self._running = 0

    async def run(self, address: str, check: Callable[[], bool]) -> bool:
        """The result of a check, in its address's turn; its exceptions are raised here."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append((check, future))
        self._start()
        return await future

    def close(self) -> None:
        self._waiting.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._waiting and self._running < _CHECKING:
            address, queue = self._waiting.popitem(last=False)
            check, future = queue.popleft()
            if queue:
                self._waiting[address] = queue  # behind the others
            if future.cancelled():  # its client has gone
                continue
            self._running += 1
            running = asyncio.get_running_loop().run_in_executor(self._executor, check)
            running.add_done_callback(partial(self._finish, future=future))

    def _finish(self, done: "asyncio.Future[bool]", future: "asyncio.Future[bool]") -> None:
        self._running -= 1
        self._start()
        if done.cancelled() or future.cancelled():
            return
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:  # for the supervisor of handlers: else its client would wait for ever
            future.set_exception(error)


def _told(rejected: Rejected, mechanism: str, *, again: bool) -> str:
    """What the client is told, in Kafka's words: nothing of which users there are."""
    if rejected.reason in (Reason.PRINCIPAL, Reason.MECHANISM):
        return rejected.detail
    if mechanism == "PLAIN":
        return "Authentication failed: Invalid username or password"
    if mechanism == "OAUTHBEARER":
        return '{"status":"invalid_token"}'
    what = "re-authentication" if again else "authentication"
    return f"Authentication failed during {what} due to invalid credentials with SASL mechanism {mechanism}"
