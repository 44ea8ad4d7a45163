"""An address that other machines reach is named loudly, whatever listens there; the broker's own is in its tests."""

from pathlib import Path

from tests.processes import Part, broker, free_port

LOUD = "LISTENING BEYOND THIS MACHINE WITHOUT TLS AND WITHOUT AUTHENTICATION"


def test_a_registry_or_an_http_port_that_others_reach_is_warned_of(tmp_path: Path) -> None:
    http, listen = f"0.0.0.0:{free_port()}", f"0.0.0.0:{free_port()}"
    with broker(tmp_path, http=http) as kafka:
        assert f"{LOUD}: anybody who reaches http {http} can" in kafka.log()
        config = {"listen": listen, "kafka": {"bootstrap.servers": f"127.0.0.1:{kafka.ports['kafka']}"}}
        with Part("registry", tmp_path, config) as schemas:
            assert f"{LOUD}: anybody who reaches {listen} can" in schemas.log()


def test_loopback_is_not_warned_of(tmp_path: Path) -> None:
    with broker(tmp_path, http=f"127.0.0.1:{free_port()}") as kafka:
        assert LOUD not in kafka.log_tail()
