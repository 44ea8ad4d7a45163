"""What a configuration says of an http input."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, SecretStr, WithJsonSchema, model_validator

from headrace.agents.sources.tls_keys import TlsKeys
from headrace.config_values import HostPort, matching

if TYPE_CHECKING:
    from headrace.agents.sources.doors import Door

MEBIBYTE = 1 << 20
UrlPath = Annotated[
    str,
    matching(r"/[!-~]*", "must be a path of a URL; begin it with /, and use neither spaces nor letters beyond ASCII"),
    WithJsonSchema({"type": "string", "pattern": "^/[!-~]*$"}),
]


class HttpInputKeys(TlsKeys):
    """Where lines are posted, and by whom."""

    derived = ("authenticates",)

    listen: HostPort = Field(description="host:port; JSON, NDJSON and text at `path`, OTLP logs at /v1/logs")
    path: UrlPath = Field("/logs", description="where JSON, NDJSON and text are posted")
    bearer_token: SecretStr | None = Field(
        None, alias="bearer.token", min_length=8, description="who posts must send it (RFC 6750); ${file:…} or ${env:…}"
    )
    basic_user: str | None = Field(None, alias="basic.user", min_length=1, description="or this name, by HTTP Basic (RFC 7617)")
    basic_password: SecretStr | None = Field(None, alias="basic.password", min_length=8, description="with this password")
    max_body_bytes: int = Field(
        4 * MEBIBYTE, ge=1024, le=64 * MEBIBYTE, description="a longer body is refused (413), compressed or not"
    )
    max_connections: int = Field(256, ge=1, le=10_000, description="clients connected at a time; one more is turned away")

    @model_validator(mode="after")
    def _complete(self) -> "HttpInputKeys":
        if (self.basic_user is None) != (self.basic_password is None):
            raise ValueError("basic.user and basic.password need each other; give both, or neither")
        if self.ssl_keystore_location is None and self.ssl_truststore_location is not None:
            raise ValueError("ssl.truststore.location needs ssl.keystore.location; name the server's own certificate there")
        if self.path == "/v1/logs":
            raise ValueError("path /v1/logs is OTLP's; choose another")
        return self

    def doors(self, name: str) -> "list[Door]":
        """Where lines are posted, to the input of that name."""
        from headrace.agents.sources.listening import http_doors  # asyncio, which a check does without

        return http_doors(self, name)

    @property
    def authenticates(self) -> bool:
        """Whether not everybody may post."""
        return any((self.bearer_token, self.basic_user, self.ssl_truststore_location))
