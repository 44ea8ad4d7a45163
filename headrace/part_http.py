"""The HTTP port of a part that is not the broker, protected by the broker's users where that is asked for."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from headrace.broker_login import BrokerLogin
from headrace.clock import Clock
from headrace.health import Health
from headrace.http import serve_http
from headrace.http_door import LoginDoor
from headrace.http_keys import HttpKeys


class PartHttpKeys(HttpKeys):
    """Its keys."""

    http_authentication: Literal["none", "broker"] = Field(
        "none",
        alias="http.authentication",
        description="broker: /metrics is for users of the broker who may describe the cluster, by HTTP Basic; kafka needs SASL "
        "with names and passwords for it",
    )


def serve_part_http(keys: PartHttpKeys, kafka: Mapping[str, Any], health: Health, clock: Clock) -> dict[str, int]:
    """Serve it, if there is to be one; the port by its name. `kafka` is how the part reaches the broker.

    Raises:
        UsageError: the port is taken, a file cannot be used, or that connection has no names and passwords.
    """
    if keys.http is None:
        return {}
    door = LoginDoor(BrokerLogin(kafka, None), clock) if keys.http_authentication == "broker" else None
    return {"http": serve_http(keys.http, health, door=door, tls=keys.http_tls())}
