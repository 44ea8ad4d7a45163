"""deploy/agent/systemd: systemd takes the unit, finds it hardened, and the agent works under what the unit forbids."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.integration.agents.rig import Rig, rig, servers

SYSTEMD = Path(__file__).parents[4] / "deploy" / "agent" / "systemd"
UNIT = SYSTEMD / "headrace-agent.service"
DROP_INS = sorted(SYSTEMD.glob("*.conf"))
# Of systemd's own words for levels, below 2.0 is the best that a service on the network gets.
WORST_EXPOSURE = 2.0
# prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN): what MemoryDenyWriteExecute= asks of newer kernels.
UNDER_MDWE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, "-m", "headrace", *sys.argv[1:]])
"""


@pytest.fixture(scope="module")
def analyze(missing: Callable[[str, str], NoReturn]) -> str:
    return shutil.which("systemd-analyze") or missing("systemd", "apt-get install systemd")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("unit")
    with servers(folder) as started, rig(folder, started) as ours:
        yield ours


def with_drop_in(folder: Path, drop_in: Path | None) -> Path:
    """A copy of the unit, with what a drop-in adds in its section."""
    copy = folder / UNIT.name
    added = drop_in.read_text().partition("[Service]")[2] if drop_in else ""
    text = UNIT.read_text().replace("\n[Install]", f"{added}\n[Install]")
    copy.write_text(re.sub("^Documentation=.*", "", text, flags=re.MULTILINE))  # the page of a package that is not installed
    return copy


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda file: file.stem if file else "as it is")
def test_systemd_takes_the_unit_and_finds_it_hardened(analyze: str, tmp_path: Path, drop_in: Path | None) -> None:
    unit = with_drop_in(tmp_path, drop_in)
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=30, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, timeout=30, check=True
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None, judged.stdout
    assert float(exposure[1]) < WORST_EXPOSURE


def test_the_stop_is_waited_for_longer_than_the_agents_grace(tmp_path: Path) -> None:
    from headrace.agents.configuration import AgentSection

    grace_s = AgentSection.model_fields["grace_ms"].default / 1000
    stop_s = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), flags=re.MULTILINE)
    assert stop_s is not None
    assert int(stop_s[1]) > grace_s + 10


def test_systemd_is_told_when_the_agent_is_ready_and_that_it_lives(
    parts: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        agent = parts.agent()
        agent.start()
        assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        assert agent.stop() == 0


def test_the_agent_ships_where_memory_that_is_written_may_not_be_executed(
    parts: Rig, tmp_path: Path, missing: Callable[[str, str], NoReturn]
) -> None:
    (parts.logs / "mdwe.log").write_bytes(b'{"level": "info", "time": "2026-11-23T08:00:00Z"}\nplain\n')
    part = parts.agent("--once", "--progress", agent={"state_dir": str(tmp_path / "state"), "http": "127.0.0.1:0"})
    command = [sys.executable, "-c", UNDER_MDWE, "agent", "--config", str(part.config_file), *part.arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        missing("mdwe", "a kernel of 6.3 or newer")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["lines"] == 2
