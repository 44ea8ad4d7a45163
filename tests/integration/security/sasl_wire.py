"""Logins said word by word on the wire, and users made over a listener that asks for none."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.broker.security.scram import SCRAM_MECHANISMS, salt_password
from tests.integration.groups.wire_client import WireClient
from tests.processes import Part, free_port
from tests.unit.security.scram_client import ScramClient

SASL_HANDSHAKE, SASL_AUTHENTICATE, DESCRIBE_USERS, ALTER_USERS = 17, 36, 50, 51


def secured(directory: Path, config: Mapping[str, Any] | None = None) -> Part:
    """A broker with a listener for administration (PLAINTEXT), and one that asks who a client is (SASL_PLAINTEXT)."""
    listeners = f"PLAINTEXT://127.0.0.1:{free_port()},SASL_PLAINTEXT://127.0.0.1:{free_port()}"
    return Part(
        "broker",
        directory,
        {
            "listeners": listeners,
            "log.dirs": str(directory / "broker"),
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "connection.failed.authentication.delay.ms": 1,
            **(config or {}),
        },
    )


def port_of(part: Part, listener: str) -> int:
    """The port of a listener that was configured with one."""
    import yaml

    for word in yaml.safe_load(part.config_file.read_text())["listeners"].split(","):
        name, _, address = word.partition("://")
        if name == listener:
            return int(address.rpartition(":")[2])
    raise LookupError(listener)


def put_user(part: Part, name: str, password: str, *mechanisms: str, iterations: int = 4096) -> None:
    """Make or change a user, over the listener that asks for nothing."""
    for mechanism in mechanisms or ("SCRAM-SHA-256", "SCRAM-SHA-512"):
        salt = secrets.token_bytes(16)
        scram = SCRAM_MECHANISMS[mechanism]
        change = {
            "name": name,
            "mechanism": scram.number,
            "iterations": iterations,
            "salt": salt,
            "salted_password": salt_password(scram, password.encode(), salt, iterations),
        }
        with WireClient(port_of(part, "PLAINTEXT")) as client:
            answer = client.call(ALTER_USERS, 0, {"deletions": [], "upsertions": [change]})
        assert answer.results[0].error_code == 0, answer


def handshake(client: WireClient, mechanism: str, version: int = 1) -> Any:
    return client.call(SASL_HANDSHAKE, version, {"mechanism": mechanism})


def send_token(client: WireClient, token: bytes, version: int = 2) -> Any:
    return client.call(SASL_AUTHENTICATE, version, {"auth_bytes": token})


def log_in(client: WireClient, mechanism: str, name: str, password: str, version: int = 2) -> Any:
    """The last answer of a login."""
    assert handshake(client, mechanism).error_code == 0
    if mechanism == "PLAIN":
        return send_token(client, f"\0{name}\0{password}".encode(), version)
    scram = ScramClient(SCRAM_MECHANISMS[mechanism], name, password.encode())
    challenge = send_token(client, scram.first(), version)
    if challenge.error_code:
        return challenge
    answer = send_token(client, scram.final(challenge.auth_bytes), version)
    assert answer.error_code or scram.is_server(answer.auth_bytes)
    return answer
