"""Who a client is: the protocol of each listener, TLS and SASL; Kafka's keys.

What a listener may have of its own is in `ListenerKeys`: `listener.name.<listener, in lower case>.<key>` overrides `<key>`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, field_validator, model_validator

from headrace.broker.keys.numbers import NotNegative, Positive
from headrace.broker.security.logins import MECHANISMS
from headrace.config import Section

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_OVERRIDE = "listener.name."
_TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")


def _split(value: object) -> object:
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_split), PlainSerializer(",".join)]
"""Names, written in one line with commas as in Kafka, or as a list."""


class ListenerKeys(Section):
    """What each listener may have of its own."""

    sasl_enabled_mechanisms: Names = Field(
        ("SCRAM-SHA-512", "SCRAM-SHA-256"),
        alias="sasl.enabled.mechanisms",
        description="of " + ", ".join(MECHANISMS) + "; PLAIN tells the broker the password, so use it over TLS",
    )
    connections_max_reauth_ms: NotNegative = Field(
        0,
        alias="connections.max.reauth.ms",
        description="a session over SASL ends after so long, unless the client logs in again in place (KIP-368); 0: never",
    )

    @field_validator("sasl_enabled_mechanisms")
    @classmethod
    def _are_mechanisms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in MECHANISMS]:
            raise ValueError(f"{unknown[0]} is not served; there are {', '.join(MECHANISMS)}")
        return value


class SecurityKeys(ListenerKeys):
    """Protocols, TLS, SASL; of all listeners, with what single ones have of their own."""

    listener_security_protocol_map: Names = Field(
        tuple(f"{protocol}:{protocol}" for protocol in PROTOCOLS),
        alias="listener.security.protocol.map",
        description="the protocol of each listener's name, as in `INTERNAL:PLAINTEXT,EXTERNAL:SASL_SSL`",
    )
    listener_overrides: dict[str, Any] = Field(
        default_factory=dict,
        alias="listener.name.*",
        description="keys of one listener: `listener.name.external.sasl.enabled.mechanisms: PLAIN`",
    )
    sasl_server_max_receive_size: Positive = Field(
        524_288,
        alias="sasl.server.max.receive.size",
        description="largest request of a client that has not logged in yet",
    )
    connection_failed_authentication_delay_ms: NotNegative = Field(
        100,
        alias="connection.failed.authentication.delay.ms",
        description="a failed login is answered so much later; twice as late with each further one of the same address or"
        " user, up to fifty times",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather_overrides(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = {key: value for key, value in data.items() if not str(key).startswith(_OVERRIDE) or key == "listener.name.*"}
        overrides = {key: value for key, value in data.items() if key not in own}
        return own | {"listener.name.*": {**own.get("listener.name.*", {}), **overrides}} if overrides else own

    @field_validator("listener_security_protocol_map")
    @classmethod
    def _maps_names_to_protocols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            name, colon, protocol = pair.partition(":")
            if not name or not colon or protocol.upper() not in PROTOCOLS:
                raise ValueError(f"{pair}: write it as NAME:PROTOCOL, with one of {', '.join(PROTOCOLS)}")
        return value

    @model_validator(mode="after")
    def _overrides_are_of_listeners(self) -> "SecurityKeys":
        for listener in self._overridden():
            self.of_listener(listener)
        return self

    def protocol(self, listener: str) -> str | None:
        """The security protocol of a listener's name; None if there is none."""
        pairs = (pair.partition(":") for pair in self.listener_security_protocol_map)
        mapped = {name.upper(): protocol.upper() for name, _, protocol in pairs}
        return mapped.get(listener.upper())

    def of_listener(self, listener: str) -> ListenerKeys:
        """The keys of a listener: its own where it has some, else those of all.

        Raises:
            ValueError: one of its own is unknown or wrong.
        """
        prefix = f"{_OVERRIDE}{listener.lower()}."
        own = {key.removeprefix(prefix): value for key, value in self.listener_overrides.items() if key.startswith(prefix)}
        shared = {field.alias: getattr(self, name) for name, field in ListenerKeys.model_fields.items()}
        try:
            return ListenerKeys.model_validate(shared | own)
        except ValidationError as error:
            fault = error.errors()[0]
            key = prefix + ".".join(map(str, fault["loc"]))
            said = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
            raise ValueError(f"{key}: {said}") from error

    def _overridden(self) -> set[str]:
        names = set()
        for key in self.listener_overrides:
            match = re.fullmatch(r"listener\.name\.([^.]+)\..+", key)
            if match is None:
                raise ValueError(f"{key}: write it as listener.name.<listener>.<key>")
            names.add(match[1])
        return names
