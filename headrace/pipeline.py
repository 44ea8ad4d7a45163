"""The configurations of a whole pipeline on one machine, as `headrace up` and `headrace demo` write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.supervise import Layout

TOPIC = "logs"
# A file lands within 5 s of its last line; an unattended loader's default of 10 minutes makes better files.
ROTATE_AGE = "2s"


Keys = Mapping[str, Any]  # librdkafka's
_AUTHORITY = "ssl.ca.location"  # is among them where security is on


def broker_config(layout: Layout, *, port: int, http_port: int | None, secured: bool) -> dict[str, Any]:
    """One broker on loopback; its retention waits for what the loader has not landed."""
    protocol = "SASL_SSL" if secured else "PLAINTEXT"
    config: dict[str, Any] = {
        "listeners": f"{protocol}://127.0.0.1:{port}",
        "log.dirs": str(layout.broker),
        "log.retention.hold": "table",
    }
    if secured:
        config["security"] = True
    if http_port is not None:
        config["http"] = f"127.0.0.1:{http_port}"
    return config


def part_keys(broker: Mapping[str, Any], *, port: int) -> Mapping[str, Keys]:
    """How agent, registry and loader reach that broker; where it asks who they are, each as a user of its own.

    Raises:
        UsageError: another broker has the directory.
    """
    bootstrap = f"127.0.0.1:{port}"
    if not broker.get("security"):
        return {part: {"bootstrap.servers": bootstrap} for part in ("agent", "registry", "load")}
    from headrace.broker.users.parts import prepare_parts

    return prepare_parts(broker, bootstrap)


def registry_config(kafka: Keys, *, port: int) -> dict[str, Any]:
    """One schema registry on loopback; where the broker asks who its clients are, so does this."""
    config: dict[str, Any] = {"listen": f"127.0.0.1:{port}", "kafka": dict(kafka)}
    if _AUTHORITY in kafka:
        certificate = Path(kafka[_AUTHORITY]).with_name("server.pem")
        config |= {"authentication": "broker", "ssl.keystore.location": str(certificate)}
    return config


def _registry(kafka: Keys, port: int) -> str | dict[str, Any]:
    """How a part with these keys finds the registry."""
    if _AUTHORITY not in kafka:
        return f"http://127.0.0.1:{port}"
    return {
        "url": f"https://127.0.0.1:{port}",
        "basic.auth.user.info": f"{kafka['sasl.username']}:{kafka['sasl.password']}",
        "ssl.ca.location": kafka[_AUTHORITY],
    }


def agent_config(
    layout: Layout, globs: Sequence[str], kafka: Keys, *, registry_port: int, decompress: bool = True
) -> dict[str, Any]:
    """An agent that ships everything that matches the globs to topic `logs`."""
    return {
        "agent": {"state_dir": str(layout.agent), "grace_ms": 5000},
        "kafka": dict(kafka),
        "registry": _registry(kafka, registry_port),
        "inputs": [{"tail": list(globs), "topic": TOPIC, "parse": "auto", "decompress": decompress}],
    }


def load_config(layout: Layout, kafka: Keys, *, registry_port: int, age: str = ROTATE_AGE) -> dict[str, Any]:
    """A loader of every topic."""
    return {
        "load": {"root": str(layout.landed), "topics": [".*"], "rotate": {"age": age}},
        "kafka": dict(kafka),
        "registry": _registry(kafka, registry_port),
    }
