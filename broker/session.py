"""What is known of a connection's client, for as long as the connection lives; handlers see it as `context.session`."""

from dataclasses import dataclass

from headrace.broker.security.access import ANONYMOUS, Authorizer, Principal


@dataclass(slots=True)
class Session:
    """One connection's client.

    Attributes:
        listener: the name of the listener through which it came.
        advertised: the address that clients of this listener are told.
        client_host: the peer's address, without its port.
        principal: who it is; changes when it authenticates.
    """

    listener: str
    advertised: tuple[str, int]
    client_host: str
    authorizer: Authorizer
    principal: Principal = ANONYMOUS
