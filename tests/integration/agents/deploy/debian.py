"""A bare Debian, as a root to change into: packages are installed, used and purged there as on a host without registries."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PEERS = Path(__file__).parents[4] / ".peers"
ROOTS = {name: _PEERS / f"debian-{name}.tar" for name in ("bookworm", "trixie")}
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
