"""How Kafka's client was told to secure its connections, for those that are made beside it: TLS, SASL PLAIN and SCRAM.

What is set in another way than here is known (Kerberos, tokens, key stores) is left to the client: `security_of` is None
there. Source: librdkafka's CONFIGURATION.md; Kafka's SaslHandshakeRequest.json, SaslAuthenticateRequest.json; RFC 5802 (SCRAM).
"""

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.errors import PeerError

_TLS_KEYS: Final = frozenset(
    {
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
    }
)
_SASL_KEYS: Final = frozenset({"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"})
_VERIFIES: Final = "enable.ssl.certificate.verification"
_HASHES: Final = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_HANDSHAKE, _AUTHENTICATE = (17, 1), (36, 0)
_HEAD: Final = struct.Struct(">hhih")
_MAX_ANSWER_BYTES: Final = 1 << 16
_MAX_ITERATIONS: Final = 1_000_000


class UnsecuredError(PeerError):
    """TLS or the login came to nothing here, though Kafka's client may do with it."""


@dataclass(frozen=True, slots=True)
class Security:
    """What a connection needs before its first request."""

    tls: ssl.SSLContext | None = None
    mechanism: str | None = None
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def secure(self, connected: socket.socket, host: str, client_id: str) -> socket.socket:
        """Secure a connection, which has a time-out, and log in.

        Raises:
            UnsecuredError: that came to nothing. OSError: the connection failed.
        """
        try:
            if self.tls is not None:
                connected = self.tls.wrap_socket(connected, server_hostname=host)
            if self.mechanism is not None:
                _log_in(_Asking(connected, client_id), self)
        except (ssl.SSLError, ValueError, KeyError, struct.error) as error:
            raise UnsecuredError(f"kafka: {host}: no secure connection: {error}") from error
        return connected


def security_of(kafka: Mapping[str, Any]) -> Security | None:
    """What these settings ask for; None where it is more than is known here, or their files cannot be read."""
    try:
        return _security_of(kafka)
    except OSError:  # as Kafka's client says, too
        return None


def _security_of(kafka: Mapping[str, Any]) -> Security | None:
    protocol = str(kafka.get("security.protocol", "plaintext")).lower()
    known = _TLS_KEYS | _SASL_KEYS | {_VERIFIES}
    asked = {key for key in kafka if key.startswith(("ssl.", "sasl.", "enable.ssl", "enable.sasl"))}
    if protocol not in ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl") or not asked <= known:
        return None
    mechanism = str(kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "GSSAPI"))).upper()
    if not protocol.startswith("sasl_"):
        return Security(_context(kafka) if protocol == "ssl" else None)
    if mechanism != "PLAIN" and mechanism not in _HASHES:
        return None
    tls = _context(kafka) if protocol == "sasl_ssl" else None
    return Security(tls, mechanism, str(kafka.get("sasl.username", "")), str(kafka.get("sasl.password", "")))


def _context(kafka: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"))
    verifies = str(kafka.get(_VERIFIES, True)).lower() not in ("false", "0")
    context.check_hostname = verifies and str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() != "none"
    if not verifies:
        context.verify_mode = ssl.CERT_NONE
    if (certificate := kafka.get("ssl.certificate.location")) is not None:
        context.load_cert_chain(certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password"))
    return context


class _Asking:
    """Requests before the first fetch, each of which waits for its answer."""

    def __init__(self, connected: socket.socket, client_id: str) -> None:
        self._socket, self._client_id, self._number = connected, client_id.encode(), 0

    def ask(self, api: tuple[int, int], body: bytes) -> "_Answer":
        self._number += 1
        request = _HEAD.pack(*api, self._number, len(self._client_id)) + self._client_id + body
        self._socket.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", self._exactly(4))
        if not 4 <= size <= _MAX_ANSWER_BYTES:
            raise ValueError(f"a response of {size} bytes")
        answer = _Answer(self._exactly(size))
        if answer.number(">i") != self._number:
            raise ValueError("a response to another request")
        return answer

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._socket.recv(size - len(data))
            if not piece:
                raise ValueError("the broker has closed the connection")
            data += piece
        return data


class _Answer:
    """Bytes that are not trusted."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def bytes_(self, form: str) -> bytes:
        size = max(0, self.number(form))
        if size > len(self._data) - self._at:
            raise ValueError("a response is cut off")
        self._at += size
        return self._data[self._at - size : self._at]


def _log_in(asking: _Asking, security: Security) -> None:
    assert security.mechanism is not None, "it is asked for"
    name = security.mechanism.encode()
    if asking.ask(_HANDSHAKE, struct.pack(">h", len(name)) + name).number(">h"):
        raise ValueError(f"the broker has no {security.mechanism}")
    if security.mechanism == "PLAIN":
        _say(asking, f"\0{security.username}\0{security.password}".encode())
        return
    scram = Scram(_HASHES[security.mechanism], security.username, security.password, secrets.token_urlsafe(24))
    scram.check(_say(asking, scram.answer(_say(asking, scram.first()))))


def _say(asking: _Asking, data: bytes) -> bytes:
    answer = asking.ask(_AUTHENTICATE, struct.pack(">i", len(data)) + data)
    if answer.number(">h"):
        raise ValueError("the login is refused")
    answer.bytes_(">h")
    return answer.bytes_(">i")


class Scram:
    """One login by SCRAM, the client's side (RFC 5802 §5), without channel binding. Pure.

    Raises (all methods) ValueError, KeyError: the server does not say what it has to.
    """

    def __init__(self, hash_: str, username: str, password: str, nonce: str) -> None:
        self._hash, self._password, self._nonce = hash_, password, nonce
        self._bare = f"n={username.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._signature = b""

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def answer(self, challenge: bytes) -> bytes:
        """The proof that the password is known, for what the server asks."""
        said = _attributes(challenge)
        iterations = int(said["i"])
        if not said["r"].startswith(self._nonce) or not 1 <= iterations <= _MAX_ITERATIONS:
            raise ValueError("the server's challenge is none")
        salted = hashlib.pbkdf2_hmac(self._hash, self._password.encode(), base64.b64decode(said["s"]), iterations)
        final = f"c=biws,r={said['r']}"
        signed = f"{self._bare},{challenge.decode()},{final}".encode()
        key = self._mac(salted, b"Client Key")
        signature = self._mac(hashlib.new(self._hash, key).digest(), signed)
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        self._signature = self._mac(self._mac(salted, b"Server Key"), signed)
        return f"{final},p={base64.b64encode(proof).decode()}".encode()

    def check(self, verdict: bytes) -> None:
        """That the server knows the password, too."""
        if not hmac.compare_digest(base64.b64decode(_attributes(verdict)["v"]), self._signature):
            raise ValueError("the server does not know the password")

    def _mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, self._hash).digest()


def _attributes(said: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in said.decode().split(",") if "=" in part)
