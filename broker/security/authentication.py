"""Where one connection stands in its authentication (KIP-43, KIP-152, KIP-368). Pure: time and exchanges are handed in.

    HANDSHAKE ──SaslHandshake──► TOKENS ──the exchange accepts──► COMPLETE ──SaslHandshake, where sessions end──► TOKENS
                                   └────────the exchange rejects────────► FAILED: the connection is closed

In HANDSHAKE and TOKENS nothing is served but the three APIs of the handshake. After SaslHandshake v0 tokens come as bare frames
without a header, after v1 as SaslAuthenticate. A session that has an end is closed at the first request after it, if the client
has not logged in again by then; who it is may not change, nor the mechanism (Kafka's SaslServerAuthenticator).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from headrace.broker.security.access import Principal
from headrace.broker.security.exchange import Accepted, Exchange, Reason, Rejected
from headrace.broker.wire import ErrorCode

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
_OF_THE_HANDSHAKE = frozenset((API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE))
_AGAIN_AFTER_MS = 1000  # Kafka: a connection is authenticated again at most once a second


class State(Enum):
    """Where a connection stands."""

    HANDSHAKE = auto()
    TOKENS = auto()
    COMPLETE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Mechanisms:
    """What a listener offers: how to begin an exchange of each mechanism, and how long a session may last (0: for ever)."""

    begin: Mapping[str, Callable[[], Exchange]]
    max_reauth_ms: Mapping[str, int]

    @property
    def names(self) -> Sequence[str]:
        return list(self.begin)


class Authentication:
    """One connection's."""

    def __init__(self, mechanisms: Mechanisms) -> None:
        self._mechanisms = mechanisms
        self.state = State.HANDSHAKE
        self.exchange: Exchange | None = None
        self.mechanism: str | None = None
        self.tokens_are_bare = False
        self.principal: Principal | None = None
        self.expires_ms: int | None = None  # monotonic
        self._begun_again_ms: int | None = None

    @property
    def is_complete(self) -> bool:
        return self.state is State.COMPLETE

    @property
    def offered(self) -> Sequence[str]:
        return self._mechanisms.names

    @property
    def is_again(self) -> bool:
        """Whether this is a re-authentication."""
        return self.principal is not None

    @property
    def wants_bare_token(self) -> bool:
        """Whether the next frame is a token without a header."""
        return self.tokens_are_bare and self.state is State.TOKENS

    def serves(self, api_key: int) -> bool:
        """Whether a request may be handled now."""
        return self.is_complete or (self.state is not State.FAILED and api_key in _OF_THE_HANDSHAKE)

    def has_expired(self, api_key: int, now_ms: int) -> bool:
        """Whether a request comes after the session's end, and is not the begin of a re-authentication."""
        return self.is_complete and self.expires_ms is not None and now_ms > self.expires_ms and api_key != SASL_HANDSHAKE

    def handshake(self, mechanism: str, version: int, *, now_ms: int) -> int:
        """Begin with a mechanism; the error code, after which `state` says whether anything goes on."""
        if self.is_complete:
            too_soon = self._begun_again_ms is not None and now_ms - self._begun_again_ms < _AGAIN_AFTER_MS
            if self.expires_ms is None or too_soon:
                return int(ErrorCode.illegal_sasl_state)
        elif self.state is not State.HANDSHAKE:
            self.state = State.FAILED
            return int(ErrorCode.illegal_sasl_state)
        if mechanism not in self._mechanisms.begin:
            self.state = State.FAILED
            return int(ErrorCode.unsupported_sasl_mechanism)
        self.exchange = (
            _BadMechanism() if self.is_again and mechanism != self.mechanism else self._mechanisms.begin[mechanism]()
        )
        self.mechanism = mechanism
        self.tokens_are_bare = version == 0
        self.state = State.TOKENS
        self._begun_again_ms = now_ms if self.is_again else None
        return 0

    def accept(self, accepted: Accepted, *, now_ms: int, wall_ms: int) -> int | Rejected:
        """The exchange has accepted: the session's lifetime in ms, 0 for one without an end; or why it has not, after all."""
        assert self.state is State.TOKENS
        assert self.mechanism is not None
        principal = Principal("User", accepted.name)
        if self.is_again and principal != self.principal:
            detail = f"Cannot change principals during re-authentication from {self.principal} to {principal}"
            return self.reject(Rejected(Reason.PRINCIPAL, accepted.name, detail))
        self.exchange, self.principal, self.state = None, principal, State.COMPLETE
        limits = [limit for limit in (self._mechanisms.max_reauth_ms.get(self.mechanism, 0),) if limit > 0]
        if accepted.expires_ms is not None:
            limits.append(max(0, accepted.expires_ms - wall_ms))
        lifetime_ms = min(limits, default=0)
        self.expires_ms = now_ms + lifetime_ms if limits else None
        return lifetime_ms

    def reject(self, rejected: Rejected) -> Rejected:
        """The exchange has rejected; the connection is to be closed."""
        self.exchange, self.state = None, State.FAILED
        return rejected


class _BadMechanism:
    """What re-authentication with another mechanism meets, as in Kafka: the handshake succeeds, the first token fails."""

    def step(self, token: bytes) -> Rejected:  # noqa: ARG002 - the interface
        return Rejected(Reason.MECHANISM, detail="another mechanism than the session began with")

    def checked(self, verdict: Accepted | Rejected) -> Accepted | Rejected:
        return verdict
