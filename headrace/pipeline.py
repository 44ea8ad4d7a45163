"""The configurations of a whole pipeline on one machine, as `headrace up` and `headrace demo` write them."""

from collections.abc import Sequence
from typing import Any

from headrace.supervise import Layout

TOPIC = "logs"
# A file lands within 5 s of its last line; an unattended loader's default of 10 minutes makes better files.
ROTATE_AGE = "2s"


def broker_config(layout: Layout, *, port: int, http_port: int | None) -> dict[str, Any]:
    """One broker on loopback; its retention waits for what the loader has not landed."""
    config: dict[str, Any] = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "log.dirs": str(layout.broker),
        "log.retention.hold": "table",
    }
    if http_port is not None:
        config["http"] = f"127.0.0.1:{http_port}"
    return config


def registry_config(*, port: int, broker_port: int) -> dict[str, Any]:
    """One schema registry on loopback."""
    return {"listen": f"127.0.0.1:{port}", "kafka": {"bootstrap.servers": f"127.0.0.1:{broker_port}"}}


def agent_config(layout: Layout, globs: Sequence[str], *, broker_port: int, registry_port: int) -> dict[str, Any]:
    """An agent that ships everything that matches the globs to topic `logs`."""
    return {
        "agent": {"state_dir": str(layout.agent), "grace_ms": 5000},
        "kafka": {"bootstrap.servers": f"127.0.0.1:{broker_port}"},
        "registry": f"http://127.0.0.1:{registry_port}",
        "inputs": [{"tail": list(globs), "topic": TOPIC, "parse": "auto"}],
    }


def load_config(layout: Layout, *, broker_port: int, registry_port: int, age: str = ROTATE_AGE) -> dict[str, Any]:
    """A loader of every topic."""
    return {
        "load": {"root": str(layout.landed), "topics": [".*"], "rotate": {"age": age}},
        "kafka": {"bootstrap.servers": f"127.0.0.1:{broker_port}"},
        "registry": f"http://127.0.0.1:{registry_port}",
    }
