"""What a bearer token is worth: a JWT that a key of the identity provider has signed, of now, and for us (RFC 7519, KIP-768).

Keys come from `sasl.oauthbearer.jwks.endpoint.url`, read off the loop: at the start, every hour, and when a token names a key
that is not known, though not more than once in ten seconds. While they cannot be read those that were read last stay in force.

Signatures are of private keys only: no `none`, and no HMAC, for which the provider's public key would be the secret. Header and
claims are the peer's until the signature has been verified.
"""

import asyncio
import json
import logging
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from headrace.broker.security.exchange import Accepted, Reason, Rejected, Verdict
from headrace.clock import Clock
from headrace.config_secrets import without_user_info

logger = logging.getLogger(__name__)
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
_TOKEN_CHARACTERS = 16_384
_KEYS_BYTES = 1 << 20
_FETCH_S = 10.0
_AGAIN_MS = 10_000


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say; None or empty: whatever it says. `skew_ms` is how far clocks may differ."""

    audiences: Sequence[str]
    issuer: str | None
    name_claim: str
    skew_ms: int


def judge(token: str, keys: KeySet, rules: TokenRules, wall_ms: int) -> Verdict:
    """The verdict on a token.

    Raises:
        InvalidKeyIdError: it names a key that is not among these.
    """
    if len(token) > _TOKEN_CHARACTERS:
        return Rejected(Reason.TOKEN, detail="a token of more than 16 KiB")
    try:
        claims = jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims
    except InvalidKeyIdError:
        raise
    except (JoseError, ValueError, TypeError, LookupError) as error:
        return Rejected(Reason.TOKEN, detail=f"not a token that the provider has signed ({type(error).__name__})")
    fault = _fault(claims, rules, wall_ms)
    name = claims.get(rules.name_claim)
    if not isinstance(name, str) or not name:
        return Rejected(Reason.TOKEN, detail=f"no claim {rules.name_claim}")
    if fault is not None:
        return Rejected(Reason.TOKEN, name, fault)
    return Accepted(name, expires_ms=int(claims["exp"] * 1000))


def _fault(claims: Mapping[str, Any], rules: TokenRules, wall_ms: int) -> str | None:
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if not _is_time(expires) or not _is_time(begins):
        return "no claim exp, or one of the times is none"
    if cast("float", expires) * 1000 + rules.skew_ms <= wall_ms:
        return "it has expired"
    if begins * 1000 - rules.skew_ms > wall_ms:
        return "it is not valid yet"
    if rules.issuer is not None and claims.get("iss") != rules.issuer:
        return "another issuer"
    told = claims.get("aud", ())
    if rules.audiences and not set(rules.audiences) & set([told] if isinstance(told, str) else _texts(told)):
        return "for another audience"
    return None


def _is_time(value: object) -> bool:
    """Whether it is a NumericDate that we can count with (seconds)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def read_keys(text: bytes) -> KeySet:
    """The keys of a JWKS that verify signatures; keys of other kinds are left out, as is what cannot be read.

    Raises:
        ValueError: it is not a JWKS, or has no such key.
    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError("not a JSON Web Key Set") from error
    usable = []
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig":
            try:
                usable += KeySet.import_key_set(cast("KeySetSerialization", {"keys": [entry]})).keys
            except (JoseError, ValueError, TypeError, LookupError):
                logger.warning("a key of the identity provider cannot be read", extra={"kid": str(entry.get("kid"))[:100]})
    if not usable:
        raise ValueError("no key in it verifies signatures (RSA, EC, OKP)")
    return KeySet(usable)


class ProviderTokens:
    """The shell: the provider's keys, and verdicts on tokens."""

    def __init__(self, url: str, rules: TokenRules, refresh_ms: int, clock: Clock) -> None:
        self._url, self._rules, self._refresh_ms, self._clock = url, rules, refresh_ms, clock
        self._keys: KeySet | None = None
        self._read_ms: int | None = None  # when they were last read, or tried to be
        self._reading: asyncio.Task[None] | None = None

    def keep_fresh(self) -> None:
        """Read the keys again, if it is time for that; once a second."""
        due_ms = self._refresh_ms if self._keys is not None else _AGAIN_MS
        if self._read_ms is None or self._clock.monotonic_ms() - self._read_ms >= due_ms:
            self._begin_reading()

    async def verify(self, token: str) -> Verdict:
        """The verdict on a token; for one with a key that is not known the keys are read again, if that was not just done."""
        for last in (False, True):
            if self._keys is not None:
                try:
                    return judge(token, self._keys, self._rules, self._clock.wall_ms())
                except InvalidKeyIdError:
                    if last:
                        return Rejected(Reason.TOKEN, detail="signed with a key that the provider does not have")
            if not last and (self._read_ms is None or self._clock.monotonic_ms() - self._read_ms >= _AGAIN_MS):
                self._begin_reading()
            if self._reading is not None:
                await asyncio.shield(self._reading)
        return Rejected(Reason.UNAVAILABLE, detail="the identity provider's keys could not be read")

    def _begin_reading(self) -> None:
        if self._reading is None:
            self._read_ms = self._clock.monotonic_ms()
            self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            self._keys = await asyncio.get_running_loop().run_in_executor(None, _fetch, self._url)
        except (OSError, ValueError) as error:
            logger.error("the identity provider's keys cannot be read: %s", error, extra={"url": without_user_info(self._url)})
        finally:
            self._reading = None


def _fetch(url: str) -> KeySet:
    with urllib.request.urlopen(url, timeout=_FETCH_S) as answer:  # noqa: S310 - schemes are checked where the URL is configured
        text = answer.read(_KEYS_BYTES + 1)
    if len(text) > _KEYS_BYTES:
        raise ValueError("more than 1 MiB of keys")
    return read_keys(text)
