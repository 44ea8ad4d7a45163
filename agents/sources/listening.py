"""Where each kind of pushed input listens, by what its keys say."""

from pathlib import Path
from typing import TYPE_CHECKING

from headrace.addresses import Address
from headrace.agents.sources.doors import Door, Kind

if TYPE_CHECKING:
    from headrace.agents.sources.http_keys import HttpInputKeys
    from headrace.agents.sources.keys import UnixKeys
    from headrace.agents.sources.syslog_keys import SyslogKeys


def http_doors(keys: "HttpInputKeys", name: str) -> list[Door]:
    """Where lines are posted, to the input of that name."""
    return [Door.of_address("tcp", keys.listen, name, "http", "http")]


def unix_doors(keys: "UnixKeys", name: str) -> list[Door]:
    """The socket, of the input of that name."""
    return [Door.of_path(keys.type, keys.path, keys.type, name)]


def syslog_doors(keys: "SyslogKeys", name: str) -> list[Door]:
    """Where messages come in, of the input of that name."""
    ports: list[tuple[Kind, str, Address | None]] = [
        ("tcp", "tcp", keys.tcp),
        ("tcp", "tls", keys.tls),
        ("udp", "udp", keys.udp),
    ]
    paths: list[tuple[Kind, str, Path | None]] = [
        ("stream", "unix_stream", keys.unix_stream),
        ("datagram", "unix", keys.unix),
    ]
    found = [
        Door.of_address(kind, at, name, transport, f"syslog {transport}") for kind, transport, at in ports if at is not None
    ]
    return found + [Door.of_path(kind, at, transport, "syslog") for kind, transport, at in paths if at is not None]
