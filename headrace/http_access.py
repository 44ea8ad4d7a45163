"""Who may pass an HTTP port: HTTP Basic credentials, and what is known of those that were proved before. Pure.

Credentials are proved elsewhere (a login at the broker); what comes of it is kept for a short time under a keyed hash of name
and password, never under the password. Failures are held back by address and name, as the broker does with its own.
"""

import base64
import binascii
import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from headrace.failed_logins import FailedLogins

CHALLENGE: Final = 'Basic realm="headrace", charset="UTF-8"'
_KEPT_MS: Final = 30_000  # so long a right, or a user, outlives its end
_KEPT: Final = 1000
_MAX_HEADER: Final = 4096
_FIRST_DELAY_MS: Final = 100


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of who sends it."""

    name: str
    password: str = field(repr=False)

    @classmethod
    def of_header(cls, header: str | None) -> "Credentials | None":
        """Of an Authorization header (RFC 7617, UTF-8); None where it holds none."""
        kind, _, token = (header or "").partition(" ")
        if kind.lower() != "basic" or len(token) > _MAX_HEADER:
            return None
        try:
            name, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return None
        return cls(name, password) if colon and name and "\0" not in name + password else None


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do: Kafka's operations by name, on the topic that was asked about and on the cluster."""

    topic: frozenset[str] = frozenset()
    cluster: frozenset[str] = frozenset()


class KnownUsers:
    """Remembers proofs and failures; whoever uses it from several threads locks."""

    def __init__(self, salt: bytes) -> None:
        """`salt` is random, this process's own."""
        self._salt = salt
        self._kept: OrderedDict[bytes, tuple[Rights, int]] = OrderedDict()  # → (rights, until when)
        self._failed = FailedLogins(_FIRST_DELAY_MS)

    def rights(self, credentials: Credentials, *, now_ms: int) -> Rights | None:
        """What is known of them; None if they have to be proved."""
        rights, until_ms = self._kept.get(self._key(credentials), (None, 0))
        return rights if now_ms < until_ms else None

    def learned(self, credentials: Credentials, address: str, rights: Rights | None, *, now_ms: int) -> int:
        """Take note of a proof, or with None of a failure; the ms for which the answer is to be held back."""
        if rights is None:
            return self._failed.failed(address, credentials.name, now_ms=now_ms)
        self._failed.succeeded(credentials.name)
        key = self._key(credentials)
        self._kept.pop(key, None)
        self._kept[key] = rights, now_ms + _KEPT_MS
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return 0

    def _key(self, credentials: Credentials) -> bytes:
        return hmac.digest(self._salt, f"{credentials.name}\0{credentials.password}".encode(), "sha256")
