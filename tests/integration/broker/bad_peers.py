"""What tests of bad peers look at: the broker's log, its memory, its connections."""

import json
import os
import socket

from tests.processes import Part


def closed_lines(part: Part) -> list[str]:
    """What the log says of connections that were closed."""
    lines = [json.loads(line) for line in part.log_file.read_text().splitlines()]
    return [line["msg"] for line in lines if line["msg"].startswith("connection closed")]


def is_closed(sock: socket.socket, timeout_s: float = 10) -> bool:
    sock.settimeout(timeout_s)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def resident_bytes(part: Part) -> int:
    """Memory that the process has now."""
    assert part.process is not None
    with open(f"/proc/{part.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def greatest_resident_bytes(part: Part) -> int:
    """The most that it ever had."""
    assert part.process is not None
    with open(f"/proc/{part.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024


def connections(part: Part) -> int:
    """Established connections on the broker's side."""
    port = f":{part.ports['kafka']:04X}"
    with open("/proc/net/tcp") as table:
        return sum(1 for line in table if line.split()[1].endswith(port) and line.split()[3] == "01")
