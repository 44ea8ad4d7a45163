"""The agent before a real Apache Kafka over TLS, as a user with a password and rights: what is written is there, once by
identity, whatever happens to the broker, the password, the rights or the topic meanwhile."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and documented
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.apache_kafka import ApacheKafka, is_installed
from tests.envelopes import event_of
from tests.integration.agents.topic_log import count_in, records_in
from tests.integration.security.tls_files import Pki
from tests.processes import Part, free_port, registry
from tests.waiting import until

pytestmark = pytest.mark.slow


class Secured:
    """Apache Kafka, asked for passwords (SCRAM) over TLS, and a registry beside it. Who comes over PLAINTEXT may do all."""

    def __init__(self, directory: Path) -> None:
        pki = Pki(directory / "pki")
        self.authority, self.secure_port = pki.authority_file, free_port()
        plain, controller = free_port(), free_port()
        self.kafka = ApacheKafka(
            directory,
            listeners=(
                f"PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{self.secure_port},CONTROLLER://127.0.0.1:{controller}"
            ),
            listener_security_protocol_map="PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
            controller_quorum_voters=f"1@127.0.0.1:{controller}",
            inter_broker_listener_name="PLAINTEXT",
            sasl_enabled_mechanisms="SCRAM-SHA-512",
            ssl_keystore_type="PEM",
            ssl_keystore_location=str(pki.server_file),
            authorizer_class_name="org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            super_users="User:ANONYMOUS",
            auto_create_topics_enable="false",
            connections_max_reauth_ms="4000",
            **{
                "listener_name_secure_scram-sha-512_sasl_jaas_config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                )
            },
        )
        self.kafka.port = plain
        self.kafka.start()
        self.registry = registry(directory, self.kafka.bootstrap).start()
        self.admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap})

    def stop(self) -> None:
        self.registry.stop()
        self.kafka.stop()

    def user(self, name: str, password: str) -> None:
        change = UserScramCredentialUpsertion(name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), password.encode())
        for made in self.admin.alter_user_scram_credentials([change]).values():
            made.result()

    def allow(self, name: str, *topics: str) -> None:
        rights = [self._right(AclBinding, name, topic) for topic in topics]
        for made in self.admin.create_acls(rights).values():
            made.result()

    def forbid(self, name: str, topic: str) -> None:
        for deleted in self.admin.delete_acls([self._right(AclBindingFilter, name, topic)]).values():
            assert deleted.result()

    def _right(self, kind: Any, name: str, topic: str) -> Any:
        return kind(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, f"User:{name}", "*", AclOperation.WRITE,
            AclPermissionType.ALLOW,
        )  # fmt: skip

    def make(self, topic: str, **config: str) -> None:
        keys = {key.replace("_", "."): value for key, value in config.items()}
        self.admin.create_topics([NewTopic(topic, 1, config=keys)])[topic].result()

    @property
    def _settings(self) -> dict[str, str]:
        return {"bootstrap.servers": self.kafka.bootstrap}

    def count(self, topic: str) -> int:
        """How many records a topic holds."""
        return count_in(self._settings, topic)

    def log(self, topic: str) -> list[Message]:
        return records_in(self._settings, topic)

    def lines(self, topic: str) -> list[bytes]:
        """Every line once, by identity, in order of position; equal identities are checked to be equal in every byte."""
        values: dict[tuple[str, int, int], bytes] = {}
        lines: dict[tuple[str, int, int], bytes] = {}
        for message in self.log(topic):
            value = message.value() or b""
            event = event_of(value)
            identity = (event["stream_id"], event["position"], event["part"])
            assert values.setdefault(identity, value) == value
            lines[identity] = event["message"].encode(event["encoding"])
        return [line for _, line in sorted(lines.items())]


class Shipping:
    """One agent as a user of its own, on a log and a topic of its own."""

    def __init__(self, servers: Secured, directory: Path, topic: str, *, password: str = "right", **sections: Any) -> None:
        self.servers, self.topic, self.user = servers, topic, f"shipper-of-{topic}"
        self.file = directory / "a.log"
        self.file.touch()
        servers.user(self.user, "right")
        servers.allow(self.user, topic, "_audit")
        config = {
            "agent": {"state_dir": str(directory / "agent"), "grace_ms": 5000},
            "kafka": {
                "bootstrap.servers": f"127.0.0.1:{servers.secure_port}", "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(servers.authority), "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": self.user,
                "sasl.password": password, "topic.metadata.propagation.max.ms": 500,
            },
            "registry": f"http://127.0.0.1:{servers.registry.ports['http']}",
            "inputs": [{"tail": [str(self.file)], "topic": topic}],
            **sections,
        }  # fmt: skip
        self.agent = Part("agent", directory, config)

    def write(self, *lines: bytes) -> None:
        with self.file.open("ab") as out:
            out.write(b"".join(line + b"\n" for line in lines))

    def said(self, words: str) -> bool:
        return words in self.agent.log_file.read_text(errors="replace")

    def assert_alive(self) -> None:
        assert self.agent.process is not None
        assert self.agent.process.poll() is None, self.agent.log_tail()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Iterator[Secured]:
    if not is_installed():
        missing("kafka", "run make peers")
    started = Secured(tmp_path_factory.mktemp("secured"))
    started.make("_audit", cleanup_policy="compact")
    yield started
    started.stop()


Starting = Callable[..., Shipping]


@pytest.fixture
def starting(servers: Secured, tmp_path: Path) -> Iterator[Starting]:
    started: list[Shipping] = []

    def start(topic: str, **more: Any) -> Shipping:
        started.append(Shipping(servers, tmp_path, topic, **more))
        started[-1].agent.start()
        return started[-1]

    yield start
    for each in started:
        each.agent.kill()


def numbered(first: int, count: int) -> list[bytes]:
    return [b"line %d" % n for n in range(first, first + count)]


def test_fault_15_a_topic_that_nobody_makes_is_waited_for(servers: Secured, starting: Starting) -> None:
    shipping = starting("late")
    shipping.write(b"line 0")
    until(lambda: shipping.said("waiting for topic late"))
    servers.make("late")
    until(lambda: servers.count("late") > 0)
    assert servers.lines("late") == [b"line 0"]


def test_fault_15_rights_that_are_taken_away_are_waited_for_and_nothing_is_lost(servers: Secured, starting: Starting) -> None:
    servers.make("guarded")
    shipping = starting("guarded")
    shipping.write(*numbered(0, 100))
    until(lambda: servers.count("guarded") >= 100)
    servers.forbid(shipping.user, "guarded")
    shipping.write(*numbered(100, 100))
    until(lambda: shipping.said("Topic authorization failed"))
    shipping.assert_alive()
    assert servers.lines("guarded") == numbered(0, 100)
    servers.allow(shipping.user, "guarded")
    until(lambda: servers.count("guarded") >= 200)
    assert servers.lines("guarded") == numbered(0, 200)


def test_fault_15_a_wrong_password_is_told_and_tried_until_it_is_right(servers: Secured, starting: Starting) -> None:
    servers.make("locked")
    shipping = starting("locked", password="new")
    shipping.write(b"line 0")
    until(lambda: shipping.said("Authentication failed"))
    shipping.assert_alive()
    servers.user(shipping.user, "new")
    until(lambda: servers.count("locked") > 0)
    assert servers.lines("locked") == [b"line 0"]


def test_fault_15_a_login_that_expires_is_renewed_or_waited_for_and_nothing_is_lost(
    servers: Secured, starting: Starting
) -> None:
    """The broker asks anew for the password of each connection that is four seconds old."""
    servers.make("expiring")
    shipping = starting("expiring")
    shipping.write(*numbered(0, 100))
    until(lambda: servers.count("expiring") >= 100)
    servers.user(shipping.user, "another")
    until(lambda: shipping.said("Authentication failed"))
    shipping.write(*numbered(100, 100))
    shipping.assert_alive()
    servers.user(shipping.user, "right")
    until(lambda: servers.count("expiring") >= 200)
    assert servers.lines("expiring") == numbered(0, 200)
    assert shipping.agent.stop() == 0


def test_fault_15_a_record_too_large_for_the_topic_is_rejected_and_a_dead_letter(
    servers: Secured, starting: Starting, tmp_path: Path
) -> None:
    servers.make("narrow", max_message_bytes="20000")
    servers.make("letters")
    shipping = starting("narrow", dead_letter={"topic": "letters"})
    servers.allow(shipping.user, "letters")
    large = os.urandom(60_000).replace(b"\n", b"")
    shipping.write(*numbered(0, 50), large, *numbered(50, 50))
    until(lambda: servers.count("narrow") >= 100 and servers.count("letters") > 0)
    assert servers.lines("narrow") == numbered(0, 100)
    (row,) = (tmp_path / "agent" / "rejected" / "narrow.jsonl").read_text().splitlines()
    (letter,) = servers.log("letters")
    headers: Any = dict(letter.headers() or ())
    assert headers["reason"] == b"MSG_SIZE_TOO_LARGE"
    assert json.loads(row)["position"] == int(headers["position"]) == sum(len(line) + 1 for line in numbered(0, 50))


def test_a_broker_that_is_killed_in_the_middle_costs_nothing(servers: Secured, starting: Starting) -> None:
    servers.make("all")
    shipping = starting("all")
    shipping.write(*numbered(0, 20_000))
    until(lambda: servers.count("all") > 0)
    servers.kafka.kill()
    shipping.write(*numbered(20_000, 5_000))
    shipping.assert_alive()
    servers.kafka.start()
    until(lambda: servers.count("all") >= 25_000 and len(servers.lines("all")) == 25_000)
    assert servers.lines("all") == numbered(0, 25_000)
    assert shipping.agent.stop() == 0
