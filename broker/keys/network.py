"""Where a broker listens, what clients are told, and what a connection may take."""

import re
from ipaddress import ip_address

from pydantic import BaseModel, Field, field_validator, model_validator

from headrace.addresses import is_loopback
from headrace.broker.keys.numbers import NotNegative, Port, Positive
from headrace.http_keys import HttpKeys

EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Listener(BaseModel, frozen=True):
    """An address, as in `PLAINTEXT://127.0.0.1:9092`."""

    name: str
    host: str
    port: Port

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


class NetworkKeys(HttpKeys):
    """Listeners, and the bounds of connections and requests."""

    listeners: str = Field(
        "PLAINTEXT://127.0.0.1:9092", description="where it listens, `NAME://host:port,…`; loopback unless told otherwise"
    )
    advertised_listeners: str | None = Field(
        None,
        alias="advertised.listeners",
        description="what clients are told instead, by the same names; by default what is bound",
    )

    socket_request_max_bytes: Positive = Field(
        104_857_600, alias="socket.request.max.bytes", description="largest request; a larger one closes its connection"
    )
    queued_max_request_bytes: Positive = Field(
        268_435_456,
        alias="queued.max.request.bytes",
        description="memory of requests in work and of answers that are not read; beyond it whoever keeps most is closed",
    )
    request_receive_timeout_ms: Positive = Field(
        30_000,
        alias="request.receive.timeout.ms",
        description="ours: a request or a login that takes longer to come, at less than 16 KB a second, closes its connection",
    )
    connections_max_idle_ms: Positive = Field(
        600_000, alias="connections.max.idle.ms", description="a connection that is silent for so long is closed"
    )
    max_connections: Positive = Field(
        2_147_483_647,
        alias="max.connections",
        description="one that comes when so many are open is closed at once; never more than 3/4 of the open files allowed",
    )
    max_connections_per_ip: NotNegative = Field(
        2_147_483_647, alias="max.connections.per.ip", description="the same, of one address"
    )
    max_connections_per_ip_overrides: str = Field(
        "",
        alias="max.connections.per.ip.overrides",
        description="bounds of single addresses, as in `127.0.0.1:200,10.0.0.7:10`",
    )
    max_in_flight_requests_per_connection: Positive = Field(
        64,
        alias="max.in.flight.requests.per.connection",
        description="ours: a connection with more unanswered requests is not read",
    )
    fetch_max_bytes: Positive = Field(
        57_671_680, alias="fetch.max.bytes", description="largest answer to a fetch, but for one batch that is larger"
    )

    @field_validator("listeners", "advertised_listeners")
    @classmethod
    def _can_be_parsed(cls, value: str | None) -> str | None:
        if value is not None:
            parse_listeners(value)
        return value

    @field_validator("max_connections_per_ip_overrides")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        parse_overrides(value)
        return value

    @field_validator("advertised_listeners")
    @classmethod
    def _can_be_reached(cls, value: str | None) -> str | None:
        for listener in parse_listeners(value) if value is not None else ():
            if listener.host in EVERY_INTERFACE or listener.port == 0:
                raise ValueError("clients need a host and a port that they can reach")
        return value

    @model_validator(mode="after")
    def _advertised_are_listeners(self) -> "NetworkKeys":
        names = {listener.name for listener in parse_listeners(self.listeners)}
        unknown = {listener.name for listener in parse_listeners(self.advertised_listeners or self.listeners)} - names
        if unknown:
            raise ValueError(f"advertised.listeners names {', '.join(sorted(unknown))}, which listeners does not")
        return self


def parse_listeners(text: str) -> list[Listener]:
    """Parse `NAME://host:port,…`; an empty host is every interface, and names are in upper case, as in Kafka.

    Raises:
        ValueError: not so written.
    """
    listeners = []
    for word in text.split(","):
        name, separator, address = word.strip().partition("://")
        host, colon, port = address.rpartition(":")
        if not separator or not colon or not port.isdigit() or int(port) > 65535 or not _NAME.fullmatch(name):
            raise ValueError("write it as PLAINTEXT://host:port")
        listeners.append(Listener(name=name.upper(), host=host.strip("[]") or "0.0.0.0", port=int(port)))  # noqa: S104 - the user asked
    if len({listener.name for listener in listeners}) != len(listeners):
        raise ValueError("each listener needs a name of its own")
    return listeners


def parse_overrides(text: str) -> dict[str, int]:
    """Parse `address:count,…`; addresses as sockets name them, so that no name has to be resolved.

    Raises:
        ValueError: not so written.
    """
    overrides = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        address, _, count = word.rpartition(":")
        if not count.isdigit():
            raise ValueError(f"{word}: write it as address:count")
        overrides[str(ip_address(address.strip("[]")))] = int(count)
    return overrides
