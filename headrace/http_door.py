"""Lets the broker's users pass the HTTP port of a part that is not the broker: who may describe the cluster sees metrics."""

import logging
import secrets
import time
from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Final, Protocol

from headrace.clock import Clock
from headrace.errors import PeerError
from headrace.http_access import Credentials, KnownUsers, Rights

logger = logging.getLogger(__name__)
_LOGINS_AT_A_TIME: Final = 4
OK, UNAUTHORIZED, FORBIDDEN, TOO_MANY, UNAVAILABLE = 200, 401, 403, 429, 503


class Login(Protocol):
    """Proves credentials; blocks."""

    def rights(self, credentials: Credentials) -> Rights | None:
        """What they give; None if they are wrong. PeerError if that cannot be found out."""
        ...


class LoginDoor:
    """Asked by the threads that answer HTTP; blocks them while it logs in, and while a failure is held back."""

    def __init__(self, login: Login, clock: Clock, sleep: Callable[[float], None] = time.sleep) -> None:
        self._login = login
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()  # HTTP is answered by threads; nothing else here is shared
        self._known = KnownUsers(secrets.token_bytes(32))
        self._logins = BoundedSemaphore(_LOGINS_AT_A_TIME)

    def __call__(self, authorization: str | None, address: str) -> int:
        """The HTTP status for who sends that Authorization header from that address; 200 lets in."""
        credentials = Credentials.of_header(authorization)
        if credentials is None:
            return UNAUTHORIZED
        with self._lock:
            rights = self._known.rights(credentials, now_ms=self._clock.monotonic_ms())
        if rights is None:
            if not self._logins.acquire(blocking=False):
                return TOO_MANY
            try:
                rights = self._login.rights(credentials)
            except PeerError as error:
                logger.warning("login cannot be checked", extra={"error": str(error)})
                return UNAVAILABLE
            finally:
                self._logins.release()
            with self._lock:
                delay_ms = self._known.learned(credentials, address, rights, now_ms=self._clock.monotonic_ms())
            self._sleep(delay_ms / 1000)
        if rights is None:
            logger.warning("login failed", extra={"client": address, "user": credentials.name[:100]})
            return UNAUTHORIZED
        return OK if "DESCRIBE" in rights.cluster else FORBIDDEN
