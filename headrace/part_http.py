"""The HTTP port of a part that is not the broker, protected by the broker's users where that is asked for.

Cheap to import: what serves is imported where it is asked for only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headrace.clock import Clock
from headrace.health import Health

if TYPE_CHECKING:
    from headrace.http import Page
    from headrace.http_keys import PartHttpKeys


def serve_part_http(
    keys: "PartHttpKeys", kafka: Mapping[str, Any], health: Health, clock: Clock, page: "Page | None" = None
) -> dict[str, int]:
    """Serve it, if there is to be one, with a `page` on `/`; the port by its name. `kafka` is how the part reaches the broker.

    Raises:
        UsageError: the port is taken, a file cannot be used, or that connection has no names and passwords.
    """
    if keys.http is None:
        return {}
    from headrace.broker_login import BrokerLogin
    from headrace.http import serve_http
    from headrace.http_door import LoginDoor
    from headrace.https import server_context

    door = LoginDoor(BrokerLogin(kafka, None), clock) if keys.http_authentication == "broker" else None
    tls = server_context(keys.http_ssl_keystore_location, keys.http_ssl_key_password)
    return {"http": serve_http(keys.http, health, door=door, tls=tls, page=page)}
