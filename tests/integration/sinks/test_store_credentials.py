"""Object stores without credentials: which variables to set, in one line and at once. Clouds are asked at a loopback port."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace import cli
from headrace.sinks.stores.credentials import remedy
from tests.processes import free_port

ENDPOINT = "http://127.0.0.1:1"
URLS = {
    "s3": f"s3://landed/tables?endpoint={ENDPOINT}&region=us-east-1",
    "azure": f"abfss://landed@account.dfs.core.windows.net/tables?endpoint={ENDPOINT}/account",
    "google": f"gs://landed/tables?endpoint={ENDPOINT}",
}
REMEDIES = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "azure": "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET",
    "google": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key",
}
GOOGLE = ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST")
Cloud = Callable[[int], None]


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cloud:
    """Takes away all credentials, and lets machines be asked for their role at a loopback port."""

    def at(port: int) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", *GOOGLE):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))  # gcloud keeps its own there
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://127.0.0.1:{port}/metadata/identity/oauth2/token")
        monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{port}")
        monkeypatch.setenv("GCE_METADATA_IP", f"127.0.0.1:{port}")

    return at


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("command", [["files", "orders", "--root"], ["check"], ["compact", "--root"]])
@pytest.mark.parametrize("kind", URLS)
def test_a_command_without_credentials_names_the_variables_to_set(
    kind: str, command: list[str], cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud(free_port())
    assert cli.main([*command, URLS[kind]]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"no credentials in the environment, and this machine has no role: {REMEDIES[kind]}" in line


def test_a_machine_that_does_not_answer_is_not_waited_for(
    cloud: Cloud, silent_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud(silent_port)
    began_s = time.monotonic()
    assert cli.main(["check", URLS["s3"]]) == 2
    assert time.monotonic() - began_s < 8
    assert REMEDIES["s3"] in capsys.readouterr().err


def test_a_loader_without_credentials_does_not_start(cloud: Cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud(free_port())
    config = tmp_path / "load.yaml"
    config.write_text(f"load: {{root: '{URLS['s3']}'}}\nkafka: {{bootstrap.servers: '127.0.0.1:1'}}\n")
    assert cli.main(["load", "--config", str(config)]) == 2
    assert REMEDIES["s3"] in capsys.readouterr().err


def test_other_errors_of_a_store_say_nothing_of_credentials() -> None:
    assert remedy(RuntimeError("Error performing PUT http://127.0.0.1:1/landed/latest.json - HTTP error")) is None
