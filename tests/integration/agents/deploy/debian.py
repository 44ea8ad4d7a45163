"""A bare Debian, as a root to change into: packages are installed, used and purged there as on a host without registries."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PEERS = Path(__file__).parents[4] / ".peers"
# The first has systemd, the other not.
ROOTS = {"bookworm": _PEERS / "debian-bookworm-systemd-sysv.tar", "trixie": _PEERS / "debian-trixie-python3.tar"}
REMEDY = "run make peers, as root"


class Debian:
    """One such root.

    Commands run in a mount namespace of their own, in which /proc is mounted; the network is the machine's, for the loopback.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, user: str = "root") -> str:
        """What a command says on stdout, run by a user; one that fails raises."""
        inside = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", *command]
        script = 'mount -t proc proc "$0/proc" && mount --bind /dev/null "$0/dev/null" && exec chroot "$0" "$@"'
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, str(self.root), *inside],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def path(self, inside: str) -> Path:
        """Where a path of the root's is outside."""
        return self.root / inside.lstrip("/")

    def files(self) -> set[str]:
        """All that is there, but what dpkg notes for itself."""
        return {
            "/" + os.path.relpath(os.path.join(folder, name), self.root)
            for folder, folders, names in os.walk(self.root)
            for name in [*folders, *names]
            if not os.path.relpath(folder, self.root).startswith(("var/lib/dpkg", "var/log", "proc"))
        }


@contextmanager
def bare(tar: Path, folder: Path) -> Iterator[Debian]:
    """Unpacked into a folder of its own, which is left to whoever made it."""
    root = folder / tar.stem
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "--exclude=./dev/*", "-xf", str(tar)], check=True, timeout=120)
    (root / "dev" / "null").touch()
    yield Debian(root)


class Booted:
    """Such a root whose own systemd runs, in namespaces of its own; the network is the machine's, for the loopback."""

    _BOOT = """
        umount --lazy /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup &&
        exec systemd-nspawn --quiet --register=no --keep-unit --machine="headrace-$$" --directory="$0" --boot
    """
    _SWEEP = "mount -t cgroup2 none /sys/fs/cgroup && cd /sys/fs/cgroup && rmdir payload/init.scope payload supervisor"

    def __init__(self, debian: Debian) -> None:
        self.debian = debian
        self._console = debian.root.with_suffix(".console")

    def __enter__(self) -> "Booted":
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--cgroup", "sh", "-c", self._BOOT, str(self.debian.root)],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while self._enter("systemctl", "is-system-running").stdout.strip() not in ("running", "degraded"):
            assert self._nspawn.poll() is None, self._console.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, self._console.read_text(errors="replace")[-3000:]
            time.sleep(0.5)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._init:
            os.kill(self._init, signal.SIGKILL)  # with it end all processes of its namespace
        else:
            self._nspawn.kill()
        self._nspawn.wait(30)
        subprocess.run(["unshare", "--mount", "sh", "-c", self._SWEEP], capture_output=True, timeout=30, check=False)

    @property
    def _init(self) -> int:
        """The process id, outside, of its first process; 0 before it is there."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _enter(self, *command: str) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        if not self._init:
            return subprocess.CompletedProcess(command, 1, "", "not there yet")
        return subprocess.run(
            ["nsenter", "--target", str(self._init), "--all", *command],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def run(self, *command: str) -> str:
        """What a command says on stdout; one that fails raises."""
        done = self._enter(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def shows(self, unit: str, what: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--property", what, "--value", unit).strip()
