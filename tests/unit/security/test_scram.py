"""SCRAM's server side, by the examples of the RFCs, and by what a client must not get away with."""

import base64

import pytest

from headrace.broker.security.exchange import Accepted, Challenge, Reason, Rejected
from headrace.broker.security.scram import (
    SCRAM_SHA_256,
    SCRAM_SHA_512,
    Claimed,
    ScramExchange,
    ScramMechanism,
    credential_of,
    is_password,
    salt_password,
)
from tests.unit.security.scram_client import ScramClient

# RFC 7677 §3: user "user", password "pencil"
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SIGNATURE = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def claimed(mechanism: ScramMechanism, password: bytes = b"pencil", *, known: bool = True) -> Claimed:
    return Claimed(credential_of(mechanism, salt_password(mechanism, password, SALT, 4096), SALT, 4096), known)


def exchange(mechanism: ScramMechanism = SCRAM_SHA_256, *, known: bool = True) -> ScramExchange:
    return ScramExchange(mechanism, lambda _: claimed(mechanism, known=known), SERVER_NONCE)


def test_the_example_of_rfc_7677_is_accepted_to_the_byte() -> None:
    server = exchange()
    assert server.step(FIRST) == Challenge(CHALLENGE)
    assert server.step(FINAL) == Accepted("user", SIGNATURE)


@pytest.mark.parametrize("mechanism", [SCRAM_SHA_256, SCRAM_SHA_512])
def test_a_client_with_the_password_proves_itself_and_the_server_too(mechanism: ScramMechanism) -> None:
    client, server = ScramClient(mechanism, "user", b"pencil"), exchange(mechanism)
    challenge = server.step(client.first())
    assert isinstance(challenge, Challenge)
    accepted = server.step(client.final(challenge.token))
    assert isinstance(accepted, Accepted)
    assert client.is_server(accepted.token)


def test_a_name_is_unescaped_and_a_wrong_escape_is_refused() -> None:
    asked: list[str] = []
    server = ScramExchange(SCRAM_SHA_256, lambda name: asked.append(name) or claimed(SCRAM_SHA_256), "abc")  # type: ignore[func-returns-value]  # on purpose: None is false
    assert isinstance(server.step(b"n,,n=a=2Cb=3D,r=x"), Challenge)
    assert asked == ["a,b="]
    assert rejected(exchange().step(b"n,,n=a=2cb,r=x")) is Reason.MALFORMED


def rejected(step: object) -> Reason:
    assert isinstance(step, Rejected), step
    return step.reason


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"p=tls-unique,,n=user,r=abc",  # channel binding, which is not offered
        b"n,,m=ext,n=user,r=abc",  # an extension that must be understood
        b"n,a=root,n=user,r=abc",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=us\x00er,r=abc",
        b"n,,n=user",
        b"\xff\xfe",
    ],
)
def test_a_first_message_that_is_none_is_refused(first: bytes) -> None:
    assert rejected(exchange().step(first)) is Reason.MALFORMED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"c=biws", b"c=eSws"),  # says that the first message was `y,,`: somebody took the offer of channel binding away
        (b"c=biws", b"c=biwsYQ=="),
        (b"hNlF$k0", b"hNlF$k1"),
        (b"p=dHzb", b"p=!!!!"),
        (b"7AndVQ=", b"7An"),
        (b",p=", b",q="),
        (b"c=biws,", b""),
    ],
)
def test_a_final_message_that_was_tampered_with_is_refused(old: bytes, new: bytes) -> None:
    server = exchange()
    server.step(FIRST)
    assert old in FINAL
    assert rejected(server.step(FINAL.replace(old, new))) is Reason.MALFORMED


def test_a_wrong_proof_and_a_user_that_is_not_known_are_refused_alike() -> None:
    server = exchange()
    server.step(FIRST)
    assert rejected(server.step(FINAL.replace(b"p=dHzb", b"p=eHzb"))) is Reason.CREDENTIALS
    server = exchange(known=False)
    assert server.step(FIRST) == Challenge(CHALLENGE)
    assert rejected(server.step(FINAL)) is Reason.CREDENTIALS


def test_y_says_that_the_client_could_bind_the_channel_and_is_compared_too() -> None:
    client, server = ScramClient(SCRAM_SHA_256, "user", b"pencil", header="y,,"), exchange()
    challenge = server.step(client.first())
    assert isinstance(challenge, Challenge)
    assert isinstance(server.step(client.final(challenge.token)), Accepted)


def test_a_password_is_compared_with_what_is_stored_of_it() -> None:
    assert is_password(SCRAM_SHA_512, claimed(SCRAM_SHA_512), b"pencil")
    assert not is_password(SCRAM_SHA_512, claimed(SCRAM_SHA_512), b"pencil ")
    assert not is_password(SCRAM_SHA_512, claimed(SCRAM_SHA_512, known=False), b"pencil")


def test_nothing_secret_is_shown_when_a_credential_is_printed() -> None:
    assert "key" not in repr(claimed(SCRAM_SHA_256))
    assert "salt" not in repr(claimed(SCRAM_SHA_256))
