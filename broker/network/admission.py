"""Who may connect: how many connections there may be, in all and from one address; those in a TLS handshake with them. Pure.

Kafka's ConnectionQuotas lets those beyond `max.connections` wait unaccepted; here they are closed at once, as those beyond
the bound of their address are in both, because a client that is refused knows more than one that waits.
"""

from collections import Counter
from collections.abc import Mapping
from enum import Enum


class CloseReason(Enum):
    """Why we closed a connection; the value is the metric's label."""

    PROTOCOL = "protocol"  # it broke the protocol, or asked for what cannot be answered
    AUTHENTICATION = "authentication"  # the client could not say who it is
    TLS = "tls"  # the handshake did not come to its end
    IDLE = "idle"
    LATE = "request.receive.timeout.ms"
    MEMORY = "queued.max.request.bytes"
    TOO_MANY = "max.connections"
    TOO_FAST = "connection_creation_rate"
    TOO_MANY_OF_IP = "max.connections.per.ip"


class Admission:
    """Counts connections by address."""

    def __init__(self, most: int, most_per_ip: int, overrides: Mapping[str, int]) -> None:
        """`overrides` are bounds of single addresses, instead of `most_per_ip`."""
        self._most, self._most_per_ip, self._overrides = most, most_per_ip, overrides
        self._by_ip: Counter[str] = Counter()
        self._count = 0
        self._handshakes: Counter[str] = Counter()
        self._handshake_count = 0

    def begin_handshake(self, ip: str) -> CloseReason | None:
        """Count a connection from `ip` that may become one, or say why it may not go on; one that may ends its handshake later.

        It takes a place from further handshakes, not from those whose handshake is done.
        """
        refusal = self._refusal(ip, self._count + self._handshake_count, self._by_ip[ip] + self._handshakes[ip])
        if refusal is None:
            self._handshake_count += 1
            self._handshakes[ip] += 1
        return refusal

    def end_handshake(self, ip: str) -> None:
        """It has entered by now, or is gone."""
        self._handshake_count -= 1
        self._handshakes[ip] -= 1
        if not self._handshakes[ip]:
            del self._handshakes[ip]

    def enter(self, ip: str) -> CloseReason | None:
        """Count one more connection from `ip`, or say why it may not stay; one that may stay leaves later."""
        refusal = self._refusal(ip, self._count, self._by_ip[ip])
        if refusal is not None:
            return refusal
        self._count += 1
        self._by_ip[ip] += 1
        return None

    def leave(self, ip: str) -> None:
        """One connection from `ip` is gone."""
        self._count -= 1
        self._by_ip[ip] -= 1
        if not self._by_ip[ip]:
            del self._by_ip[ip]

    def _refusal(self, ip: str, count: int, of_ip: int) -> CloseReason | None:
        if count >= self._most:
            return CloseReason.TOO_MANY
        return CloseReason.TOO_MANY_OF_IP if of_ip >= self._overrides.get(ip, self._most_per_ip) else None
