"""What a bearer token is worth."""

import asyncio
import base64
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from headrace.broker.security.exchange import Accepted, Reason, Rejected
from headrace.broker.security.tokens import ProviderTokens, TokenRules, judge, read_keys
from headrace.clock import MonotonicMs, WallMs

NOW_S = 1_800_000_000
RULES = TokenRules(("kafka",), "https://issuer", "sub", 30_000)
CLAIMS = {"sub": "alice", "iss": "https://issuer", "aud": ["other", "kafka"], "exp": NOW_S + 60, "iat": NOW_S}
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})


def keys(*of: Any) -> KeySet:
    return read_keys(json.dumps({"keys": [key.as_dict(private=False) for key in of or (RSA, EC, ED)]}).encode())


def token(key: Any = EC, algorithm: str = "ES256", **claims: Any) -> str:
    told = {key: value for key, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode({"alg": algorithm, "kid": key.kid}, told, key, algorithms=[algorithm])


def verdict(text: str, rules: TokenRules = RULES, *, now_s: float = NOW_S) -> Accepted | Rejected:
    return judge(text, keys(), rules, int(now_s * 1000))


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (EC, "ES256"), (ED, "Ed25519")])
def test_a_token_that_the_provider_signed_for_us_is_its_subjects(key: Any, algorithm: str) -> None:
    assert verdict(token(key, algorithm)) == Accepted("alice", expires_ms=(NOW_S + 60) * 1000)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW_S - 30},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"nbf": NOW_S + 31},
        {"nbf": None, "iss": "https://other"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": {"kafka": 1}},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_a_token_that_is_not_of_now_or_not_for_us_is_refused(claims: dict[str, Any]) -> None:
    refused = verdict(token(**claims))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.TOKEN


def test_clocks_may_differ_a_little_and_rules_may_be_left_out() -> None:
    assert isinstance(verdict(token(exp=NOW_S - 29, nbf=NOW_S + 29)), Accepted)
    anybody = TokenRules((), None, "preferred_username", 0)
    bobs = token(iss=None, aud=None, preferred_username="bob")
    assert verdict(bobs, anybody) == Accepted("bob", expires_ms=(NOW_S + 60) * 1000)


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_no_signature_is_no_signature() -> None:
    for algorithm in ("none", "None", ""):
        assert isinstance(verdict(unsigned({"alg": algorithm, "kid": "ec"}, CLAIMS)), Rejected)


def test_a_public_key_is_no_secret_to_sign_with() -> None:
    for form in ("PEM", "DER"):
        public = RSA.as_pem(private=False) if form == "PEM" else RSA.as_der(private=False)
        signed = unsigned({"alg": "HS256", "kid": "rsa"}, CLAIMS).removesuffix(".")
        signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
        assert isinstance(verdict(f"{signed}.{signature}"), Rejected)


def test_a_secret_among_the_providers_keys_is_not_used() -> None:
    secret = OctKey.generate_key(256, {"kid": "oct"})
    forged = jwt.encode({"alg": "HS256", "kid": "oct"}, CLAIMS, secret, algorithms=["HS256"])
    found = read_keys(json.dumps({"keys": [secret.as_dict(), EC.as_dict(private=False)]}).encode())
    assert [key.kid for key in found] == ["ec"]
    assert isinstance(judge(forged, found, RULES, NOW_S * 1000), Rejected)
    with pytest.raises(ValueError, match="no key"):
        read_keys(json.dumps({"keys": [secret.as_dict()]}).encode())


def test_a_token_changed_under_way_or_signed_by_another_is_refused() -> None:
    header, _, signature = token().split(".")
    claims = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "admin"}).encode()).rstrip(b"=").decode()
    assert isinstance(verdict(f"{header}.{claims}.{signature}"), Rejected)
    stranger = ECKey.generate_key("P-256", {"kid": "ec"})
    assert isinstance(verdict(token(stranger)), Rejected)


def test_a_key_in_the_tokens_own_header_is_not_believed() -> None:
    stranger = ECKey.generate_key("P-256")
    header = {"alg": "ES256", "kid": "ec", "jwk": stranger.as_dict(private=False)}
    forged = jwt.encode(header, CLAIMS, stranger, algorithms=["ES256"])
    assert isinstance(verdict(forged), Rejected)


def test_a_key_that_is_not_known_is_asked_for() -> None:
    with pytest.raises(InvalidKeyIdError):
        judge(token(ED, "Ed25519"), keys(EC), RULES, NOW_S * 1000)


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "e30.e30.", "\x00", "x" * 20_000, unsigned({}, CLAIMS)])
def test_what_is_no_token_is_refused(text: str) -> None:
    assert isinstance(verdict(text), Rejected)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"keys": 7}', b'{"keys": [{"kty": "RSA"}, 3]}', b"\xff"])
def test_what_is_no_key_set_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON Web Key Set|no key"):
        read_keys(text)


class HandClock:
    """Moved by hand."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


def provider(file: Path, clock: HandClock) -> ProviderTokens:
    return ProviderTokens(f"file:{file}", RULES, refresh_ms=3_600_000, clock=clock)


def test_a_new_key_is_read_when_a_token_names_it_though_not_within_ten_seconds(tmp_path: Path) -> None:
    file, clock = tmp_path / "jwks.json", HandClock(NOW_S * 1000)

    async def steps() -> None:
        tokens = provider(file, clock)
        file.write_text(json.dumps(keys(EC).as_dict(private=False)))
        assert isinstance(await tokens.verify(token()), Accepted)
        file.write_text(json.dumps(keys(ED).as_dict(private=False)))
        new = token(ED, "Ed25519")
        clock.now_ms += 9_999
        assert isinstance(await tokens.verify(new), Rejected)
        clock.now_ms += 1
        assert isinstance(await tokens.verify(new), Accepted)
        assert isinstance(await tokens.verify(token()), Rejected)

    asyncio.run(steps())


def test_keys_that_were_read_last_stay_in_force_while_they_cannot_be_read(tmp_path: Path) -> None:
    file, clock = tmp_path / "jwks.json", HandClock(NOW_S * 1000)

    async def steps() -> None:
        tokens = provider(file, clock)
        assert await tokens.verify(token()) == Rejected(
            Reason.UNAVAILABLE, detail="the identity provider's keys could not be read"
        )
        file.write_text(json.dumps(keys(EC).as_dict(private=False)))
        clock.now_ms += 10_000
        assert isinstance(await tokens.verify(token()), Accepted)
        file.unlink()
        clock.now_ms += 10_000
        assert isinstance(await tokens.verify(token(ED, "Ed25519")), Rejected)
        assert isinstance(await tokens.verify(token()), Accepted)

    asyncio.run(steps())
