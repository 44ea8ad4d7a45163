"""A hole of offsets is what the batches in it are, also where the loader reads through TLS, a login, or both."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from headrace.clock import SystemClock
from headrace.sinks.fetching.holes import look
from headrace.sinks.fetching.security import Scram, UnsecuredError, security_of
from headrace.sinks.metrics import WRONG_CRCS
from headrace.sinks.reading import Reading
from tests.integration.security.sasl_wire import port_of, put_user
from tests.integration.security.tls_files import Pki, over_tls
from tests.integration.sinks.test_fetching import TIMEOUT_S, HandClock, create, write_plainly
from tests.processes import Part, free_port

PASSWORD = "wonder land,=\u00e4"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Part]:
    names = ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT")
    listeners = {"listeners": ",".join(f"{name}://127.0.0.1:{free_port()}" for name in names)}
    with over_tls(tmp_path_factory.mktemp("broker"), pki, {**listeners, "ssl.client.auth": "required"}) as running:
        put_user(running, "alice", PASSWORD)
        plain = f"127.0.0.1:{port_of(running, 'PLAINTEXT')}"
        create(plain, "logs", 2)
        write_plainly(plain, "logs", count=100)
        yield running


def settings(part: Part, pki: Pki, protocol: str, mechanism: str = "", password: str = PASSWORD) -> dict[str, Any]:
    keys = {"bootstrap.servers": f"127.0.0.1:{port_of(part, protocol)}", "security.protocol": protocol}
    if protocol.endswith("SSL"):
        keys["ssl.ca.location"] = str(pki.authority_file)
    if protocol == "SSL":
        keys["ssl.certificate.location"] = keys["ssl.key.location"] = str(pki.client("alice"))
    if mechanism:
        keys |= {"sasl.mechanism": mechanism, "sasl.username": "alice", "sasl.password": password}
    return keys


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [
        ("SSL", ""),
        ("SASL_SSL", "SCRAM-SHA-512"),
        ("SASL_PLAINTEXT", "SCRAM-SHA-256"),
        ("SASL_PLAINTEXT", "PLAIN"),
    ],
)
def test_what_no_batch_explains_is_no_control_batch(part: Part, pki: Pki, protocol: str, mechanism: str) -> None:
    """The offsets that are asked about hold records, so that a reader which was given none of them has lost them."""
    reading = Reading(settings(part, pki, protocol, mechanism), SystemClock())
    try:
        assert reading.cause(("logs", 1), 30, 49) == (49, None)
    finally:
        reading.close()


@pytest.mark.parametrize(("protocol", "mechanism"), [("SASL_SSL", "SCRAM-SHA-512"), ("SSL", "")])
def test_a_batch_that_is_damaged_in_the_brokers_log_is_waited_for_also_through_tls_and_a_login(
    part: Part, pki: Pki, protocol: str, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"damaged-{protocol}"
    create(plain := f"127.0.0.1:{port_of(part, 'PLAINTEXT')}", topic, 1)
    producer = Producer({"bootstrap.servers": plain})
    for batch in ("first", "second", "third"):
        for number in range(5):
            producer.produce(topic, f"{batch}-{number}", partition=0)
        assert producer.flush(TIMEOUT_S) == 0
    (segment,) = (part.directory / "broker" / f"{topic}-0").glob("*.log")
    at = segment.read_bytes().index(b"second-3")
    flip(segment, at)
    clock = HandClock()
    reading = Reading(settings(part, pki, protocol, mechanism), clock)
    before = WRONG_CRCS.labels(topic)._value.get()
    offsets: list[int] = []
    is_damaged = True
    deadline = time.monotonic() + TIMEOUT_S
    try:
        reading.begin({(topic, 0): 0})
        while len(offsets) < 15:
            assert time.monotonic() < deadline, offsets
            read = reading.batch()
            assert not read.errors, "each second, where once a minute is enough"
            offsets += [one.offset() for _, records in read.records for one in records]
            clock.now_ms += 250
            if is_damaged and WRONG_CRCS.labels(topic)._value.get() - before >= 4:
                assert offsets == list(range(5))
                flip(segment, at)
                is_damaged = False
    finally:
        reading.close()
    assert offsets == list(range(15))
    told = [one for one in caplog.records if "the CRC of a batch is wrong" in one.message]
    assert {(one.topic, one.partition, one.offset) for one in told} == {(topic, 0, 5)}  # type: ignore[attr-defined]


def flip(file: Path, at: int) -> None:
    """A bit, in place."""
    with file.open("r+b") as log:
        log.seek(at)
        (byte,) = log.read(1)
        log.seek(at)
        log.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_with_a_wrong_password_nothing_is_looked_at(part: Part, pki: Pki, mechanism: str) -> None:
    keys = settings(part, pki, "SASL_PLAINTEXT", mechanism, "wrong")
    security = security_of(keys)
    assert security is not None
    assert "wrong" not in repr(security)
    with pytest.raises(UnsecuredError, match="the login is refused"):
        look(("127.0.0.1", port_of(part, "SASL_PLAINTEXT")), ("logs", 0), 0, 9, "test", security)


def test_a_broker_of_another_authority_is_not_spoken_to(part: Part, pki: Pki, tmp_path: Path) -> None:
    keys = settings(part, pki, "SSL") | {"ssl.ca.location": str(Pki(tmp_path).authority_file)}
    security = security_of(keys)
    assert security is not None
    with pytest.raises(UnsecuredError, match="certificate verify failed"):
        look(("127.0.0.1", port_of(part, "SSL")), ("logs", 0), 0, 9, "test", security)


@pytest.mark.parametrize(
    "more",
    [
        {"security.protocol": "SASL_SSL"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"},
        {"security.protocol": "SSL", "ssl.keystore.location": "client.p12"},
    ],
)
def test_what_is_secured_in_another_way_is_left_to_the_client(more: dict[str, str]) -> None:
    assert security_of({"bootstrap.servers": "127.0.0.1:9092", **more}) is None


def test_a_login_by_scram_is_that_of_rfc_7677() -> None:
    scram = Scram("sha256", "user", "pencil", "rOprNGfwEbeRWgbNEkqO")
    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    answer = scram.answer(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
    assert answer.endswith(b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    scram.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    with pytest.raises(ValueError, match="does not know the password"):
        scram.check(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("challenge", [b"", b"r=other,s=W22Z,i=4096", b"r=nonce1,s=W22Z,i=99999999", b"r=nonce1,i=5", b"\xff"])
def test_a_challenge_that_is_none_is_refused(challenge: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        Scram("sha256", "user", "pencil", "nonce").answer(challenge)
