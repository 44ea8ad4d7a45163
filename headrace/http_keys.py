"""The keys of the HTTP port that a part may have."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from headrace.config import Section
from headrace.config_values import HostPort


class HttpKeys(Section):
    """Where it is, and its certificate."""

    http: HostPort | None = Field(None, description="address of /healthz, /readyz and /metrics, host:port; none by default")
    http_ssl_keystore_location: Path | None = Field(
        None,
        alias="http.ssl.keystore.location",
        description="HTTPS there, with the key and certificates of this PEM file",
    )
    http_ssl_key_password: SecretStr | None = Field(
        None, alias="http.ssl.key.password", description="of the private key in that file"
    )

    @model_validator(mode="after")
    def _protects_something(self) -> "HttpKeys":
        if self.http is None and self.http_ssl_keystore_location is not None:
            raise ValueError("http.ssl.keystore.location needs http, the address; name it, as 127.0.0.1:9600")
        return self


class PartHttpKeys(HttpKeys):
    """The same of a part that is not the broker."""

    http_authentication: Literal["none", "broker"] = Field(
        "none",
        alias="http.authentication",
        description="broker: /metrics is for users of the broker who may describe the cluster, by HTTP Basic; kafka needs SASL "
        "with names and passwords for it",
    )
