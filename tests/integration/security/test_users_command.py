"""`headrace users`: over the protocol, and in the store of a stopped broker."""

import json
import os
import subprocess
from pathlib import Path

import yaml

from tests import forks
from tests.integration.groups.wire_client import WireClient
from tests.integration.security.sasl_wire import log_in, port_of, secured
from tests.processes import Part, free_port


def users(*arguments: str | Path, password: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "HEADRACE_USER_PASSWORD"}
    if password is not None:
        environment["HEADRACE_USER_PASSWORD"] = password
    command = [*forks.PREFIX, "users", *map(str, arguments)]
    return forks.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def logs_in(part: Part, name: str, password: str, mechanism: str = "SCRAM-SHA-512") -> bool:
    with WireClient(port_of(part, "SASL_PLAINTEXT")) as client:
        return bool(log_in(client, mechanism, name, password).error_code == 0)


def test_the_first_user_is_made_before_the_broker_starts_and_makes_the_others(tmp_path: Path) -> None:
    part = secured(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("chesshire\n")
    done = users("create", "admin", "--broker-config", part.config_file, "--password-file", secret)
    assert (done.returncode, done.stderr) == (0, "")
    with part:
        assert logs_in(part, "admin", "chesshire")
        refused = users("create", "other", "--data", tmp_path, password="x")
        assert refused.returncode == 2
        assert "another broker uses it" in refused.stderr
        client = tmp_path / "client.yaml"
        keys = {
            "bootstrap.servers": f"127.0.0.1:{port_of(part, 'SASL_PLAINTEXT')}",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "admin",
            "sasl.password": "chesshire",
        }
        client.write_text(yaml.safe_dump(keys))
        assert users("create", "alice", "--config", client, password="wonderland").returncode == 0
        assert all(logs_in(part, "alice", "wonderland", each) for each in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))
        again = users("create", "alice", "--config", client, password="x")
        assert (again.returncode, "exists" in again.stderr) == (2, True)
        assert users("alter", "alice", "--config", client, password="looking-glass").returncode == 0
        assert logs_in(part, "alice", "looking-glass")
        assert not logs_in(part, "alice", "wonderland")
        listed = users("list", "--config", client, "--format", "json")
        assert [json.loads(line) for line in listed.stdout.splitlines()] == [
            {"user": name, "mechanisms": {"SCRAM-SHA-256": 8192, "SCRAM-SHA-512": 8192}} for name in ("admin", "alice")
        ]
        assert users("delete", "alice", "--config", client).returncode == 0
        assert not logs_in(part, "alice", "looking-glass")
        assert "admin  SCRAM-SHA-256 (8192), SCRAM-SHA-512 (8192)" in users("list", "--config", client).stdout
        client.write_text(yaml.safe_dump({**keys, "sasl.password": "wrong"}))
        refused = users("list", "--config", client)
        assert refused.returncode == 1
        assert "Authentication failed" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_wrong_usage_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    part = secured(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for arguments, said in (
        (("create", "x", "--data", tmp_path), "no password"),
        (("create", "x", "--data", tmp_path, "--iterations", "1"), "must be 4096 to 16384"),
        (("list", "--bootstrap", f"127.0.0.1:{free_port()}"), "no broker lets us in"),
        (("create", "x", "--data", tmp_path / "typo"), f"{tmp_path}/typo/broker: no broker's data; before a first start"),
        (("delete", "x", "--broker-config", part.config_file), f"{tmp_path}/broker: no broker's data"),
        (("list", "--config", tmp_path / "none"), "No such file"),
        (("create", "x", "--password", "y"), "unrecognized arguments"),
    ):
        done = users(*arguments, password="pw" if {"--iterations", tmp_path / "typo"} & set(arguments) else None)
        assert done.returncode == (1 if "--bootstrap" in arguments else 2), done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_names_of_any_characters_are_told_apart_and_do_nothing_to_the_terminal(tmp_path: Path) -> None:
    config = secured(tmp_path).config_file
    for name in ("al=i,ce", "ünïcødé", "\x1b[2Jq", "--help"):
        assert users("create", "--broker-config", config, "--", name, password="x").returncode == 0
    assert users("delete", "--broker-config", config, "--", "none").stderr == "headrace users: there is no user none\n"
    listed = users("list", "--data", tmp_path)
    assert [line.split("  ")[0] for line in listed.stdout.splitlines()[1:]] == ["'\\x1b[2Jq'", "--help", "al=i,ce", "ünïcødé"]
    assert "\x1b" not in listed.stdout
    for action in ("create", "alter", "delete"):
        refused = users(action, "--data", tmp_path, "--", "", password="x")
        assert (refused.returncode, refused.stderr) == (2, "headrace users: the name is empty\n")


def test_a_clients_file_may_name_a_secret_that_is_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "client.yaml"
    file.write_text("sasl.password: ${env:NO_SUCH_VARIABLE}\n")
    refused = users("list", "--config", file)
    assert (refused.returncode, "there is no such variable" in refused.stderr) == (2, True)
    (tmp_path / "servers").write_text("127.0.0.1:1\n")
    file.write_text("bootstrap.servers: ${file:" + str(tmp_path / "servers") + "}\nno.such.key: 1\n")
    refused = users("list", "--config", file)
    assert (refused.returncode, "no.such.key" in refused.stderr) == (2, True)
