"""What all SASL mechanisms share: a client's tokens go in, steps come out. Pure; each is a class of the shape `Exchange`.

    token → Challenge   send it, the client goes on
          → Check       what takes longer than the loop may be held; the shell does it and hands the verdict to `checked`
          → Accepted    the client is who it says
          → Rejected    it is not; nothing of the exchange is used any more

Secrets stand in fields without `repr`, so that no step can be logged with one.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Reason(StrEnum):
    """Why a login failed, as it is counted and logged; the client is not told which (no user enumeration)."""

    MALFORMED = "malformed"  # not a message of the mechanism
    CREDENTIALS = "credentials"  # an unknown user, or a wrong password
    TOKEN = "token"  # a token that is expired, not for us, or not signed by whom we trust  # noqa: S105 - a reason
    UNAVAILABLE = "unavailable"  # what is needed to decide could not be had
    PRINCIPAL = "principal"  # re-authentication as somebody else
    MECHANISM = "mechanism"  # one that is not enabled, or another one at re-authentication


@dataclass(frozen=True, slots=True)
class Challenge:
    """What the client is sent; it answers with the next token."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client's name; `token` is sent with the good news; the credential ends at `expires_ms` (wall clock), if it does."""

    name: str
    token: bytes = b""
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why, for counters and the log; `name` is who it claimed to be; `detail` is one sentence without secrets, for the log."""

    reason: Reason
    name: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Whether this is the user's password: thousands of hashes."""

    name: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """Whether a bearer token is valid, and whose: signatures, and keys that may have to be fetched."""

    token: str = field(repr=False)


Check = PasswordCheck | TokenCheck
Verdict = Accepted | Rejected
Step = Challenge | PasswordCheck | TokenCheck | Accepted | Rejected


class Exchange(Protocol):
    """One login on the server's side; used once."""

    def step(self, token: bytes) -> Step:
        """What follows from the client's next token; never raises, whatever the bytes."""
        ...

    def checked(self, verdict: Verdict) -> Step:
        """What follows from the verdict on the check that was the last step."""
        ...
