"""The client's side of SCRAM, written from RFC 5802 for tests alone; it shares no code with the server's."""

import base64
import hashlib
import hmac

from headrace.broker.security.scram import ScramMechanism


class ScramClient:
    """One login."""

    def __init__(self, mechanism: ScramMechanism, name: str, password: bytes, header: str = "n,,") -> None:
        self._hash, self._password, self._header = mechanism.hash_name, password, header
        self._bare = f"n={name.replace('=', '=3D').replace(',', '=2C')},r=fyko+d2lbbFgONRv9qkxdawL"
        self._server_key = self._signed = b""

    def first(self) -> bytes:
        return (self._header + self._bare).encode()

    def final(self, challenge: bytes) -> bytes:
        fields = dict(word.partition("=")[::2] for word in challenge.decode().split(","))
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = f"c={base64.b64encode(self._header.encode()).decode()},r={fields['r']}"
        self._signed = f"{self._bare},{challenge.decode()},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        signature = hmac.digest(hashlib.new(self._hash, client_key).digest(), self._signed, self._hash)
        self._server_key = hmac.digest(salted, b"Server Key", self._hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def is_server(self, final: bytes) -> bool:
        return final == b"v=" + base64.b64encode(hmac.digest(self._server_key, self._signed, self._hash))
