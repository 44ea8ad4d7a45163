"""The certificate of an HTTP port, as its file is now."""

import datetime
import socket
import ssl
import struct
import threading
import time
from pathlib import Path

import pytest

from headrace.addresses import Address
from headrace.broker.security.certificates import Signed, new_authority, sign
from headrace.health import Health
from headrace.http import serve_http
from headrace.https import https_context

NOW = datetime.datetime.now(datetime.UTC)


def shown(port: int, host: str | None) -> str:
    """The subject of the certificate that a client sees who names that host, or none."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname=host) as tls,
    ):
        return ssl.DER_cert_to_PEM_cert(tls.getpeercert(True) or b"")


@pytest.mark.parametrize("host", ["localhost", None])
def test_a_new_certificate_is_used_from_the_next_handshake_on_and_a_broken_one_is_not(tmp_path: Path, host: str | None) -> None:
    authority, file = new_authority("test", now=NOW), tmp_path / "server.pem"

    def put(certificate: Signed) -> str:
        file.write_bytes(certificate.pem)
        return certificate.certificate_pem.decode()

    first = put(sign(authority, "first", ["localhost"], now=NOW))
    port = serve_http(Address("127.0.0.1", 0), Health(lambda: 1.0), tls=https_context(file, None))
    assert shown(port, host) == first
    second = put(sign(authority, "the second", ["localhost"], now=NOW))
    assert shown(port, host) == second
    file.write_text("no certificate")
    assert shown(port, host) == second
    file.unlink()
    assert shown(port, host) == second
    third = put(sign(authority, "and the third", ["localhost"], now=NOW))
    assert shown(port, host) == third


def test_a_client_that_goes_away_leaves_no_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "server.pem"
    file.write_bytes(sign(new_authority("test", now=NOW), "server", ["localhost"], now=NOW).pem)
    health = Health(lambda: 1.0)
    gone = threading.Event()

    def slow() -> str:
        assert gone.wait(20)
        return "slow"

    health.not_ready(slow)
    port = serve_http(Address("127.0.0.1", 0), health, tls=https_context(file, None))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = threading.active_count()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock, context.wrap_socket(sock) as tls:
            tls.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # goes with a reset
    gone.set()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "Traceback" not in capfd.readouterr().err
