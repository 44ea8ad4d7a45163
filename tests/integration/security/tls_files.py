"""Certificates in files, and brokers that use them."""

import datetime
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.broker.security.certificates import Signed, new_authority, sign
from tests.processes import Part, free_port

NOW = datetime.datetime.now(datetime.UTC)
LONG_AGO = NOW - datetime.timedelta(days=1000)


class Pki:
    """An authority with a server's certificate, in a directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.authority = new_authority("test authority", now=NOW)
        self.authority_file = self.write("ca.pem", self.authority.certificate_pem)
        self.server_file = self.write("server.pem", self.server().pem)

    def server(self, now: datetime.datetime = NOW) -> Signed:
        return sign(self.authority, "broker", ["localhost", "127.0.0.1"], now=now)

    def client(self, name: str, *, authority: Signed | None = None, now: datetime.datetime = NOW) -> Path:
        """A client's key and certificate."""
        return self.write(f"{name}.pem", sign(authority or self.authority, name, now=now).pem)

    def write(self, name: str, data: bytes) -> Path:
        """Replace a file in one step, as tools that renew certificates do."""
        file = self.directory / name
        draft = file.with_suffix(".new")
        draft.write_bytes(data)
        return draft.rename(file)

    def context(self, client: Path | None = None) -> ssl.SSLContext:
        """What a client needs."""
        context = ssl.create_default_context(cafile=str(self.authority_file))
        if client is not None:
            context.load_cert_chain(client)
        return context


def over_tls(directory: Path, pki: Pki, config: Mapping[str, Any] | None = None) -> Part:
    """A broker that listens as PLAINTEXT, SSL and SASL_SSL."""
    names = ("PLAINTEXT", "SSL", "SASL_SSL")
    keys = {
        "listeners": ",".join(f"{name}://127.0.0.1:{free_port()}" for name in names),
        "log.dirs": str(directory / "broker"),
        "ssl.keystore.location": str(pki.server_file),
        "ssl.truststore.location": str(pki.authority_file),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "connection.failed.authentication.delay.ms": 1,
        **(config or {}),
    }
    return Part("broker", directory, keys)
