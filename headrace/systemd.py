"""What systemd is told of a service of `Type=notify`: that it is ready, stops, and lives. Source: sd_notify(3)."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell systemd, for example `READY=1`; does nothing where the process was not started by it, or it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # in the abstract namespace
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), address)


def alive() -> None:
    """Tell its watchdog (`WatchdogSec`)."""
    notify("WATCHDOG=1")
