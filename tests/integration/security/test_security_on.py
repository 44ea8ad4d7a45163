"""`security: on`: nothing prepared, and yet a client needs the files that it made."""

import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import yaml
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tests.compat.java_tools import JAVA, LIBS
from tests.integration.security.test_users_command import users
from tests.processes import Part, free_port


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
    assert "must be SASL_SSL" in part.log_tail()


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
