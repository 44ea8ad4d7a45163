"""The listeners of a configuration: their sockets, what clients are told, how they log in, what must be warned of."""

import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.addresses import Address
from headrace.broker.config import BrokerConfig
from headrace.broker.keys.network import EVERY_INTERFACE, Listener, parse_listeners
from headrace.broker.network.endpoint import Endpoint
from headrace.broker.security.certificate_names import PrincipalMapper
from headrace.broker.security.logins import Logins
from headrace.broker.security.tls import TlsContext
from headrace.errors import UsageError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bound:
    """A listener whose socket is bound, and serves nobody yet."""

    listener: Listener
    sock: socket.socket


def open_listeners(config: BrokerConfig, stack: contextlib.ExitStack) -> list[Bound]:
    """The listeners of a configuration, closed with `stack`.

    Raises:
        UsageError: an address that cannot be used.
    """
    return [Bound(listener, stack.enter_context(_bound(listener))) for listener in parse_listeners(config.listeners)]


def tls_contexts(config: BrokerConfig) -> dict[str, TlsContext]:
    """By the name of each listener over TLS.

    Raises:
        UsageError: a certificate that cannot be used.
    """
    names = [listener.name for listener in parse_listeners(config.listeners) if config.protocol_of(listener).endswith("SSL")]
    return {name: TlsContext(name, config.of_listener(name)) for name in names}


@contextlib.contextmanager
def _bound(listener: Listener) -> Iterator[socket.socket]:
    """A bound socket."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"listeners {listener.host}: {error.strerror or error}; name an address of this machine") from error
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen(1024)
        except OSError as error:
            where = f"{listener.host}:{listener.port}"
            hint = "is another broker running there?" if error.errno == errno.EADDRINUSE else "name an address of this machine"
            raise UsageError(f"listeners {where}: {error.strerror or error}; {hint}") from error
        yield sock


def endpoint_of(config: BrokerConfig, bound: Bound, logins: Logins) -> Endpoint:
    """A listener as its connections know it."""
    listener, protocol = bound.listener, config.protocol_of(bound.listener)
    keys = config.of_listener(listener.name)
    mechanisms, user_of = None, None
    if protocol.startswith("SASL_"):
        mechanisms = logins.mechanisms(keys.sasl_enabled_mechanisms, lambda _: keys.connections_max_reauth_ms)
    elif protocol == "SSL" and keys.ssl_client_auth != "none":
        user_of = PrincipalMapper(keys.ssl_principal_mapping_rules).name
    return Endpoint(listener.name, _told(config, listener, bound.sock), mechanisms, user_of)


def bootstrap_of(config: BrokerConfig, bound: Bound) -> str:
    """The address of a listener as clients write it."""
    return str(Address(*_told(config, bound.listener, bound.sock)))


def _told(config: BrokerConfig, listener: Listener, sock: socket.socket) -> tuple[str, int]:
    """The address that clients are told: the advertised one, else the one that is bound, with the real port."""
    for advertised in parse_listeners(config.advertised_listeners) if config.advertised_listeners else ():
        if advertised.name == listener.name:
            return advertised.host, advertised.port
    host = socket.gethostname() if listener.host in EVERY_INTERFACE else listener.host
    return host, int(sock.getsockname()[1])


_EXPOSURES = {
    "PLAINTEXT": "WITHOUT TLS AND WITHOUT AUTHENTICATION: anybody who reaches %s:%d can read and write every topic;"
    " use loopback or a firewall",
    "SASL_PLAINTEXT": "WITHOUT TLS: whoever is on the way to %s:%d reads what clients send and are sent, and with PLAIN their"
    " passwords; use SASL_SSL",
    "SSL": "WITHOUT AUTHENTICATION: anybody who reaches %s:%d can read and write every topic; use SASL_SSL, or"
    " ssl.client.auth=required",
}


def warn_if_exposed(config: BrokerConfig, listener: Listener) -> None:
    """Say loudly what a listener that other machines reach lacks."""
    protocol = config.protocol_of(listener)
    if protocol == "SSL" and config.of_listener(listener.name).ssl_client_auth == "required":
        return
    if not listener.is_loopback and protocol in _EXPOSURES:
        where = f"LISTENING BEYOND THIS MACHINE ({listener.name}) "
        logger.warning(where + _EXPOSURES[protocol], listener.host, listener.port)
