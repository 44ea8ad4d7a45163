"""What is known of a connection's client, for as long as the connection lives; handlers see it as `context.session`."""

from dataclasses import dataclass

from headrace.broker.security.access import ANONYMOUS, Authorizer, Principal
from headrace.broker.security.authentication import Authentication, State


@dataclass(slots=True)
class Session:
    """One connection's client.

    Attributes:
        listener: the name of the listener through which it came.
        advertised: the address that clients of this listener are told.
        client_host: the peer's address, without its port.
        principal: who it is; changes when it authenticates.
        client_id: what the client called itself in its first request.
        authentication: where it stands in that; None where the listener wants none over SASL.
        muted_until_ms: before this time its connection is not read, because it went over a quota (monotonic).
        throttle_ms: the last delay that it was told of and that is not counted yet.
    """

    listener: str
    advertised: tuple[str, int]
    client_host: str
    authorizer: Authorizer
    principal: Principal = ANONYMOUS
    authentication: Authentication | None = None
    muted_until_ms: int = 0
    throttle_ms: int = 0
    client_id: str | None = None

    @property
    def is_authenticating(self) -> bool:
        """Whether it has yet to say who it is: then one request is handled at a time."""
        return self.authentication is not None and not self.authentication.is_complete

    @property
    def has_failed(self) -> bool:
        """Whether it could not say who it is: once it has been told so, its connection is closed."""
        return self.authentication is not None and self.authentication.state is State.FAILED
