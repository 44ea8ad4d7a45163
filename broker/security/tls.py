"""TLS contexts from a listener's `ssl.*` keys, made anew when their files change.

New handshakes use the new files; connections that live go on with what they have. Files that cannot be used leave the old ones
in force, and the log says so, loudly, once a change. The keys have Kafka's names (KIP-651 for PEM).
"""

import contextlib
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import SecretStr

from headrace.broker.keys.security import ListenerKeys
from headrace.errors import UsageError

logger = logging.getLogger(__name__)
_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"none": ssl.CERT_NONE, "requested": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_Stamp = tuple[tuple[int, int, int] | None, ...]  # of each file: time, size, inode


class TlsContext:
    """A listener's context, as its files are now."""

    def __init__(self, listener: str, keys: ListenerKeys) -> None:
        """
        Raises:
            UsageError: the keys or their files cannot be used; the message says which and why.
        """
        self._listener, self._keys = listener, keys
        self._files = [file for file in (keys.ssl_keystore_location, keys.ssl_truststore_location) if file is not None]
        self._stamp = _stamp(self._files)
        self.current = server_context(keys)

    def refresh(self) -> bool:
        """Read the files again if they have changed; whether new ones are in force."""
        stamp = _stamp(self._files)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        said = {"listener": self._listener, "files": [str(file) for file in self._files]}
        try:
            self.current = server_context(self._keys)
        except UsageError as error:
            logger.error("NEW CERTIFICATES CANNOT BE USED, the old ones stay in force: %s", error, extra=said)
            return False
        logger.info("certificates read again", extra=said)
        return True


def server_context(keys: ListenerKeys) -> ssl.SSLContext:
    """The context of a listener.

    Raises:
        UsageError: the keys or their files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = [_VERSIONS[name] for name in keys.ssl_enabled_protocols]
    context.minimum_version, context.maximum_version = min(versions), max(versions)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if keys.ssl_cipher_suites:
        _set_ciphers(context, keys.ssl_cipher_suites)
    _load_key(context, keys)
    if keys.ssl_client_auth != "none":
        _load_trust(context, keys)
    context.verify_mode = _CLIENT_AUTH[keys.ssl_client_auth]
    return context


def _set_ciphers(context: ssl.SSLContext, names: Sequence[str]) -> None:
    try:
        context.set_ciphers(":".join(map(_openssl_name, names)))
    except ssl.SSLError as error:
        raise UsageError(f"ssl.cipher.suites: none of {', '.join(names)} can be used for TLSv1.2") from error


def _openssl_name(name: str) -> str:
    """`TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`, IANA's and Java's name, is OpenSSL's `ECDHE-RSA-AES128-GCM-SHA256`."""
    if "_WITH_" not in name:
        return name
    return (
        name.removeprefix("TLS_")
        .replace("_WITH_", "-")
        .replace("AES_", "AES")
        .replace("POLY1305_SHA256", "POLY1305")
        .replace("_", "-")
    )


def _load_key(context: ssl.SSLContext, keys: ListenerKeys) -> None:
    location, password = keys.ssl_keystore_location, _plain(keys.ssl_key_password)
    if location is not None:
        if keys.ssl_keystore_type == "PKCS12":
            with _written(_pem_of_pkcs12(location, _plain(keys.ssl_keystore_password) or password)) as file:
                _load_chain(context, file, None, f"ssl.keystore.location {location}")
            return
        _load_chain(context, location, password, f"ssl.keystore.location {location}")
    elif keys.ssl_keystore_key is not None and keys.ssl_keystore_certificate_chain is not None:
        pem = f"{keys.ssl_keystore_key.get_secret_value()}\n{keys.ssl_keystore_certificate_chain}\n"
        with _written(pem.encode()) as file:
            _load_chain(context, file, password, "ssl.keystore.key and ssl.keystore.certificate.chain")
    else:
        raise UsageError("ssl.keystore.location is missing: TLS needs a file with private key and certificate chain")


def _load_chain(context: ssl.SSLContext, file: Path, password: str | None, what: str) -> None:
    try:
        # A password that is asked for and not there must be an error, never a question on the terminal.
        context.load_cert_chain(file, password=lambda: password or "")
    except ssl.SSLError as error:
        hint = " (is ssl.key.password right?)" if "ENCRYPTED" in _text(file) else ""
        raise UsageError(
            f"{what}: not a private key and its certificate chain in PEM: {error.reason or error}{hint}"
        ) from error
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror or error}") from error


def _load_trust(context: ssl.SSLContext, keys: ListenerKeys) -> None:
    location = keys.ssl_truststore_location
    if location is None and keys.ssl_truststore_certificates is None:
        raise UsageError("ssl.truststore.location is missing: it has the authorities of ssl.client.auth")
    try:
        context.load_verify_locations(cafile=location, cadata=keys.ssl_truststore_certificates if location is None else None)
    except ssl.SSLError as error:
        raise UsageError(f"ssl.truststore.location {location}: not certificates in PEM: {error.reason or error}") from error
    except OSError as error:
        raise UsageError(f"ssl.truststore.location {location}: {error.strerror or error}") from error


def _pem_of_pkcs12(location: Path, password: str | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12

    try:
        stored = pkcs12.load_pkcs12(location.read_bytes(), password.encode() if password else None)
    except OSError as error:
        raise UsageError(f"ssl.keystore.location {location}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"ssl.keystore.location {location}: not PKCS12, or another ssl.keystore.password") from error
    if stored.key is None or stored.cert is None:
        raise UsageError(f"ssl.keystore.location {location}: holds no private key with a certificate")
    key = stored.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = [stored.cert.certificate, *(each.certificate for each in stored.additional_certs)]
    return key + b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


@contextlib.contextmanager
def _written(pem: bytes) -> Iterator[Path]:
    """A file that only we can read, for as long as OpenSSL needs one."""
    with tempfile.NamedTemporaryFile(prefix="headrace-", suffix=".pem") as file:
        file.write(pem)
        file.flush()
        yield Path(file.name)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="latin-1")
    except OSError:
        return ""


def _stamp(files: Sequence[Path]) -> _Stamp:
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            stamps.append(None)
    return tuple(stamps)
