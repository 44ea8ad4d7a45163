"""What protects an HTTP port: TLS, from a PEM file that holds key and certificates; and a warning where it lacks protection."""

import logging
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.addresses import Address
from headrace.errors import UsageError

if TYPE_CHECKING:
    from pydantic import SecretStr

logger = logging.getLogger(__name__)


def server_context(
    keystore: Path | None, key_password: "SecretStr | None", truststore: Path | None = None
) -> ssl.SSLContext | None:
    """As `https_context`; None without a certificate."""
    return None if keystore is None else https_context(keystore, key_password, truststore)


def https_context(keystore: Path, key_password: "SecretStr | None", truststore: Path | None = None) -> ssl.SSLContext:
    """The context of a server; a handshake uses the certificates that the files hold then.

    With a `truststore` clients need a certificate of one of the authorities in it.

    Raises:
        UsageError: the file cannot be used; the message says why.
    """
    return _Certificate(keystore, key_password, truststore).current


class _Certificate:
    """The files, and the context made of them; made anew when one has changed, in the first handshake after that."""

    def __init__(self, keystore: Path, key_password: "SecretStr | None", truststore: Path | None) -> None:
        self._keystore, self._key_password, self._truststore = keystore, key_password, truststore
        self._stamp = self._stamped()
        self.current = _context(keystore, key_password, truststore)
        self.current.sni_callback = self._offer

    def _offer(self, connection: ssl.SSLObject, name: str, context: ssl.SSLContext) -> None:  # noqa: ARG002 - ssl's
        """Called in each handshake, whether or not the client names a host: where OpenSSL lets a context be changed."""
        stamp = self._stamped()
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_again()
        connection.context = self.current

    def _read_again(self) -> None:
        try:
            self.current = _context(self._keystore, self._key_password, self._truststore)
        except UsageError as error:
            logger.error("NEW CERTIFICATE CANNOT BE USED, the old one stays in force: %s", error)
        else:
            logger.info("certificate read again", extra={"file": str(self._keystore)})

    def _stamped(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in (self._keystore, self._truststore) if file is not None]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(keystore: Path, key_password: "SecretStr | None", truststore: Path | None) -> ssl.SSLContext:
    password = key_password.get_secret_value() if key_password is not None else ""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(keystore, password=lambda: password)  # never asks at a terminal
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        said = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        hint = "name a PEM file with a private key and its certificates, and the key's password if it has one"
        raise UsageError(f"ssl.keystore.location {keystore}: {said}; {hint}") from error
    if truststore is not None:
        _trust(context, truststore)
    return context


def _trust(context: ssl.SSLContext, truststore: Path) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(truststore)
    except OSError as error:
        said = getattr(error, "reason", None) or error.strerror or error
        raise UsageError(
            f"ssl.truststore.location {truststore}: {said}; name a PEM file with the certificates of authorities"
        ) from error


def warn_if_exposed(shown: str, address: Address, *, tls: bool, authenticates: bool, risk: str) -> None:
    """Say loudly that others than this machine can reach a port that lacks protection; `risk` is what they can do there."""
    missing = [name for name, is_there in (("TLS", tls), ("AUTHENTICATION", authenticates)) if not is_there]
    if address.is_loopback or not missing:
        return
    logger.warning(
        "LISTENING BEYOND THIS MACHINE WITHOUT %s: anybody who reaches %s can %s; use loopback or a firewall",
        " AND WITHOUT ".join(missing),
        shown,
        "read passwords on their way" if authenticates else risk,
    )
