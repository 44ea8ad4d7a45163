"""What an agent asks of the machine that it runs on."""

import resource
from pathlib import Path
from typing import Final

_MOST: Final = 65_536
_RESERVE: Final = 1024


def most_open_files() -> int:
    """How many logs may be held open: what the system allows without a reserve for sockets, spools and the state."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    allowed = _MOST if soft == resource.RLIM_INFINITY else min(soft, _MOST)
    return max(16, allowed - min(allowed // 2, _RESERVE))


def machine_id() -> str:
    """What names this machine; empty where the system has no such thing."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
