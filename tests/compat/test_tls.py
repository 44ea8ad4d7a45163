"""Unmodified clients over TLS: with a login, with a certificate, with neither, and while certificates change under them."""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import aiokafka
import confluent_kafka
import kafka
import pytest

from tests.compat.clients import refusal
from tests.integration.security.sasl_wire import port_of, put_user
from tests.integration.security.tls_files import LONG_AGO, Pki, over_tls
from tests.processes import Part

PEERS = Path(__file__).parents[2] / ".peers"
PASSWORD = "wonderland"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Part]:
    with over_tls(tmp_path_factory.mktemp("tls"), pki, {"ssl.client.auth": "required"}) as running:
        put_user(running, "alice", PASSWORD)
        yield running


def address(part: Part, listener: str = "SASL_SSL") -> str:
    return f"127.0.0.1:{port_of(part, listener)}"


def librdkafka(part: Part, pki: Pki, mechanism: str = "SCRAM-SHA-512", password: str = PASSWORD) -> dict[str, Any]:
    return {
        "bootstrap.servers": address(part),
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(pki.authority_file),
        "sasl.mechanism": mechanism,
        "sasl.username": "alice",
        "sasl.password": password,
    }


def with_certificate(part: Part, pki: Pki, file: Path) -> dict[str, Any]:
    return {
        "bootstrap.servers": address(part, "SSL"),
        "security.protocol": "SSL",
        "ssl.ca.location": str(pki.authority_file),
        "ssl.certificate.location": str(file),
        "ssl.key.location": str(file),
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_librdkafka_produces_with_a_login(part: Part, pki: Pki, mechanism: str) -> None:
    producer = confluent_kafka.Producer(librdkafka(part, pki, mechanism))
    producer.produce("rd", b"x" * 500_000)
    assert producer.flush(20) == 0


def test_librdkafka_is_served_with_a_certificate_and_not_without_a_good_one(part: Part, pki: Pki) -> None:
    assert not refusal(with_certificate(part, pki, pki.client("alice")))
    assert refusal(with_certificate(part, pki, pki.client("expired", now=LONG_AGO)))
    nothing = {"bootstrap.servers": address(part, "SSL"), "security.protocol": "SSL"}
    assert refusal({**nothing, "ssl.ca.location": str(pki.authority_file)})


def test_a_client_that_does_not_know_the_authority_refuses_the_broker(part: Part, pki: Pki, tmp_path: Path) -> None:
    other = Pki(tmp_path)
    settings = {**librdkafka(part, pki), "ssl.ca.location": str(other.authority_file)}
    assert confluent_kafka.KafkaError._SSL in refusal(settings)


def python_keys(part: Part, pki: Pki) -> dict[str, Any]:
    return {
        "bootstrap_servers": address(part),
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "alice",
        "sasl_plain_password": PASSWORD,
        "ssl_context": ssl.create_default_context(cafile=str(pki.authority_file)),
    }


def test_kafka_python_produces(part: Part, pki: Pki) -> None:
    producer = kafka.KafkaProducer(**python_keys(part, pki))
    producer.send("kp", b"x" * 500_000).get(20)
    producer.close()


def test_aiokafka_produces_and_consumes(part: Part, pki: Pki) -> None:
    async def run() -> bytes:
        producer = aiokafka.AIOKafkaProducer(**python_keys(part, pki))
        await producer.start()
        await producer.send_and_wait("ak", b"x" * 500_000)
        await producer.stop()
        consumer = aiokafka.AIOKafkaConsumer("ak", auto_offset_reset="earliest", **python_keys(part, pki))
        await consumer.start()
        try:
            return bytes((await asyncio.wait_for(consumer.getone(), 20)).value)
        finally:
            await consumer.stop()

    assert len(asyncio.run(run())) == 500_000


@pytest.mark.parametrize(
    ("mechanism", "password", "said"),
    [
        ("plain", PASSWORD, "x"),
        ("scram-sha-256", PASSWORD, "x"),
        ("scram-sha-512", PASSWORD, "x"),
        ("scram-sha-512", "wrong", "KafkaJSSASLAuthenticationError"),
    ],
)
def test_kafkajs_produces_and_consumes(
    part: Part, pki: Pki, missing: Callable[[str, str], NoReturn], mechanism: str, password: str, said: str
) -> None:
    if shutil.which("node") is None or not (PEERS / "node_modules" / "kafkajs").is_dir():
        missing("kafkajs", "run make peers")
    script = Path(__file__).with_name("tls.cjs")
    command = ["node", script, address(part), pki.authority_file, mechanism, "alice", password]
    environment = {**os.environ, "NODE_PATH": str(PEERS / "node_modules")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == said, done.stderr


def test_kcat_with_debians_old_librdkafka_logs_in_with_plain_and_is_refused_with_scram_as_by_kafka_4(
    part: Part, pki: Pki, missing: Callable[[str, str], NoReturn]
) -> None:
    if shutil.which("kcat") is None:
        missing("kcat", "run make peers")
    keys = librdkafka(part, pki, "PLAIN")
    options = [word for key, value in keys.items() if key != "bootstrap.servers" for word in ("-X", f"{key}={value}")]
    command = ["kcat", "-b", keys["bootstrap.servers"], *options]
    subprocess.run([*command, "-P", "-t", "kcat"], input="a\nb\n", text=True, timeout=60, check=True)
    read = subprocess.run([*command, "-q", "-C", "-t", "kcat", "-e"], capture_output=True, text=True, timeout=60, check=True)
    assert read.stdout == "a\nb\n"
    options[options.index("sasl.mechanism=PLAIN")] = "sasl.mechanism=SCRAM-SHA-512"
    command = ["kcat", "-b", keys["bootstrap.servers"], *options]
    assert subprocess.run([*command, "-L", "-m", "2"], capture_output=True, timeout=60).returncode != 0
    assert "as librdkafka before 2.6.1 does" in part.log_file.read_text()


def test_certificates_change_under_a_producer_that_notices_nothing(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    with over_tls(tmp_path, pki) as part:
        put_user(part, "alice", PASSWORD)
        failed: list[Any] = []
        producer = confluent_kafka.Producer({**librdkafka(part, pki), "linger.ms": 1})
        renewed = 0

        def read_again() -> bool:
            return renewed > 3 and part.log_file.read_text().count("certificates read again") >= 2

        for number in range(20_000):
            if read_again():
                break
            producer.produce("renewed", b"%d" % number, on_delivery=lambda error, _: error and failed.append(error))
            producer.poll(0.002)
            if number % 200 == 100:
                pki.write("server.pem", pki.server().pem)
                renewed += 1
        assert read_again()
        assert producer.flush(20) == 0
        assert failed == []
        assert not refusal(librdkafka(part, pki))
