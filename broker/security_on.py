"""`security: on`: a broker that encrypts and knows its clients without anything to prepare. For trying it, and for one machine.

At the first start it makes, in `security/` of the first log directory: an authority (`ca.pem`, `ca.key`), a certificate that it
signs (`server.pem`), a user `admin` with a random password, and what a client needs to log in as that: `client.properties` for
Java's tools, `client.yaml` for librdkafka and `headrace users`. Secrets are in files that only their owner reads, and nowhere
else. Later starts use what is there; a certificate that soon ends, or lacks a name, is made anew.
"""

import asyncio
import datetime
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from headrace.broker.config import BrokerConfig
from headrace.broker.coordination.store import CoordinationStore
from headrace.broker.keys.network import parse_listeners
from headrace.broker.security.certificates import Signed, new_authority, sign
from headrace.broker.security.scram import is_password
from headrace.broker.security.users import Users, put_user
from headrace.clock import Clock
from headrace.errors import UsageError

logger = logging.getLogger(__name__)
ADMIN = "admin"
MECHANISM = "SCRAM-SHA-512"
_MECHANISMS = ("SCRAM-SHA-256", MECHANISM)
_ITERATIONS = 8192
_RENEWED_BEFORE = datetime.timedelta(days=30)
_NO_PAIR = "ca.key and ca.pem are not a pair that was made here; move both away, and new ones are made"
_LOOKED_AT_EVERY_S = 86_400.0
Sleep = Callable[[float], Awaitable[None]]


class SecurityFolder:
    """The files of one broker."""

    def __init__(self, log_directory: Path) -> None:
        self.folder = log_directory / "security"
        self.authority = self.folder / "ca.pem"
        self.server = self.folder / "server.pem"
        self.client = self.folder / "client.yaml"
        self._authority_key = self.folder / "ca.key"
        self._java = self.folder / "client.properties"

    def make_certificates(self, hosts: Sequence[str], now: datetime.datetime) -> None:
        """The authority and the server's certificate, where they are not there, or not good for much longer.

        Raises:
            UsageError: the folder cannot be written, or holds what is no key.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            authority = self._read_authority()
            if authority is None or authority.certificate.not_valid_after_utc <= now:
                authority = new_authority("headrace", now=now)
                key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                write_secret(self._authority_key, key)
                write_secret(self.authority, authority.certificate_pem)
            if not self._is_good(authority, hosts, now):
                write_secret(self.server, sign(authority, "headrace broker", hosts, now=now).pem)
                logger.info("certificate made", extra={"file": str(self.server), "hosts": list(hosts)})
        except (OSError, ValueError) as error:
            raise UsageError(f"security: {self.folder}: {error}") from error

    def admin_password(self) -> str | None:
        """As the client's file has it; None if it is not there."""
        try:
            password = yaml.safe_load(self.client.read_text())["sasl.password"]
        except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError):
            return None
        return password if isinstance(password, str) and password else None

    def write_clients(self, bootstrap: str, password: str) -> None:
        """What a client needs to log in as the administrator."""
        write_secret(self.client, yaml.safe_dump(self.client_keys(bootstrap, ADMIN, password)).encode())
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        lines = {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.jaas.config": f'{module} required username="{ADMIN}" password="{password}";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority),
        }
        write_secret(self._java, "".join(f"{key}={value}\n" for key, value in lines.items()).encode())

    def client_keys(self, bootstrap: str, user: str, password: str) -> dict[str, Any]:
        """librdkafka's keys of a client that logs in as `user`."""
        return {
            "bootstrap.servers": bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": str(self.authority),
        }

    def _read_authority(self) -> Signed | None:
        if not (self.authority.exists() and self._authority_key.exists()):
            return None
        try:
            key = load_pem_private_key(self._authority_key.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.authority.read_bytes())
        except (ValueError, TypeError) as error:
            raise ValueError(_NO_PAIR) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise ValueError(_NO_PAIR)
        return Signed(key, certificate)

    def _is_good(self, authority: Signed, hosts: Sequence[str], now: datetime.datetime) -> bool:
        if not self.server.exists():
            return False
        try:
            certificate = x509.load_pem_x509_certificate(self.server.read_bytes())
            certificate.verify_directly_issued_by(authority.certificate)
        except (ValueError, TypeError, InvalidSignature):  # whatever it is, it is ours to make
            return False
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))}
        return set(hosts) <= known and certificate.not_valid_after_utc - now > _RENEWED_BEFORE


async def keep_certificates(config: BrokerConfig, log_directory: Path, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
    """Make the server's certificate anew, a month before it ends, in a broker that is not started again for so long."""
    files, hosts = SecurityFolder(log_directory), _hosts(config)
    while True:
        await sleep(_LOOKED_AT_EVERY_S)
        now = datetime.datetime.fromtimestamp(clock.wall_ms() / 1000, datetime.UTC)
        try:
            await asyncio.to_thread(files.make_certificates, hosts, now)
        except UsageError as error:
            logger.error("the certificate cannot be made anew: %s", error)


def prepare(config: BrokerConfig, log_directory: Path, store: CoordinationStore, bootstrap: str) -> BrokerConfig:
    """Make what is missing; the configuration with its certificate.

    Args:
        log_directory: the first one, held by us.
        bootstrap: the address that the clients' files name.
    Raises:
        UsageError, StorageError: it cannot be made.
    """
    files = SecurityFolder(log_directory)
    files.make_certificates(_hosts(config), datetime.datetime.now(datetime.UTC))
    users, password = Users(store), files.admin_password()
    if password is None and users.credentials(ADMIN):
        hint = "headrace users alter admin --broker-config FILE, while the broker is stopped"
        logger.warning("there is a user admin, but no %s with its password; give it another with: %s", files.client, hint)
    else:
        password = password or secrets.token_urlsafe(24)
        files.write_clients(bootstrap, password)  # before the user: a crash in between is mended by the next start
        if not users.credentials(ADMIN):
            put_user(users, ADMIN, password.encode(), _MECHANISMS, _ITERATIONS)
        elif not is_password(*users.claimed_by_password(ADMIN), password.encode()):
            logger.warning("the password in %s is not the one that user admin has now", files.client)
        logger.info("security is on: what clients need is in %s", files.folder)
    keys = ["ssl_keystore_location"] if config.http is None else ["ssl_keystore_location", "http_ssl_keystore_location"]
    return config.model_copy(update={key: getattr(config, key) or files.server for key in keys})


def give_users(store: CoordinationStore, passwords: Mapping[str, str]) -> None:
    """Give users these passwords, new or not."""
    users = Users(store)
    for name, password in passwords.items():
        put_user(users, name, password.encode(), _MECHANISMS, _ITERATIONS)


def write_secret(file: Path, data: bytes) -> None:
    """Replace a file by one that only its owner reads; it is never there in part, or open to others."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.rename(file)


def _hosts(config: BrokerConfig) -> list[str]:
    told = parse_listeners(config.advertised_listeners) if config.advertised_listeners else []
    own = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    return list(dict.fromkeys([*own, *(listener.host for listener in told)]))
