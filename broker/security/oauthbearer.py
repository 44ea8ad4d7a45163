"""OAUTHBEARER on the server's side (RFC 7628, KIP-255): one token of an identity provider. Pure; what a token is worth is
decided elsewhere (`tokens.py`).

A token that is refused is answered with a challenge that says so, in JSON; the client answers with one control character, and
only then the login has failed (RFC 7628 §3.2.2, §3.2.3).
"""

import re

from headrace.broker.security.exchange import Accepted, Challenge, Reason, Rejected, Step, TokenCheck, Verdict

# KIP-342: keys of letters; values printable. The token's characters are those of a JWT; Kafka allows no others.
_FIRST = re.compile(
    r"n,(?:a=(?P<authzid>[^,\x00]+))?,\x01(?P<pairs>(?:[A-Za-z]+=[\x21-\x7e \t\r\n]*\x01)*)\x01",
)
_BEARER = re.compile(r"bearer +(?P<token>[-_.~+/=A-Za-z0-9]+)", re.IGNORECASE)
_REFUSAL = b'{"status":"invalid_token"}'


class OAuthBearerExchange:
    """One login; see `Exchange`."""

    def __init__(self) -> None:
        self._authorization_id: str | None = None
        self._refused: Rejected | None = None

    def step(self, token: bytes) -> Step:
        if self._refused is not None:
            return self._refused
        try:
            match = _FIRST.fullmatch(token.decode())
        except UnicodeDecodeError:
            match = None
        if match is None:
            return Rejected(Reason.MALFORMED, detail="not a client's first message")
        self._authorization_id = match["authzid"]
        pairs = [pair.partition("=") for pair in match["pairs"].split("\x01") if pair]
        values = [value for key, _, value in pairs if key == "auth"]
        bearer = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
        if bearer is None:
            return Rejected(Reason.MALFORMED, detail="no bearer token")
        return TokenCheck(bearer["token"])

    def checked(self, verdict: Verdict) -> Step:
        if isinstance(verdict, Accepted) and self._authorization_id not in (None, verdict.name):
            verdict = Rejected(Reason.MALFORMED, verdict.name, "an authorization id that is not the token's subject")
        if isinstance(verdict, Accepted):
            return verdict
        self._refused = verdict
        return Challenge(_REFUSAL)
