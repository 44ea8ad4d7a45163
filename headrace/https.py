"""What protects an HTTP port: TLS, from a PEM file that holds key and certificates; and a warning where it lacks protection."""

import logging
import os
import ssl
from pathlib import Path

from pydantic import SecretStr

from headrace.config_values import Address
from headrace.errors import UsageError

logger = logging.getLogger(__name__)


def https_context(keystore: Path, key_password: SecretStr | None) -> ssl.SSLContext:
    """The context of a server; a handshake uses the certificate that the file holds then.

    Raises:
        UsageError: the file cannot be used; the message says why.
    """
    return _Certificate(keystore, key_password).current


class _Certificate:
    """A file, and the context made of it; made anew when the file has changed, in the first handshake after that."""

    def __init__(self, keystore: Path, key_password: SecretStr | None) -> None:
        self._keystore, self._key_password = keystore, key_password
        self._stamp = self._stamped()
        self.current = _context(keystore, key_password)
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
            self.current = _context(self._keystore, self._key_password)
        except UsageError as error:
            logger.error("NEW CERTIFICATE CANNOT BE USED, the old one stays in force: %s", error)
        else:
            logger.info("certificate read again", extra={"file": str(self._keystore)})

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._keystore)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _context(keystore: Path, key_password: SecretStr | None) -> ssl.SSLContext:
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
    return context


def warn_if_exposed(shown: str, address: Address, *, tls: bool, authenticates: bool, what: str) -> None:
    """Say loudly that others than this machine can reach a port that lacks protection."""
    missing = [name for name, is_there in (("TLS", tls), ("AUTHENTICATION", authenticates)) if not is_there]
    if address.is_loopback or not missing:
        return
    risk = f"read {what}" if not authenticates else "read passwords on their way"
    logger.warning(
        "LISTENING BEYOND THIS MACHINE WITHOUT %s: anybody who reaches %s can %s; use loopback or a firewall",
        " AND WITHOUT ".join(missing),
        shown,
        risk,
    )
