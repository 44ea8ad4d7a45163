"""Lets the broker's users pass its own HTTP port: asked by the threads that answer HTTP, decided on the event loop.

Passwords are checked where those of SASL are, in their own threads, and failures are counted, logged and held back with them.
"""

import asyncio
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Final

from headrace.broker.security.access import CLUSTER_NAME, Operation, Principal, ResourceType
from headrace.http_access import Credentials
from headrace.http_door import FORBIDDEN, OK, UNAUTHORIZED, UNAVAILABLE

if TYPE_CHECKING:
    from headrace.broker.broker import Broker

_PATIENCE_S: Final = 30.0


class BrokerDoor:
    """Who may describe the cluster sees metrics, once the broker knows its users."""

    def __init__(self) -> None:
        self._decides: tuple[Broker, asyncio.AbstractEventLoop] | None = None

    def open(self, broker: "Broker") -> None:
        """From now on ask this broker; on its event loop."""
        self._decides = broker, asyncio.get_running_loop()

    def close(self) -> None:
        """Nobody is let in any more."""
        self._decides = None

    def __call__(self, authorization: str | None, address: str) -> int:
        """The HTTP status for who sends that Authorization header from that address; 200 lets in."""
        credentials = Credentials.of_header(authorization)
        if credentials is None:
            return UNAUTHORIZED
        if self._decides is None:
            return UNAVAILABLE
        broker, loop = self._decides
        asking = _admit(broker, credentials, address)
        try:
            return asyncio.run_coroutine_threadsafe(asking, loop).result(_PATIENCE_S)
        except (TimeoutError, CancelledError):
            return UNAVAILABLE
        except RuntimeError:  # the loop has ended
            asking.close()
            return UNAVAILABLE


async def _admit(broker: "Broker", credentials: Credentials, address: str) -> int:
    if not await broker.logins.is_password(credentials.name, credentials.password, address):
        return UNAUTHORIZED
    who = Principal("User", credentials.name)
    if broker.authorizer.allows(who, address, Operation.DESCRIBE, ResourceType.CLUSTER, CLUSTER_NAME):
        return OK
    broker.authorizer.denied(who, address, Operation.DESCRIBE, ResourceType.CLUSTER, CLUSTER_NAME)
    return FORBIDDEN
