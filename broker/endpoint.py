"""A listener as its connections know it."""

from dataclasses import dataclass

from headrace.broker.security.authentication import Mechanisms


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One listener.

    Attributes:
        advertised: the address that its clients are told.
        mechanisms: how its clients log in; None where they do not, over SASL.
    """

    name: str
    advertised: tuple[str, int]
    mechanisms: Mechanisms | None = None
