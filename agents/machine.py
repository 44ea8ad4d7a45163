"""What an agent asks of the machine that it runs on."""

import ctypes
import resource
from pathlib import Path
from typing import Final

_MOST: Final = 65_536
_RESERVE: Final = 1024
_M_MMAP_THRESHOLD: Final = -3


def return_freed_memory() -> None:
    """Whatever is larger than 128 KiB goes back to the system when it is freed (mallopt(3); where libc has no such thing, not).

    Otherwise glibc keeps the tables of a look at many files, and lays what stays between them. It costs 7 % of CPU where lines
    are shipped as fast as can be: their chunks are larger, too.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


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
