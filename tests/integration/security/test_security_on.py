"""`security: on`: nothing prepared, and yet a client needs the files that it made."""

import asyncio
import datetime
import http.client
import itertools
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from headrace.broker.config import BrokerConfig
from headrace.broker.security_on import SecurityFolder, keep_certificates
from headrace.clock import MonotonicMs, WallMs
from headrace.errors import UsageError
from tests.compat.java_tools import JAVA, LIBS
from tests.integration.security.test_http_ports import get
from tests.integration.security.test_users_command import users
from tests.processes import Part, free_port


class HandClock:
    now_ms = 1_790_000_000_000

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


def secured(directory: Path, **keys: object) -> Part:
    listeners = f"SASL_SSL://127.0.0.1:{free_port()}"
    return Part("broker", directory, {"security": True, "listeners": listeners, "log.dirs": str(directory / "broker"), **keys})


def test_the_files_that_it_made_are_enough_and_needed(tmp_path: Path) -> None:
    part = secured(tmp_path)
    folder = tmp_path / "broker" / "security"
    with part:
        client = yaml.safe_load((folder / "client.yaml").read_text())
        assert client["bootstrap.servers"] == f"127.0.0.1:{part.ports['kafka']}"
        assert AdminClient(client).list_topics(timeout=20).brokers
        assert users("create", "alice", "--config", folder / "client.yaml", password="wonderland").returncode == 0
        alice = {**client, "sasl.username": "alice", "sasl.password": "wonderland"}
        told = AdminClient(alice).list_topics("secret", timeout=20).topics["secret"].error  # logged in, and without any right
        assert told.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        (tmp_path / "alice.yaml").write_text(yaml.safe_dump(alice))
        for arguments in (("list",), ("create", "eve"), ("delete", "admin")):
            refused = users(*arguments, "--config", tmp_path / "alice.yaml", password="x")
            assert (refused.returncode, "you may not DESCRIBE the cluster" in refused.stderr) == (1, True)
        for missing in ("ssl.ca.location", "sasl.password", "security.protocol"):
            keys = {key: value for key, value in client.items() if key != missing}
            with pytest.raises(KafkaException):
                AdminClient({"log_level": 0, **keys}).list_topics(timeout=2)
        assert client["sasl.password"] not in part.log_file.read_text()
        assert str(folder) in part.log_file.read_text()
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    with part:
        assert yaml.safe_load((folder / "client.yaml").read_text()) == client
        assert AdminClient(client).list_topics(timeout=20).brokers


@pytest.mark.slow
def test_javas_tools_log_in_with_the_file_that_it_made(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> None:
    if not LIBS.is_dir():
        missing("kafka", "run make peers")
    with secured(tmp_path) as part:
        file = tmp_path / "broker" / "security" / "client.properties"
        bootstrap = ["--bootstrap-server", f"127.0.0.1:{part.ports['kafka']}", "--command-config", str(file)]
        topics = [*JAVA, "org.apache.kafka.tools.TopicCommand", *bootstrap]
        made = subprocess.run([*topics, "--create", "--topic", "t"], capture_output=True, text=True, timeout=120)
        assert made.returncode == 0, made.stderr
        configs = [*JAVA, "kafka.admin.ConfigCommand", *bootstrap, "--entity-type", "users", "--entity-name", "dora"]
        scram = "SCRAM-SHA-256=[iterations=8192,password=explorer]"
        put = subprocess.run([*configs, "--alter", "--add-config", scram], capture_output=True, text=True, timeout=120)
        assert put.returncode == 0, put.stderr
        told = subprocess.run([*configs, "--describe"], capture_output=True, text=True, timeout=120)
        assert "SCRAM-SHA-256=iterations=8192" in told.stdout


def test_an_open_listener_is_refused(tmp_path: Path) -> None:
    part = secured(tmp_path, listeners="PLAINTEXT://127.0.0.1:0").start(wait=False)
    assert part.wait(20) == 2
    assert "must be SASL_SSL" in part.log()


def test_a_lost_client_file_is_said_and_the_administrator_gets_a_new_password(tmp_path: Path) -> None:
    part = secured(tmp_path)
    folder = tmp_path / "broker" / "security"
    with part:
        client = yaml.safe_load((folder / "client.yaml").read_text())
    (folder / "client.yaml").unlink()
    with part:
        assert "no " + str(folder / "client.yaml") in part.log_tail()
    assert users("alter", "admin", "--data", tmp_path, password="new").returncode == 0
    with part:
        assert AdminClient({**client, "sasl.password": "new"}).list_topics(timeout=20).brokers


def test_its_http_port_is_https_and_for_the_administrator(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "broker" / "security"
    with secured(tmp_path, http=f"127.0.0.1:{port}"):
        admin = f"admin:{yaml.safe_load((folder / 'client.yaml').read_text())['sasl.password']}"
        trusting = ssl.create_default_context(cafile=folder / "ca.pem")
        assert get(port, "/metrics", admin, tls=trusting)[0] == 200
        assert get(port, "/metrics", tls=trusting)[0] == 401
        assert get(port, "/healthz", tls=trusting)[0] == 200
        with pytest.raises((http.client.HTTPException, OSError)):
            get(port, "/metrics", admin)


def test_a_certificate_that_soon_ends_is_made_anew_by_a_broker_that_runs_on(tmp_path: Path) -> None:
    files, config = SecurityFolder(tmp_path), BrokerConfig.model_validate({"security": True})
    clock = HandClock()
    files.make_certificates(["localhost"], datetime.datetime.fromtimestamp(clock.now_ms / 1000, datetime.UTC))
    days = 0

    async def sleep(seconds: float) -> None:
        nonlocal days
        if days == 900:
            raise asyncio.CancelledError
        days += round(seconds / 86_400)
        clock.now_ms += int(seconds * 1000)
        seen.append(files.server.read_bytes())

    seen: list[bytes] = []
    authority = files.authority.read_bytes()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep_certificates(config, tmp_path, clock, sleep))
    changes = [day for day, (before, after) in enumerate(itertools.pairwise(seen)) if before != after]
    assert changes[0] == 0, "it lacked this machine's other names"
    assert 790 < changes[1] < 825 - 29
    assert files.authority.read_bytes() == authority


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_what_became_of_the_servers_certificate_it_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    files, now = SecurityFolder(tmp_path), datetime.datetime.now(datetime.UTC)
    files.make_certificates(["localhost"], now)
    authority = files.authority.read_bytes()
    files.server.unlink()
    if damage is not None:
        files.server.write_bytes(damage)
    files.make_certificates(["localhost"], now)
    ssl.create_default_context().load_cert_chain(files.server)
    assert files.authority.read_bytes() == authority


@pytest.mark.parametrize("file", ["ca.key", "ca.pem"])
def test_an_authority_that_is_none_is_said_and_left(tmp_path: Path, file: str) -> None:
    files, now = SecurityFolder(tmp_path), datetime.datetime.now(datetime.UTC)
    files.make_certificates(["localhost"], now)
    (files.folder / file).write_text("junk")
    with pytest.raises(UsageError, match="not a pair"):
        files.make_certificates(["localhost"], now)
    assert (files.folder / file).read_text() == "junk"


@pytest.mark.parametrize("text", [b"- 1\n", b": [\n", b"\xff\xfe\0", b"sasl.password:\n", b""])
def test_a_clients_file_without_a_password_has_none(tmp_path: Path, text: bytes) -> None:
    files = SecurityFolder(tmp_path)
    files.folder.mkdir()
    files.client.write_bytes(text)
    assert files.admin_password() is None


def test_a_password_that_is_no_longer_the_administrators_is_said(tmp_path: Path) -> None:
    part = secured(tmp_path)
    with part:
        assert "is not the one" not in part.log_tail()
    assert users("alter", "admin", "--data", tmp_path, password="new").returncode == 0
    with part:
        assert "client.yaml is not the one that user admin has now" in part.log()


def test_an_authority_that_has_ended_or_was_replaced_signs_anew(tmp_path: Path) -> None:
    files, now = SecurityFolder(tmp_path), datetime.datetime.now(datetime.UTC)
    files.make_certificates(["localhost"], now)
    first = files.server.read_bytes()
    others = SecurityFolder(tmp_path / "other")
    others.folder.parent.mkdir()
    others.make_certificates(["localhost"], now)
    for name in ("ca.key", "ca.pem"):
        (files.folder / name).write_bytes((others.folder / name).read_bytes())
    files.make_certificates(["localhost"], now)
    second, authority = files.server.read_bytes(), files.authority.read_bytes()
    assert second != first
    files.make_certificates(["localhost"], now)
    assert files.server.read_bytes() == second
    files.make_certificates(["localhost"], now + datetime.timedelta(days=3651))
    assert files.authority.read_bytes() != authority
