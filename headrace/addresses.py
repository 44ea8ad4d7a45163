"""Where something listens."""

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens; `str(address)` is `host:port`, as it is written in a file."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: object) -> "Address":
        """Read `host:port` or `[host]:port`.

        Raises:
            ValueError: it is not of that form.
        """
        if isinstance(text, cls):
            return text
        host, _, port = str(text).rpartition(":")
        name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not name or "[" in name or (":" in name and name == host) or not port.isascii() or not port.isdigit():
            raise ValueError("write it as host:port, like 127.0.0.1:9600")
        if int(port) > 65_535:
            raise ValueError("a port is 0 to 65535")
        return cls(name, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
