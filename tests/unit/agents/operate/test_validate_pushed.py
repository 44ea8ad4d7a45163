"""`headrace agent validate` of pushed inputs: ports, sockets, certificates and commands, and an agent that runs meanwhile."""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace.agents.configuration import AgentConfig
from headrace.agents.operate.findings import Finding
from headrace.agents.operate.validate_pushed import pushed_findings

Findings = Callable[..., list[Finding]]


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    def find(*inputs: dict[str, Any]) -> list[Finding]:
        named = [{"topic": f"t{index}", **each} for index, each in enumerate(inputs)]
        sections = {
            "agent": {"state_dir": str(tmp_path)}, "kafka": {"bootstrap.servers": "127.0.0.1:1"},
            "registry": "http://127.0.0.1:1", "inputs": named,
        }  # fmt: skip
        return list(pushed_findings(AgentConfig.model_validate(sections)))

    return find


@contextmanager
def taken(kind: socket.SocketKind) -> Iterator[str]:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def test_what_is_free_and_there_is_not_told(tmp_path: Path, findings: Findings) -> None:
    assert findings(
        {"syslog": {"tcp": "127.0.0.1:0", "udp": "127.0.0.1:0", "unix": str(tmp_path / "log")}},
        {"http": {"listen": "127.0.0.1:0"}},
        {"unix": {"path": str(tmp_path / "in.sock")}},
        {"exec": {"command": ["sh"]}},
        {"stdin": {}},
    ) == []  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("transport", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_a_port_that_is_taken_is_an_error_and_a_note_while_an_agent_runs(
    tmp_path: Path, findings: Findings, transport: str, kind: socket.SocketKind
) -> None:
    with taken(kind) as address:
        (found,) = findings({"syslog": {transport: address}})
        assert (found.severity, found.where) == ("error", "inputs.0.syslog")
        assert found.what == f"syslog {transport} {address}: Address already in use"
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert [each.severity for each in findings({"syslog": {transport: address}})] == ["note"]


def test_an_address_of_another_machine_is_an_error_whoever_runs(findings: Findings) -> None:
    (found,) = findings({"http": {"listen": "192.0.2.1:8080"}})
    assert (found.severity, "an address of this machine" in found.do) == ("error", True)


def test_paths_that_cannot_be_listened_at_are_errors(tmp_path: Path, findings: Findings) -> None:
    (tmp_path / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "busy"))
        sock.listen()
        told = findings(*({"unix": {"path": str(tmp_path / name)}} for name in ("no/such/folder", "file", "busy")))
    assert [each.severity for each in told] == ["error"] * 3
    assert ["there is no directory" in told[0].what, "something else" in told[1].what, "somebody" in told[2].what] == [True] * 3
    assert findings({"unix": {"path": str(tmp_path / "busy")}}) == [], "one that nobody listens at is replaced"
    assert (tmp_path / "busy").exists()


def test_a_socket_path_that_the_kernel_does_not_take_is_an_error(tmp_path: Path, findings: Findings) -> None:
    longest = str(tmp_path / "".ljust(106 - len(str(tmp_path)), "s"))
    assert findings({"unix": {"path": longest}}) == []
    (found,) = findings({"unix": {"path": longest + "s"}})
    assert (found.severity, found.what) == ("error", f"unix {longest}s: a socket's path has at most 107 bytes")


def test_programs_folders_and_certificates_that_are_not_there_are_errors(tmp_path: Path, findings: Findings) -> None:
    (tmp_path / "bad.pem").write_text("none")
    told = findings(
        {"exec": {"command": ["no-such-program"], "directory": "/no/such/folder"}},
        {"journald": {"journalctl": "no-such-journalctl"}},
        {"http": {"listen": "127.0.0.1:0", "ssl.keystore.location": str(tmp_path / "bad.pem")}},
    )
    assert [each.where for each in told] == [
        "inputs.0.exec.command", "inputs.0.exec.directory", "inputs.1.journald.journalctl", "inputs.2.http",
    ]  # fmt: skip
    assert all(each.severity == "error" for each in told)


def test_two_inputs_at_one_address_are_no_configuration(findings: Findings) -> None:
    with pytest.raises(ValueError, match=r"two inputs listen at 127\.0\.0\.1:5140"):
        findings({"syslog": {"tcp": "127.0.0.1:5140"}}, {"http": {"listen": "127.0.0.1:5140"}})
