"""Where a connection stands: what is served when, and how a session ends and is renewed (KIP-368)."""

from headrace.broker.security.access import Principal
from headrace.broker.security.authentication import SASL_AUTHENTICATE, SASL_HANDSHAKE, Authentication, Mechanisms, State
from headrace.broker.security.exchange import Accepted, Reason, Rejected
from headrace.broker.security.plain import PlainExchange
from headrace.broker.wire import ErrorCode

METADATA, API_VERSIONS = 3, 18
WALL_MS = 1_700_000_000_000


def authentication(max_reauth_ms: int = 0) -> Authentication:
    return Authentication(Mechanisms({"PLAIN": PlainExchange, "OTHER": PlainExchange}, {"PLAIN": max_reauth_ms}))


def logged_in(max_reauth_ms: int = 0, expires_ms: int | None = None) -> Authentication:
    known = authentication(max_reauth_ms)
    assert known.handshake("PLAIN", 1, now_ms=1000) == 0
    known.accept(Accepted("alice", expires_ms=expires_ms), now_ms=1000, wall_ms=WALL_MS)
    return known


def test_before_the_login_only_its_own_requests_are_served() -> None:
    known = authentication()
    for _ in range(2):
        assert [known.serves(key) for key in (API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE, METADATA)] == [True] * 3 + [
            False
        ]
        known.handshake("PLAIN", 1, now_ms=1000)
    known = logged_in()
    assert known.serves(METADATA)
    assert known.principal == Principal("User", "alice")


def test_a_mechanism_that_is_not_offered_ends_it_and_tells_those_that_are() -> None:
    known = authentication()
    assert known.handshake("GSSAPI", 1, now_ms=1000) == ErrorCode.unsupported_sasl_mechanism
    assert known.state is State.FAILED
    assert known.offered == ["PLAIN", "OTHER"]
    assert not known.serves(SASL_HANDSHAKE)


def test_a_second_handshake_within_a_login_ends_it() -> None:
    known = authentication()
    known.handshake("PLAIN", 1, now_ms=1000)
    assert known.handshake("PLAIN", 1, now_ms=1001) == ErrorCode.illegal_sasl_state
    assert known.state is State.FAILED


def test_a_session_without_an_end_is_not_renewed() -> None:
    known = logged_in()
    assert known.handshake("PLAIN", 1, now_ms=9000) == ErrorCode.illegal_sasl_state
    assert known.is_complete
    assert not known.has_expired(METADATA, 1 << 60)


def test_the_sooner_of_setting_and_credential_ends_a_session() -> None:
    known = authentication(5000)
    known.handshake("PLAIN", 1, now_ms=1000)
    assert known.accept(Accepted("alice", expires_ms=WALL_MS + 3000), now_ms=1000, wall_ms=WALL_MS) == 3000
    assert logged_in(5000, WALL_MS + 9000).expires_ms == 6000
    assert logged_in(0, WALL_MS + 9000).expires_ms == 10_000
    assert logged_in(0, WALL_MS - 1).expires_ms == 1000
    assert not known.has_expired(METADATA, 4000)
    assert known.has_expired(METADATA, 4001)
    assert not known.has_expired(SASL_HANDSHAKE, 4001)


def test_a_session_is_renewed_in_place_but_not_twice_a_second() -> None:
    known = logged_in(5000)
    assert known.handshake("PLAIN", 1, now_ms=1500) == 0
    assert not known.serves(METADATA)
    known.accept(Accepted("alice"), now_ms=1500, wall_ms=WALL_MS)
    assert known.expires_ms == 6500
    assert known.handshake("PLAIN", 1, now_ms=2400) == ErrorCode.illegal_sasl_state
    assert known.is_complete
    assert known.handshake("PLAIN", 1, now_ms=2500) == 0


def test_a_renewed_session_is_nobody_elses() -> None:
    known = logged_in(5000)
    known.handshake("PLAIN", 1, now_ms=2000)
    refused = known.accept(Accepted("bob"), now_ms=2000, wall_ms=WALL_MS)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.PRINCIPAL
    assert known.state is State.FAILED


def test_another_mechanism_at_renewal_fails_with_its_first_token() -> None:
    known = logged_in(5000)
    assert known.handshake("OTHER", 1, now_ms=2000) == 0
    assert known.exchange is not None
    step = known.exchange.step(b"\0alice\0secret")
    assert isinstance(step, Rejected)
    assert step.reason is Reason.MECHANISM
