"""Values that the configurations of several parts hold: addresses, librdkafka's keys, a registry's URL.

Each is checked where the file is read, so that what cannot be used is refused with its line, before anything starts.
"""

import ipaddress
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema


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


def _names_servers(kafka: dict[str, Any]) -> dict[str, Any]:
    if not kafka.get("bootstrap.servers"):
        raise ValueError("bootstrap.servers is missing")
    return kafka


def _is_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write it as http://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL is shown in messages: name and password belong in basic.auth.user.info")
    return text


HostPort = Annotated[
    Address,
    PlainValidator(Address.parse),
    PlainSerializer(Address.__str__),
    WithJsonSchema({"type": "string", "format": "host:port"}),
]
"""An address, written `host:port`; an IPv6 host stands in brackets."""

KafkaKeys = Annotated[dict[str, Any], AfterValidator(_names_servers)]
"""librdkafka's keys, by its own names; `bootstrap.servers` is needed."""

RegistryUrl = Annotated[str, AfterValidator(_is_url)]
"""The URL of a Confluent-compatible schema registry."""
