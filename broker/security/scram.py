"""SCRAM-SHA-256 and SCRAM-SHA-512 on the server's side (RFC 5802, RFC 7677), and the credentials that it stores. Pure.

    C: n,,n=user,r=<client nonce>
    S: r=<client nonce><server nonce>,s=<salt>,i=<iterations>
    C: c=biws,r=<both nonces>,p=<proof>
    S: v=<server signature>

    SaltedPassword = PBKDF2(password, salt, iterations)        StoredKey = H(HMAC(SaltedPassword, "Client Key"))
    ServerKey = HMAC(SaltedPassword, "Server Key")             proof = ClientKey XOR HMAC(StoredKey, AuthMessage)

The server stores StoredKey and ServerKey: neither the password nor what a client proves itself with can be had from them but
by guessing. A login costs the server four hashes; the thousands of iterations are the client's.

As in Kafka and every one of its clients, passwords and names are UTF-8 as they are: SASLprep is not applied, because a client
that does not apply it could not log in. Beyond Kafka, what the client says of channel binding is compared (RFC 5802 §7): a
header that was changed under way is refused.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.broker.security.exchange import Accepted, Challenge, Reason, Rejected, Step, Verdict

MIN_ITERATIONS, MAX_ITERATIONS = 4096, 16384  # Kafka's bounds (ScramMechanism, ScramControlManager)
_VALUE = r"[^,\x00]+"
_FIRST = re.compile(
    rf"(?P<header>[ny],(?:a=(?P<authzid>{_VALUE}))?,)(?P<bare>n=(?P<name>{_VALUE}),r=(?P<nonce>[!-+\--~]+)(?:,.+)?)"
)
_FINAL = re.compile(rf"(?P<without_proof>c=(?P<binding>{_VALUE}),r=(?P<nonce>[!-+\--~]+)(?:,.+)?),p=(?P<proof>{_VALUE})")
# As Kafka since CVE-2024-56128: before, it took whatever ended in the right nonce.
_REPEATS_NONCE = "the client repeats its nonce, as librdkafka before 2.6.1 does; Kafka 4 refuses it too: renew the client"
_ESCAPE = re.compile(r"=(2C|3D|)")


@dataclass(frozen=True, slots=True)
class ScramMechanism:
    """One of the two; `number` is Kafka's on the wire."""

    name: str
    number: int
    hash_name: str

    def digest(self, data: bytes) -> bytes:
        return hashlib.new(self.hash_name, data).digest()

    def sign(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.hash_name)

    @property
    def size_bytes(self) -> int:
        """Of a key."""
        return hashlib.new(self.hash_name).digest_size


SCRAM_SHA_256 = ScramMechanism("SCRAM-SHA-256", 1, "sha256")
SCRAM_SHA_512 = ScramMechanism("SCRAM-SHA-512", 2, "sha512")
SCRAM_MECHANISMS = {mechanism.name: mechanism for mechanism in (SCRAM_SHA_256, SCRAM_SHA_512)}


@dataclass(frozen=True, slots=True)
class ScramCredential:
    """What is stored of a password."""

    salt: bytes = field(repr=False)
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    iterations: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The credential with which a claim is compared; one of a user that is not `known` is made up, and nothing satisfies it."""

    credential: ScramCredential
    known: bool


def salt_password(mechanism: ScramMechanism, password: bytes, salt: bytes, iterations: int) -> bytes:
    """SaltedPassword; milliseconds of work, during which other threads run."""
    return hashlib.pbkdf2_hmac(mechanism.hash_name, password, salt, iterations)


def credential_of(mechanism: ScramMechanism, salted_password: bytes, salt: bytes, iterations: int) -> ScramCredential:
    """What is stored of a salted password."""
    stored_key = mechanism.digest(mechanism.sign(salted_password, b"Client Key"))
    return ScramCredential(salt, stored_key, mechanism.sign(salted_password, b"Server Key"), iterations)


def is_password(mechanism: ScramMechanism, claimed: Claimed, password: bytes) -> bool:
    """Whether a password is the one of which the credential was made; as long for a user that is not known."""
    credential = claimed.credential
    salted = salt_password(mechanism, password, credential.salt, credential.iterations)
    same = hmac.compare_digest(mechanism.digest(mechanism.sign(salted, b"Client Key")), credential.stored_key)
    return same and claimed.known


class ScramExchange:
    """One login; see `Exchange`."""

    def __init__(self, mechanism: ScramMechanism, claimed: Callable[[str], Claimed], nonce: str) -> None:
        """`claimed` is asked once, for the name; `nonce` is ours: printable, without comma, fresh and not to be guessed."""
        self._mechanism = mechanism
        self._claimed_of = claimed
        self._nonce = nonce
        self._name: str | None = None
        self._claimed: Claimed | None = None
        self._header = self._client_first = self._server_first = ""

    def step(self, token: bytes) -> Step:
        try:
            message = token.decode()
        except UnicodeDecodeError:
            return self._malformed("not UTF-8")
        return self._first(message) if self._claimed is None else self._final(message, self._claimed)

    def checked(self, verdict: Verdict) -> Step:
        return verdict

    def _first(self, message: str) -> Step:
        match = _FIRST.fullmatch(message)
        if match is None:
            return self._malformed("not a client-first message, or channel binding asked for")
        self._name = _unescaped(match["name"])
        if self._name is None:
            return self._malformed("a user name with an escape that is none")
        if match["authzid"] is not None and match["authzid"] != match["name"]:
            return Rejected(Reason.MALFORMED, self._name, "an authorization id that is not the user name")
        self._header, self._client_first = match["header"], match["bare"]
        self._nonce = match["nonce"] + self._nonce
        self._claimed = self._claimed_of(self._name)
        credential = self._claimed.credential
        self._server_first = f"r={self._nonce},s={base64.b64encode(credential.salt).decode()},i={credential.iterations}"
        return Challenge(self._server_first.encode())

    def _final(self, message: str, claimed: Claimed) -> Step:
        match = _FINAL.fullmatch(message)
        if match is None:
            return self._malformed("not a client-final message")
        if match["binding"] != base64.b64encode(self._header.encode()).decode():
            return self._malformed("channel binding differs from what the first message said")
        if not hmac.compare_digest(match["nonce"].encode(), self._nonce.encode()):
            if match["nonce"].endswith(self._nonce):
                return self._malformed(_REPEATS_NONCE)
            return self._malformed("not the nonce of this exchange")
        try:
            proof = base64.b64decode(match["proof"], validate=True)
        except binascii.Error:
            return self._malformed("a proof that is not base64")
        if len(proof) != self._mechanism.size_bytes or base64.b64encode(proof).decode() != match["proof"]:
            return self._malformed("a proof of the wrong size, or with bits to spare")
        message_to_sign = f"{self._client_first},{self._server_first},{match['without_proof']}".encode()
        signature = self._mechanism.sign(claimed.credential.stored_key, message_to_sign)
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        same = hmac.compare_digest(self._mechanism.digest(client_key), claimed.credential.stored_key)
        if not (same and claimed.known and self._name is not None):
            return Rejected(Reason.CREDENTIALS, self._name)
        server_signature = base64.b64encode(self._mechanism.sign(claimed.credential.server_key, message_to_sign))
        return Accepted(self._name, b"v=" + server_signature)

    def _malformed(self, detail: str) -> Rejected:
        return Rejected(Reason.MALFORMED, self._name, detail)


def _unescaped(name: str) -> str | None:
    """A `saslname` as it is meant: `=2C` is a comma, `=3D` an equals sign; None where `=` stands otherwise (RFC 5802 §5.1)."""
    if any(not escape for escape in _ESCAPE.findall(name)):
        return None
    return name.replace("=2C", ",").replace("=3D", "=")
