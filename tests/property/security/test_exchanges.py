"""Whatever bytes a client sends, an exchange ends in a step; only who has the password is accepted."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.errors import InvalidKeyIdError

from headrace.broker.security.certificate_names import PrincipalMapper
from headrace.broker.security.exchange import Accepted, Challenge, Exchange, PasswordCheck, Reason, Rejected, TokenCheck
from headrace.broker.security.oauthbearer import OAuthBearerExchange
from headrace.broker.security.plain import PlainExchange
from headrace.broker.security.scram import SCRAM_SHA_256, Claimed, ScramExchange, credential_of, salt_password
from headrace.broker.security.tokens import TokenRules, judge, read_keys
from tests.unit.security.scram_client import ScramClient

SALT, ITERATIONS = b"salt of a user", 4096
CREDENTIAL = credential_of(SCRAM_SHA_256, salt_password(SCRAM_SHA_256, b"pencil", SALT, ITERATIONS), SALT, ITERATIONS)
KEYS = read_keys(
    b'{"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    b' "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}'
)


def scram(known: bool = True) -> ScramExchange:
    return ScramExchange(SCRAM_SHA_256, lambda _: Claimed(CREDENTIAL, known), "server-nonce")


WORDS = [b"n", b",", b"=", b"a=", b"r=", b"c=biws", b"p=", b"\x00", b"\x01", b"auth=Bearer ", b"x", b"=2C"]
JWTS = st.lists(st.text("eyJhbGciOiJub25lIn0-_=AQ", max_size=60), min_size=3, max_size=3).map(".".join)
TOKENS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    st.lists(st.sampled_from(WORDS)).map(b"".join),
)


@given(st.sampled_from([scram, PlainExchange, OAuthBearerExchange]), st.lists(TOKENS, min_size=1, max_size=4))
def test_any_tokens_end_in_steps_and_never_in_a_user(begin: type[Exchange], tokens: list[bytes]) -> None:
    exchange = begin()
    for token in tokens:
        step = exchange.step(token)
        if isinstance(step, PasswordCheck | TokenCheck):
            step = exchange.checked(Rejected(Reason.CREDENTIALS))
        assert isinstance(step, Challenge | Rejected)
        if isinstance(step, Rejected):
            return


@given(st.text(min_size=1).filter(lambda name: "\x00" not in name), st.binary(min_size=1, max_size=40), st.booleans())
@example("a,b=c", b"pencil", True)
def test_a_scram_client_is_accepted_if_and_only_if_the_password_is_the_users(name: str, password: bytes, known: bool) -> None:
    try:
        client = ScramClient(SCRAM_SHA_256, name, password)
        first = client.first()
    except UnicodeEncodeError:
        return
    server = scram(known)
    challenge = server.step(first)
    assert isinstance(challenge, Challenge)
    end = server.step(client.final(challenge.token))
    assert isinstance(end, Accepted) == (known and password == b"pencil")
    assert end.name == name


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_final_message_with_any_byte_changed_is_refused(position: int, byte: int) -> None:
    client, server = ScramClient(SCRAM_SHA_256, "user", b"pencil"), scram()
    challenge = server.step(client.first())
    assert isinstance(challenge, Challenge)
    final = bytearray(client.final(challenge.token))
    position %= len(final)
    if final[position] == byte:
        return
    final[position] = byte
    assert isinstance(server.step(bytes(final)), Rejected)


@given(st.one_of(st.text(max_size=300), JWTS))
def test_any_text_is_judged_and_none_is_somebodys_token(text: str) -> None:
    with contextlib.suppress(InvalidKeyIdError):
        assert isinstance(judge(text, KEYS, TokenRules((), None, "sub", 0), 0), Rejected)


@given(st.text(max_size=60), st.text(max_size=60))
def test_rules_are_refused_or_make_names(rules: str, subject: str) -> None:
    try:
        mapper = PrincipalMapper(rules)
    except ValueError:
        return
    name = mapper.name(subject)
    assert name is None or isinstance(name, str)
