"""What an agent asks of the machine that it runs on."""

import contextlib
import resource
from pathlib import Path
from typing import Final

_MOST_OF_USE: Final = 65_536
_RESERVE: Final = 1024


def raise_open_files() -> None:
    """Ask for as many open files as may be asked for, and are of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_OF_USE if hard == resource.RLIM_INFINITY else min(hard, _MOST_OF_USE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # what there is must do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_open_files() -> int:
    """How many logs may be held open: what the system allows without a reserve for sockets, spools and the state."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = _MOST_OF_USE if soft == resource.RLIM_INFINITY else min(soft, _MOST_OF_USE)
    return max(16, allowed - min(allowed // 2, _RESERVE))


def machine_id() -> str:
    """What names this machine; empty where the system has no such thing."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
