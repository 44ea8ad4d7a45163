"""Who a client is: the protocol of each listener, TLS and SASL; Kafka's keys.

What a listener may have of its own is in `ListenerKeys`: `listener.name.<listener, in lower case>.<key>` overrides `<key>`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError, field_validator, model_validator

from headrace.broker.keys.numbers import NotNegative, Positive
from headrace.broker.security.certificate_names import PrincipalMapper
from headrace.broker.security.logins import MECHANISMS
from headrace.config import Section

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_OVERRIDE = "listener.name."
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")


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

    ssl_keystore_type: Literal["PEM", "PKCS12"] = Field(
        "PEM",
        alias="ssl.keystore.type",
        description="PEM or PKCS12",
    )
    ssl_keystore_location: Path | None = Field(
        None,
        alias="ssl.keystore.location",
        description="a file with private key and certificate chain; read again when it changes",
    )
    ssl_keystore_password: SecretStr | None = Field(None, alias="ssl.keystore.password", description="of a PKCS12 file")
    ssl_keystore_key: SecretStr | None = Field(
        None, alias="ssl.keystore.key", description="the private key itself, in PEM, instead of a file"
    )
    ssl_keystore_certificate_chain: str | None = Field(
        None, alias="ssl.keystore.certificate.chain", description="the certificate chain itself, in PEM, instead of a file"
    )
    ssl_key_password: SecretStr | None = Field(
        None,
        alias="ssl.key.password",
        description="of the private key; in the environment: HEADRACE__SSL_KEY_PASSWORD",
    )
    ssl_truststore_location: Path | None = Field(
        None,
        alias="ssl.truststore.location",
        description="a PEM file with the authorities whose certificates clients may show; read again when it changes",
    )
    ssl_truststore_certificates: str | None = Field(
        None, alias="ssl.truststore.certificates", description="the authorities themselves, in PEM, instead of a file"
    )
    ssl_client_auth: Literal["none", "requested", "required"] = Field(
        "none",
        alias="ssl.client.auth",
        description="whether a client shows a certificate, whose subject is then its name; on SASL_SSL only where the listener"
        " itself says so, as in Kafka",
    )
    ssl_enabled_protocols: Names = Field(
        TLS_VERSIONS, alias="ssl.enabled.protocols", description="of " + ", ".join(TLS_VERSIONS)
    )
    ssl_cipher_suites: Names = Field(
        (), alias="ssl.cipher.suites", description="for TLSv1.2, by IANA's or OpenSSL's names; by default OpenSSL's choice"
    )
    ssl_principal_mapping_rules: str = Field(
        "DEFAULT",
        alias="ssl.principal.mapping.rules",
        description="how a certificate's subject becomes a user: `RULE:^CN=(.*?),.*$/$1/L, DEFAULT`, the first that fits",
    )

    @field_validator("ssl_keystore_type", mode="before")
    @classmethod
    def _is_read(cls, value: object) -> object:
        if value == "JKS":
            convert = "keytool -importkeystore -srckeystore OLD.jks -destkeystore NEW.p12 -deststoretype pkcs12"
            raise ValueError(f"JKS is Java's own; convert it with `{convert}` and say PKCS12")
        return value

    @field_validator("ssl_enabled_protocols")
    @classmethod
    def _are_tls_versions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or any(name not in TLS_VERSIONS for name in value):
            raise ValueError(f"there are {', '.join(TLS_VERSIONS)}")
        return value

    @field_validator("ssl_principal_mapping_rules")
    @classmethod
    def _are_rules(cls, value: str) -> str:
        PrincipalMapper(value)
        return value

    @field_validator("sasl_enabled_mechanisms")
    @classmethod
    def _are_mechanisms(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in MECHANISMS]:
            raise ValueError(f"{unknown[0]} is not served; there are {', '.join(MECHANISMS)}")
        return value


class SecurityKeys(ListenerKeys):
    """Protocols, TLS, SASL; of all listeners, with what single ones have of their own."""

    security: bool = Field(
        False,
        description="`on` makes a node that encrypts and knows its clients, for trying it: a certificate, a user `admin`, files"
        " for clients in `security/` of the log directory, SASL_SSL, access rules",
    )
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

    sasl_oauthbearer_jwks_endpoint_url: str | None = Field(
        None,
        alias="sasl.oauthbearer.jwks.endpoint.url",
        description="the identity provider's keys: https://…, http://…, or file:/…",
    )
    sasl_oauthbearer_jwks_endpoint_refresh_ms: Positive = Field(
        3_600_000, alias="sasl.oauthbearer.jwks.endpoint.refresh.ms", description="they are read again so often"
    )
    sasl_oauthbearer_expected_audience: Names = Field(
        (), alias="sasl.oauthbearer.expected.audience", description="a token must be for one of these; empty: for anybody"
    )
    sasl_oauthbearer_expected_issuer: str | None = Field(
        None,
        alias="sasl.oauthbearer.expected.issuer",
        description="who must have issued a token; none: anybody",
    )
    sasl_oauthbearer_sub_claim_name: str = Field(
        "sub", alias="sasl.oauthbearer.sub.claim.name", description="the claim that is the user's name"
    )
    sasl_oauthbearer_clock_skew_seconds: NotNegative = Field(
        30, alias="sasl.oauthbearer.clock.skew.seconds", description="how far the provider's clock may differ from ours"
    )

    @field_validator("sasl_oauthbearer_jwks_endpoint_url")
    @classmethod
    def _is_readable(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://", "file:/")):
            raise ValueError("write it as https://…, http://… or file:/…")
        return value

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
        if self.protocol(listener) == "SASL_SSL":
            shared["ssl.client.auth"] = "none"
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
