"""Listeners over TLS: who may connect, what is said of those who may not, certificates that change, peers that stall."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, pkcs12

from headrace.broker.security.certificates import new_authority, sign
from tests.integration.broker.bad_peers import is_closed, resident_bytes
from tests.integration.broker.requests import batch, create_topic, fetch_body, metadata, produce
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import log_in, port_of, put_user
from tests.integration.security.tls_files import LONG_AGO, NOW, Pki, over_tls
from tests.processes import Part, free_port


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Part]:
    with over_tls(tmp_path_factory.mktemp("tls"), pki, {"ssl.client.auth": "required"}) as running:
        yield running


def connect(part: Part, context: ssl.SSLContext, listener: str = "SSL") -> WireClient:
    return WireClient(port_of(part, listener), context)


def serves(part: Part, context: ssl.SSLContext, listener: str = "SSL") -> bool:
    with connect(part, context, listener) as client:
        return bool(metadata(client).brokers)


def said_after(part: Part, position: int, text: str, timeout_s: float = 15) -> bool:
    """Whether the log says so within the time, after `position`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if text in part.log_file.read_text()[position:]:
            return True
        time.sleep(0.02)
    return False


def said(part: Part) -> int:
    return len(part.log_file.read_text())


def test_a_client_with_a_certificate_is_served(part: Part, pki: Pki) -> None:
    assert serves(part, pki.context(pki.client("alice")))


def test_sasl_ssl_asks_for_no_certificate_though_all_listeners_do(part: Part, pki: Pki) -> None:
    put_user(part, "alice", "wonderland")
    with connect(part, pki.context(), "SASL_SSL") as client:
        assert log_in(client, "PLAIN", "alice", "wonderland").error_code == 0


@pytest.mark.parametrize("who", ["nobody", "expired", "stranger", "self-signed"])
def test_a_client_without_a_good_certificate_is_closed_with_one_line(part: Part, pki: Pki, who: str) -> None:
    certificate = {
        "nobody": lambda: None,
        "expired": lambda: pki.client("expired", now=LONG_AGO),
        "stranger": lambda: pki.client("stranger", authority=new_authority("test authority", now=NOW)),
        "self-signed": lambda: pki.write("self.pem", new_authority("self", now=NOW).pem),
    }[who]()
    before = said(part)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        serves(part, pki.context(certificate))
    assert said_after(part, before, "no TLS handshake")
    assert part.log_file.read_text()[before:].count("connection closed") == 1


def test_a_certificate_in_a_chain_without_the_right_to_sign_is_refused(part: Part, pki: Pki) -> None:
    alice = sign(pki.authority, "alice", now=NOW)
    forged = sign(alice, "admin", now=NOW)
    file = pki.write("forged.pem", forged.pem + alice.certificate_pem)
    before = said(part)
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        serves(part, pki.context(file))
    assert said_after(part, before, "no TLS handshake")


def test_a_plaintext_client_on_a_tls_port_is_told_of_in_one_line(part: Part) -> None:
    before = said(part)
    with WireClient(port_of(part, "SSL")) as client, pytest.raises((ConnectionError, AssertionError)):
        metadata(client)
    assert said_after(part, before, "the client does not speak TLS")
    assert part.log_file.read_text()[before:].count("connection closed") == 1


def test_a_tls_client_on_a_plaintext_port_is_told_of_in_one_line(part: Part, pki: Pki) -> None:
    before = said(part)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serves(part, pki.context(), "PLAINTEXT")
    assert said_after(part, before, "TLS")
    assert part.log_file.read_text()[before:].count("connection closed") == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_served_and_none_older(part: Part, pki: Pki, version: ssl.TLSVersion) -> None:
    context = pki.context(pki.client("alice"))
    context.minimum_version = context.maximum_version = version
    assert serves(part, context)


def test_versions_ciphers_and_mapping_are_as_configured(tmp_path: Path, pki: Pki) -> None:
    config = {
        "ssl.enabled.protocols": "TLSv1.2",
        "ssl.cipher.suites": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ssl.client.auth": "requested",
        "ssl.principal.mapping.rules": "RULE:^CN=(a.*)$/$1/",
    }
    with over_tls(tmp_path, pki, config) as part:
        new = pki.context(pki.client("alice"))
        plain = socket.create_connection(("127.0.0.1", port_of(part, "SSL")))
        with new.wrap_socket(plain, server_hostname="localhost") as sock:
            assert sock.version() == "TLSv1.2"
            assert (sock.cipher() or ("none",))[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
        assert serves(part, new)
        assert serves(part, pki.context())  # requested, not required
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            serves(part, pki.context(pki.client("bob")))
        assert "no rule of ssl.principal.mapping.rules fits CN=bob" in part.log()


def test_new_certificates_are_used_at_once_and_connections_live_on(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    with over_tls(tmp_path, pki) as part:
        old = pki.context()
        with connect(part, old) as living:
            assert metadata(living).brokers
            before = said(part)
            pki.authority = new_authority("the next authority", now=NOW)
            pki.write("server.pem", pki.server().pem)
            assert said_after(part, before, "certificates read again")
            with pytest.raises(ssl.SSLError):
                serves(part, old)
            pki.write("ca.pem", pki.authority.certificate_pem)
            assert serves(part, pki.context())
            assert metadata(living).brokers


def test_new_certificates_that_cannot_be_used_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    with over_tls(tmp_path, pki) as part:
        before = said(part)
        pki.write("server.pem", b"-----BEGIN NOTHING-----\n")
        assert said_after(part, before, "NEW CERTIFICATES CANNOT BE USED")
        assert serves(part, pki.context())
        time.sleep(1.2)  # another look at the files
        assert part.log_file.read_text().count("CANNOT BE USED") == 2  # each of the two listeners, once


def test_a_thousand_handshakes_that_stall_keep_nobody_out_and_are_closed(part: Part, pki: Pki) -> None:
    context = pki.context(pki.client("alice"))
    with contextlib.ExitStack() as stack:
        stalled = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(part, "SSL")), timeout=20)) for _ in range(1200)
        ]
        stalled[-1].sendall(b"\x16\x03\x01")
        for _ in range(20):
            begun = time.monotonic()
            assert serves(part, context)
            assert time.monotonic() - begun < 8  # those that stall are given up after ten
        assert is_closed(stalled[0])  # given up for newer ones
        assert is_closed(stalled[-1], timeout_s=20)  # after ten seconds


def test_a_handshake_that_stalls_counts_with_the_connections_of_its_address(tmp_path: Path, pki: Pki) -> None:
    keys = {"max.connections.per.ip": 3}
    listeners = f"SSL://127.0.0.1:{free_port()}"
    config = {
        "listeners": listeners,
        "log.dirs": str(tmp_path / "broker"),
        "ssl.keystore.location": str(pki.server_file),
        **keys,
    }
    with Part("broker", tmp_path, config) as part:
        port = part.ports["kafka"]
        stalled = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as fourth:
            assert is_closed(fourth)
        assert "as many as max.connections.per.ip allows are open" in part.log_file.read_text()
        before = said(part)
        for connection in stalled:
            connection.close()
        assert said_after(part, before, "no TLS handshake")
        assert serves(part, pki.context())


def test_a_slow_reader_over_tls_holds_little_memory(part: Part, pki: Pki) -> None:
    context = pki.context(pki.client("alice"))
    with connect(part, context) as client:
        create_topic(client, "large")
        for _ in range(64):
            assert produce(client, "large", batch(b"x" * 900_000)).error_code == 0
    before = resident_bytes(part)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            slow = stack.enter_context(connect(part, context))
            slow.send(1, 11, fetch_body("large", 0, max_bytes=50_000_000, partition_max_bytes=50_000_000))
        time.sleep(1)
        assert resident_bytes(part) - before < 40_000_000
        assert serves(part, context)
        assert len(slow.receive().responses[0].partitions[0].records) > 40_000_000


@pytest.mark.parametrize("form", ["pkcs12", "encrypted", "inline"])
def test_keys_come_in_every_form(tmp_path: Path, form: str) -> None:
    pki = Pki(tmp_path / "pki")
    server = pki.server()
    if form == "pkcs12":
        data = pkcs12.serialize_key_and_certificates(b"k", server.key, server.certificate, None, BestAvailableEncryption(b"pw"))
        keys = {
            "ssl.keystore.location": str(pki.write("s.p12", data)),
            "ssl.keystore.type": "PKCS12",
            "ssl.keystore.password": "pw",
        }
    elif form == "encrypted":
        key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
        keys = {"ssl.keystore.location": str(pki.write("e.pem", key + server.certificate_pem)), "ssl.key.password": "pw"}
    else:
        key = server.pem.removesuffix(server.certificate_pem)
        keys = {"ssl.keystore.key": key.decode(), "ssl.keystore.certificate.chain": server.certificate_pem.decode()}
    with over_tls(tmp_path, pki, {"ssl.keystore.location": None, **keys}) as part:
        assert serves(part, pki.context())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"ssl.keystore.location": None}, "ssl.keystore.location is missing"),
        ({"ssl.keystore.location": "/nowhere.pem"}, "No such file"),
        ({"ssl.keystore.location": "/etc/hostname"}, "not a private key"),
        ({"ssl.keystore.type": "JKS"}, "keytool -importkeystore"),
        ({"ssl.client.auth": "required", "ssl.truststore.location": None}, "ssl.truststore.location is missing"),
        ({"ssl.enabled.protocols": "TLSv1"}, "there are TLSv1.2, TLSv1.3"),
        ({"ssl.cipher.suites": "ROT13"}, "ssl.cipher.suites"),
        ({"ssl.principal.mapping.rules": "RULE:x"}, "write rules as"),
        ({"listener.name.ssl.ssl.keystore.locatoin": "x"}, "unknown key"),
        ({"ssl.key.password": ["hunter2"]}, "ssl.key.password"),
    ],
)
def test_tls_that_cannot_be_is_exit_2_and_one_line_without_secrets(
    tmp_path: Path, pki: Pki, config: dict[str, object], said: str
) -> None:
    part = over_tls(tmp_path, pki, config).start(wait=False)
    assert part.wait(20) == 2
    assert said in part.log()
    assert "hunter2" not in part.log_tail()
    assert len(part.log_tail().strip().splitlines()) == 1
    assert not (tmp_path / "broker").exists()


def test_secrets_of_the_configuration_are_told_to_nobody(tmp_path: Path, pki: Pki) -> None:
    server = pki.server()
    key = server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    own = {"listener.name.ssl.ssl.key.password": "hunter2", "listener.name.sasl_ssl.ssl.key.password": "hunter2"}
    file = pki.write("h.pem", key + server.certificate_pem)
    with over_tls(tmp_path, pki, {"ssl.keystore.location": str(file), **own}) as part:
        with connect(part, pki.context()) as client:
            asked = {"resource_type": 4, "resource_name": "1", "configuration_keys": None}
            body = {"resources": [asked], "include_synonyms": True, "include_documentation": True}
            configs = {each.name: each for each in client.call(32, 4, body).results[0].configs}
        secret = configs["listener.name.ssl.ssl.key.password"]
        assert (secret.is_sensitive, secret.value) == (True, None)
        assert "hunter2" not in str(configs)
        assert "hunter2" not in part.log_file.read_text()
