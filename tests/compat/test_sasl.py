"""Unmodified clients that log in: each of its mechanisms, with the right password and with a wrong one."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiokafka
import confluent_kafka
import kafka
import kafka.errors
import pytest
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.compat.clients import refusal
from tests.compat.java_tools import until
from tests.integration.security.sasl_wire import port_of, put_user, secured
from tests.processes import Part

AUTHENTICATION = confluent_kafka.KafkaError._AUTHENTICATION
MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    with secured(tmp_path_factory.mktemp("sasl")) as running:
        put_user(running, "alice", "wonder land,=\u00e4")
        yield running


def bootstrap(part: Part) -> str:
    return f"127.0.0.1:{port_of(part, 'SASL_PLAINTEXT')}"


def librdkafka(part: Part, mechanism: str, password: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap(part),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": "alice",
        "sasl.password": password,
    }


def python_keys(part: Part, mechanism: str, password: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": bootstrap(part),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "alice",
        "sasl_plain_password": password,
    }


PASSWORD = "wonder land,=\u00e4"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_librdkafka_logs_in_produces_and_is_told_of_a_wrong_password(part: Part, mechanism: str) -> None:
    producer = confluent_kafka.Producer(librdkafka(part, mechanism, PASSWORD))
    producer.produce("rd", b"x")
    assert producer.flush(20) == 0
    assert AUTHENTICATION in refusal(librdkafka(part, mechanism, "wrong"))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_kafka_python_logs_in_produces_and_is_told_of_a_wrong_password(part: Part, mechanism: str) -> None:
    producer = kafka.KafkaProducer(**python_keys(part, mechanism, PASSWORD))
    producer.send("kp", b"x").get(20)
    producer.close()
    with pytest.raises(kafka.errors.KafkaError):
        kafka.KafkaProducer(**python_keys(part, mechanism, "wrong"), bootstrap_timeout_ms=1500, max_block_ms=1500).send(
            "kp", b"x"
        ).get(2)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_aiokafka_logs_in_produces_and_is_told_of_a_wrong_password(part: Part, mechanism: str) -> None:
    async def produce(password: str) -> None:
        producer = aiokafka.AIOKafkaProducer(**python_keys(part, mechanism, password))
        try:
            await producer.start()
            await producer.send_and_wait("ak", b"x")
        finally:
            await producer.stop()

    asyncio.run(produce(PASSWORD))
    with pytest.raises(aiokafka.errors.KafkaError):
        asyncio.run(produce("wrong"))


def test_librdkafka_administers_users_and_a_new_one_logs_in_at_once(part: Part) -> None:
    admin = AdminClient(librdkafka(part, "SCRAM-SHA-512", PASSWORD))
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 8192)
    for future in admin.alter_user_scram_credentials([UserScramCredentialUpsertion("dora", info, b"explorer")]).values():
        future.result(20)
    told = admin.describe_user_scram_credentials(["dora"])["dora"].result(20)
    assert [(each.mechanism, each.iterations) for each in told.scram_credential_infos] == [(ScramMechanism.SCRAM_SHA_256, 8192)]
    dora = {**librdkafka(part, "SCRAM-SHA-256", "explorer"), "sasl.username": "dora"}
    assert not refusal(dora)
    gone = [UserScramCredentialDeletion("dora", ScramMechanism.SCRAM_SHA_256)]
    for future in admin.alter_user_scram_credentials(gone).values():
        future.result(20)
    assert AUTHENTICATION in refusal(dora)


def test_librdkafka_renews_its_session_without_losing_the_connection(tmp_path: Any) -> None:
    with secured(tmp_path, {"connections.max.reauth.ms": 1000}) as part:
        put_user(part, "alice", PASSWORD)
        producer = confluent_kafka.Producer({**librdkafka(part, "SCRAM-SHA-256", PASSWORD), "linger.ms": 0})
        failed: list[Any] = []
        for number in range(60):
            producer.produce("renewed", b"%d" % number, on_delivery=lambda error, _: error and failed.append(error))
            producer.poll(0.05)
        assert producer.flush(20) == 0
        assert failed == []
        assert "the session has expired" not in part.log_tail()


class Provider:
    """An identity provider: its keys in a file, and its tokens."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "jwks.json"
        self.rotate("one")

    def rotate(self, kid: str) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": kid})
        self.file.write_text(json.dumps({"keys": [self.key.as_dict(private=False)]}))

    def token(self, lifetime_s: float = 300, audience: str = "kafka") -> tuple[str, float]:
        end = time.time() + lifetime_s
        claims = {"sub": "alice", "aud": audience, "exp": end}
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, claims, self.key, algorithms=["ES256"]), end


def oauth(part: Part, token: Callable[[], tuple[str, float]]) -> dict[str, Any]:
    """librdkafka takes tokens from a function; it is told that they last, so that it uses what the broker must refuse."""
    return {
        "bootstrap.servers": bootstrap(part),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "oauth_cb": lambda _: (token()[0], max(token()[1], time.time() + 60)),
    }


def test_librdkafka_logs_in_with_a_token_for_as_long_as_it_lasts(tmp_path: Path) -> None:
    provider = Provider(tmp_path)
    config = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.jwks.endpoint.url": f"file:{provider.file}",
        "sasl.oauthbearer.jwks.endpoint.refresh.ms": 500,
        "sasl.oauthbearer.expected.audience": "kafka",
        "sasl.oauthbearer.clock.skew.seconds": 0,
    }
    with secured(tmp_path, config) as part:
        assert not refusal(oauth(part, provider.token))
        assert AUTHENTICATION in refusal(oauth(part, lambda: provider.token(-1)))
        assert AUTHENTICATION in refusal(oauth(part, lambda: provider.token(audience="other")))
        told = [line for line in part.log_file.read_text().splitlines() if "login failed" in line]
        assert "it has expired" in told[0]
        old = provider.token()
        provider.rotate("two")
        until(lambda: not refusal(oauth(part, provider.token)), "the provider's new keys are not read")
        assert AUTHENTICATION in refusal(oauth(part, lambda: old))
        assert old[0] not in part.log_file.read_text()
