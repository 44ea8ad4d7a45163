"""What an agent asks of the machine that it runs on."""

import resource
from pathlib import Path


def most_open_files() -> int:
    """How many files may be held open: half of what the system allows, and no more than a thousand."""
    return max(16, min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


def machine_id() -> str:
    """What names this machine; empty where the system has no such thing."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
