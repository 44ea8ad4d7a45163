"""`make deb`: a package that a bare Debian installs without registries, that ships to a real broker, and that can be purged."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from tests.integration.agents.deploy.debian import REMEDY, ROOTS, Debian, bare
from tests.integration.agents.rig import TOPIC, Rig, rig, servers

REPOSITORY = Path(__file__).parents[4]
BUILD = REPOSITORY / "deploy" / "agent" / "debian" / "build"
MOST_BYTES = 16_000_000  # 10 MB as `make deb` compresses it
USER = "headrace-agent"


def build(folder: Path, **variables: str) -> Path:
    """Make the package, compressed less than `make deb` does, which takes most of the time."""
    done = subprocess.run(
        [str(BUILD), str(folder), "-Zzstd", "-z3"],
        env={**os.environ, **variables}, umask=int(variables.get("UMASK", "22"), 8),
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str, str], NoReturn]) -> Path:
    if not all(shutil.which(tool) for tool in ("dpkg-deb", "strip")):
        missing("dpkg-deb", "apt-get install dpkg-dev binutils")
    return build(tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("servers")
    with servers(folder) as started, rig(folder, started) as ours:
        yield ours


@pytest.fixture(params=sorted(ROOTS))
def debian(request: pytest.FixtureRequest, tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Iterator[Debian]:
    tar = ROOTS[request.param]
    if not tar.exists() or os.geteuid() != 0:
        missing("debian", REMEDY)
    with bare(tar, tmp_path) as root:
        yield root


def install(debian: Debian, package: Path) -> None:
    shutil.copy(package, debian.path("/tmp"))
    debian.run("dpkg", "-i", f"/tmp/{package.name}")


def test_it_is_small_and_says_what_it_needs(package: Path) -> None:
    assert package.stat().st_size < MOST_BYTES
    fields = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    assert "Depends: python3 (>= 3.11~), python3 (<< 3.14~)" in fields
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    owners = {line.split()[1] for line in listed.splitlines()}
    assert owners == {"root/root"}
    assert not [line for line in listed.splitlines() if "w" in line[5:10]]  # nobody but root writes in it


def test_the_same_source_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    again = build(tmp_path, UMASK="077", TZ="Asia/Kathmandu", LANG="de_DE.UTF-8", TMPDIR=str(tmp_path))
    assert again.read_bytes() == package.read_bytes()


def test_installed_it_ships_to_a_broker_and_purged_it_leaves_nothing(debian: Debian, package: Path, parts: Rig) -> None:
    before = debian.files()
    install(debian, package)
    assert debian.run("headrace", "--version").startswith("headrace ")

    configuration = debian.path("/etc/headrace/agent.yaml")
    own = yaml.safe_load(configuration.read_text())
    log = debian.path("/var/log/syslog")
    log.write_bytes(b"Nov 26 10:00:00 bare app: one\nNov 26 10:00:01 bare app: two\n")
    overrides = {
        "kafka.bootstrap.servers": parts.bootstrap,
        "registry": f"http://127.0.0.1:{parts.registry.ports['http']}",
        "agent.http": "127.0.0.1:0",
        "inputs.0.tail": "[/var/log/syslog]",  # beside it is dpkg's own log, which grows
    }
    options = [word for key, value in overrides.items() for word in ("--set", f"{key}={value}")]
    command = ["headrace", "agent", "--config", "/etc/headrace/agent.yaml", *options]
    said = debian.run(*command, "--once", "--progress", user=USER)
    assert json.loads(said.splitlines()[-1])["lines"] == 2
    assert own["inputs"][0]["topic"] == TOPIC
    assert [event["message"][16:] for event in parts.events()[-2:]] == ["bare app: one", "bare app: two"]

    state = debian.path(own["agent"]["state_dir"])
    assert (state.stat().st_mode & 0o777, configuration.stat().st_mode & 0o777) == (0o750, 0o640)
    debian.run("dpkg", "-r", USER)
    assert list(state.iterdir())  # positions stay, for the next install
    assert configuration.exists()
    assert not debian.path("/usr/lib/headrace-agent").exists()  # what was compiled, too

    install(debian, package)
    assert json.loads(debian.run(*command, "--once", "--progress", user=USER).splitlines()[-1])["lines"] == 0
    debian.run("dpkg", "-P", USER)
    # The user stays, as files of its own may, and so do folders that systemd would have made.
    ours = ("/tmp/", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/usr/lib/systemd", "/usr/lib/sysusers.d")
    assert not [path for path in debian.files() - before if not path.startswith(ours)]


def test_what_the_operator_changed_is_kept_by_an_upgrade(debian: Debian, package: Path) -> None:
    install(debian, package)
    configuration = debian.path("/etc/headrace/agent.yaml")
    changed = configuration.read_text().replace("topic: logs", "topic: hosts")
    configuration.write_text(changed)
    install(debian, package)
    assert configuration.read_text() == changed
    assert configuration.stat().st_mode & 0o777 == 0o640
