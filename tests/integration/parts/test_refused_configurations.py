"""What a part cannot use in its configuration ends it before anything starts: status 2, and one line that names the key."""

from pathlib import Path
from typing import Any

import pytest

from tests.processes import Part, free_port

NOWHERE = "127.0.0.1:1"


def minimal(part: str, directory: Path) -> dict[str, Any]:
    kafka = {"bootstrap.servers": NOWHERE}
    return {
        "agent": {
            "agent": {"state_dir": str(directory / "agent")},
            "kafka": kafka,
            "registry": f"http://{NOWHERE}",
            "inputs": [{"tail": [str(directory / "*.log")], "topic": "app"}],
        },
        "broker": {"listeners": f"PLAINTEXT://127.0.0.1:{free_port()}", "log.dirs": str(directory / "broker")},
        "load": {"load": {"root": str(directory / "landed")}, "kafka": kafka},
        "registry": {"listen": f"127.0.0.1:{free_port()}", "kafka": kafka},
    }[part]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "override", "says"),
    [
        ("agent", "kafka.linger.mss=5", 'kafka: No such configuration property: "linger.mss"'),
        ("load", "kafka.fetch.wait.max.mss=5", 'kafka: No such configuration property: "fetch.wait.max.mss"'),
        ("registry", "kafka.linger.ms=soon", "kafka: Invalid value for configuration property"),
        ("agent", "agent.http=127.0.0.1:99999", "agent.http: a port is 0 to 65535"),
        ("broker", "http=127.0.0.1:99999", "http: a port is 0 to 65535"),
        ("load", "load.http=127.0.0.1", "load.http: must be written otherwise, not '127.0.0.1'; write it as host:port"),
        ("registry", "listen=9600", "listen: must be written otherwise, not 9600; write it as host:port"),
        (
            "load",
            "registry=127.0.0.1:8081",
            "registry: must be written otherwise, not '127.0.0.1:8081'; write it as http://host:port",
        ),
    ],
)
def test_what_a_part_cannot_use_ends_it_with_2_and_one_line(tmp_path: Path, part: str, override: str, says: str) -> None:
    started = Part(part, tmp_path, minimal(part, tmp_path), "--set", override).start(wait=False)
    assert started.wait() == 2
    (line,) = started.log_file.read_text().splitlines()
    assert line.startswith(f"headrace {part}: ")
    assert says in line
