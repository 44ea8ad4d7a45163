"""Proves a user's password by a login at the broker as that user, and asks the broker what the user may do.

So the broker's users and access rules protect other ports too; it works with any broker that has SASL and tells authorized
operations (KIP-430), Apache Kafka among them. Blocks; each call makes a connection of its own.
"""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from headrace.errors import ConfigError, PeerError
from headrace.http_access import Credentials, Rights
from headrace.librdkafka import reason

_TIMEOUT_S: Final = 10.0
_WITHOUT_PASSWORD = ("GSSAPI", "OAUTHBEARER")
_CONNECTION = (
    "bootstrap.servers",
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "client.id",
    "broker.address.family",
)
_silent = logging.getLogger(f"{__name__}.librdkafka")  # failed logins are counted and logged by who asked


class BrokerLogin:
    """Logins over the connection that a part itself has to the broker, with names and passwords of others."""

    def __init__(self, kafka: Mapping[str, Any], topic: str | None) -> None:
        """`kafka` is the part's own; `topic` is the one on which rights are asked for.

        Raises:
            ConfigError: that connection has no names and passwords.
        """
        protocol = str(kafka.get("security.protocol", "plaintext")).upper()
        mechanism = str(kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", ""))).upper()
        if not protocol.startswith("SASL_") or not mechanism or mechanism in _WITHOUT_PASSWORD:
            raise ConfigError(
                "authentication: broker needs a broker that asks for names and passwords: set kafka's security.protocol to"
                " SASL_SSL and its sasl.mechanism to SCRAM-SHA-512 (or SCRAM-SHA-256, PLAIN)"
            )
        self._keys = {key: value for key, value in kafka.items() if key in _CONNECTION or key.startswith("ssl.")}
        self._topic = topic
        _silent.addHandler(logging.NullHandler())
        _silent.propagate = False

    def rights(self, credentials: Credentials) -> Rights | None:
        """What the user may do; None if the password is wrong, or there is no such user.

        Raises:
            PeerError: the broker cannot be asked.
        """
        if not credentials.password:  # no user has none, and librdkafka would take it for a missing key
            return None
        errors: list[KafkaError] = []
        who = {"sasl.username": credentials.name, "sasl.password": credentials.password}
        keys: dict[str, Any] = {**self._keys, **who, "error_cb": errors.append, "logger": _silent, "log_level": 0}
        try:
            admin = AdminClient(keys)
            cluster = admin.describe_cluster(include_authorized_operations=True, request_timeout=_TIMEOUT_S)
            if not _answered(admin, cluster, errors):
                return None
            rights = Rights(self._on_topic(admin, errors), _names(cluster.result(_TIMEOUT_S)))
        except (KafkaException, TimeoutError) as error:
            raise PeerError(f"the broker cannot be asked who this is: {reason(error)}") from error
        return rights

    def _on_topic(self, admin: AdminClient, errors: list[KafkaError]) -> frozenset[str]:
        if self._topic is None:
            return frozenset()
        asked = admin.describe_topics(
            TopicCollection([self._topic]), include_authorized_operations=True, request_timeout=_TIMEOUT_S
        )[self._topic]
        _answered(admin, asked, errors)
        try:
            return _names(asked.result(_TIMEOUT_S))
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                return frozenset()
            raise


def _answered(admin: AdminClient, asked: "Future[Any]", errors: list[KafkaError]) -> bool:
    """Wait for an answer; False as soon as the login has failed."""
    deadline = time.monotonic() + _TIMEOUT_S
    while not asked.done() and time.monotonic() < deadline:
        admin.poll(0.02)
        if any(error.code() == KafkaError._AUTHENTICATION for error in errors):
            return False
    return True


def _names(described: Any) -> frozenset[str]:
    return frozenset(operation.name for operation in described.authorized_operations or ())
