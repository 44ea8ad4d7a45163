"""What protects an HTTP port: TLS, from a PEM file that holds key and certificates; and a warning where it lacks protection."""

import logging
import ssl
from pathlib import Path

from pydantic import SecretStr

from headrace.config_values import Address
from headrace.errors import UsageError

logger = logging.getLogger(__name__)


def https_context(keystore: Path, key_password: SecretStr | None) -> ssl.SSLContext:
    """The context of a server.

    Raises:
        UsageError: the file cannot be used; the message says why.
    """
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
