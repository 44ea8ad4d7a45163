"""`make deb`: a package that a bare Debian installs without registries, that ships to a real broker, and that can be purged."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests.envelopes import event_of
from tests.integration.agents.deploy.debian import REMEDY, ROOTS, Booted, Debian, bare
from tests.integration.agents.rig import TOPIC, Rig, rig, servers
from tests.waiting import until

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[4]
BUILD = REPOSITORY / "deploy" / "agent" / "debian" / "build"
MOST_BYTES = 20_000_000  # 12 MB as `make deb` compresses it
USER = "headrace-agent"
ADM = 4  # Debian's group
EXAMPLES = "/usr/share/doc/headrace-agent/examples"
DROP_INS = "/etc/systemd/system/headrace-agent.service.d"


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
    shutil.copy(package, debian.path("/root"))
    debian.run("dpkg", "--force-unsafe-io", "-i", f"/root/{package.name}")


def test_it_is_small_and_says_what_it_needs(package: Path) -> None:
    assert package.stat().st_size < MOST_BYTES
    fields = subprocess.run(["dpkg-deb", "-f", str(package)], capture_output=True, text=True, check=True).stdout
    assert "Depends: python3 (>= 3.11~), python3 (<< 3.14~)" in fields
    listed = subprocess.run(["dpkg-deb", "-c", str(package)], capture_output=True, text=True, check=True).stdout
    owners = {line.split()[1] for line in listed.splitlines()}
    assert owners == {"root/root"}
    assert not [line for line in listed.splitlines() if line[0] != "l" and "w" in line[5:10]]  # nobody but root writes in it


def test_where_a_tool_is_missing_the_build_says_which_package_has_it(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/bash", str(BUILD), str(tmp_path)], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "apt install binutils" in done.stderr


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
    debian.run("dpkg", "-P", USER)
    # The user stays, as files of its own may, and so do folders that systemd would have made.
    ours = ("/root/", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/usr/lib/systemd", "/usr/lib/sysusers.d")
    assert not [path for path in debian.files() - before if not path.startswith(ours)]


def test_under_systemd_it_ships_with_the_rights_it_has_comes_back_reloads_and_goes_on_after_an_upgrade(
    package: Path, parts: Rig, tmp_path: Path, missing: Callable[[str, str], NoReturn]
) -> None:
    if not ROOTS["bookworm"].exists() or os.geteuid() != 0 or shutil.which("systemd-nspawn") is None:
        missing("debian", REMEDY)
    with bare(ROOTS["bookworm"], tmp_path) as debian:
        install(debian, package)
        configuration, logs = debian.path("/etc/headrace/agent.yaml"), debian.path("/var/log/app")
        configuration.write_text(yaml.safe_dump(config(parts)))
        logs.mkdir()
        for name, mode in (("everybody", 0o644), ("adm", 0o640), ("root", 0o600)):
            (logs / f"{name}.log").write_text(f"for {name}\n")
            os.chown(logs / f"{name}.log", 0, ADM)
            (logs / f"{name}.log").chmod(mode)

        with Booted(debian) as host:
            host.run("systemctl", "start", USER)  # returns when the agent says that it is ready
            until(lambda: messages(parts) == {"for everybody", "for adm"})
            host.run("mkdir", DROP_INS)
            host.run("cp", *(f"{EXAMPLES}/{name}.conf" for name in ("read-everything", "low-ports")), DROP_INS)
            host.run("systemctl", "daemon-reload")
            host.run("systemctl", "restart", USER)
            until(lambda: messages(parts) == {"for everybody", "for adm", "for root"})

            host.run("systemctl", "kill", "--signal=KILL", USER)
            until(lambda: host.shows(USER, "NRestarts") == "1")
            host.run("logger", "-t", "somebody", "from the journal")
            until(lambda: "from the journal" in messages(parts))
            assert not [
                message for message in messages(parts) if '"ready"' in message
            ]  # its log is there, and it leaves it there
            before = host.shows(USER, "MainPID")
            host.run("dpkg", "--force-unsafe-io", "-i", f"/root/{package.name}")
            assert host.shows(USER, "MainPID") != before
            assert yaml.safe_load(configuration.read_text()) == config(parts)
            (logs / "adm.log").open("a").write("after an upgrade\n")
            until(lambda: "after an upgrade" in messages(parts))

            main = host.shows(USER, "MainPID")
            (logs / "other.txt").write_text("of another input\n")
            more = {"tail": ["/var/log/app/*.txt"], "topic": "booted"}
            configuration.write_text(yaml.safe_dump({**config(parts), "inputs": [*config(parts)["inputs"], more]}))
            host.run("systemctl", "reload", USER)
            until(lambda: "of another input" in messages(parts))
            configuration.write_text("agent: [")
            host.run("sh", "-c", "! systemctl reload headrace-agent")
            assert (host.shows(USER, "MainPID"), host.shows(USER, "ActiveState")) == (main, "active")

            host.run("sh", "-c", "! systemctl restart headrace-agent")
            assert host.shows(USER, "ExecMainStatus") == "2"
            assert host.shows(USER, "ActiveState") == "failed"  # it is not tried again
            host.run("dpkg", "-r", USER)
        assert debian.path("/var/lib/headrace-agent/agent.db").exists()  # positions stay, for the next install
        assert not debian.path("/usr/lib/headrace-agent").exists()  # what was compiled, too
        assert len({value for _, value, _ in parts.records("booted")}) == 6  # what was repeated is equal


def config(parts: Rig) -> dict[str, Any]:
    """A configuration that ships what is in /var/log/app."""
    return {
        "agent": {"state_dir": "/var/lib/headrace-agent", "http": "127.0.0.1:0"},
        "kafka": {"bootstrap.servers": parts.bootstrap},
        "registry": f"http://127.0.0.1:{parts.registry.ports['http']}",
        "inputs": [
            {"tail": ["/var/log/app/*.log"], "topic": "booted"},
            {"journald": {"matches": ["SYSLOG_IDENTIFIER=somebody", "+", f"_SYSTEMD_UNIT={USER}.service"]}, "topic": "booted"},
        ],
    }


def messages(parts: Rig) -> set[str]:
    """What has come of the booted host."""
    return {event_of(value)["message"] for _, value, _ in parts.records("booted")}
