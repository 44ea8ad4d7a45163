"""The first messages of PLAIN (RFC 4616) and OAUTHBEARER (RFC 7628)."""

import pytest

from headrace.broker.security.exchange import Accepted, Challenge, PasswordCheck, Reason, Rejected, TokenCheck
from headrace.broker.security.oauthbearer import OAuthBearerExchange
from headrace.broker.security.plain import PlainExchange


@pytest.mark.parametrize("token", [b"\0tim\0tanstaaftanstaaf", b"tim\0tim\0tanstaaftanstaaf"])
def test_plain_asks_for_the_password_to_be_checked(token: bytes) -> None:
    check = PlainExchange().step(token)
    assert check == PasswordCheck("tim", b"tanstaaftanstaaf")
    assert "tanstaaf" not in repr(check)


@pytest.mark.parametrize("token", [b"", b"\0", b"\0tim\0", b"\0\0pw", b"Ursel\0Kurt\0xipj3plmq", b"\0tim\0pw\0", b"\0\xff\0pw"])
def test_plain_that_is_none_or_acts_for_another_is_refused(token: bytes) -> None:
    step = PlainExchange().step(token)
    assert isinstance(step, Rejected)
    assert step.reason is Reason.MALFORMED


def first(token: str = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==") -> bytes:
    return f"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer {token}\x01\x01".encode()


def test_the_example_of_rfc_7628_asks_for_the_token_to_be_checked() -> None:
    check = OAuthBearerExchange().step(first())
    assert check == TokenCheck("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    assert "vF9d" not in repr(check)


def test_a_good_token_is_enough_unless_it_is_somebody_elses() -> None:
    exchange = OAuthBearerExchange()
    exchange.step(first())
    assert exchange.checked(Accepted("user@example.com", expires_ms=7)) == Accepted("user@example.com", expires_ms=7)
    exchange = OAuthBearerExchange()
    exchange.step(first())
    assert isinstance(exchange.checked(Accepted("root")), Challenge)
    assert isinstance(exchange.step(b"\x01"), Rejected)


def test_a_bad_token_is_told_in_json_and_the_login_fails_with_the_next_message() -> None:
    exchange = OAuthBearerExchange()
    exchange.step(first())
    assert exchange.checked(Rejected(Reason.TOKEN, "alice", "expired")) == Challenge(b'{"status":"invalid_token"}')
    assert exchange.step(b"\x01") == Rejected(Reason.TOKEN, "alice", "expired")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,\x01\x01",
        b"n,,\x01auth=Basic abc\x01\x01",
        b"n,,\x01auth=Bearer \x01\x01",
        b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
        b"y,,\x01auth=Bearer a\x01\x01",
        b"n,,\x01auth=Bearer a\x01",
        b"\xff",
    ],
)
def test_what_is_no_first_message_is_refused(message: bytes) -> None:
    assert isinstance(OAuthBearerExchange().step(message), Rejected)
