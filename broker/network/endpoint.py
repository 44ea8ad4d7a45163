"""A listener as its connections know it."""

from collections.abc import Callable
from dataclasses import dataclass

from headrace.broker.security.authentication import Mechanisms


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listener.

    Attributes:
        advertised: the address that its clients are told.
        mechanisms: how its clients log in; None where they do not, over SASL.
        user_of: the user that a certificate's subject stands for, None if nobody; where certificates say who a client is.
    """

    name: str
    advertised: tuple[str, int]
    mechanisms: Mechanisms | None = None
    user_of: Callable[[str], str | None] | None = None
