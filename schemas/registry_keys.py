"""How a part finds its registry: a URL alone, or a section with what it takes to be let in."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from headrace.config import Section
from headrace.config_values import RegistryUrl
from headrace.schemas.client import RegistryClient


class RegistryKeys(Section):
    """A registry; keys beside the URL have the names that Confluent's clients give them."""

    url: RegistryUrl = Field(description="URL of a Confluent-compatible schema registry; `registry: URL` says the same")
    basic_auth_user_info: SecretStr | None = Field(
        None, alias="basic.auth.user.info", description="`name:password`, for a registry that asks who its clients are"
    )
    ssl_ca_location: Path | None = Field(
        None, alias="ssl.ca.location", description="the authorities by which https is checked, in PEM; by default the system's"
    )

    @model_validator(mode="before")
    @classmethod
    def _may_be_a_url(cls, data: Any) -> Any:
        return {"url": data} if isinstance(data, str) else data

    @field_validator("basic_auth_user_info")
    @classmethod
    def _has_a_name(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().find(":") < 1:
            raise ValueError("write it as name:password")
        return value

    def client(self, *, timeout_s: float = 10.0) -> RegistryClient:
        """A client of it.

        Raises:
            UsageError: the file of authorities cannot be used.
        """
        secret = self.basic_auth_user_info
        user_info = None if secret is None else secret.get_secret_value()
        return RegistryClient(self.url, timeout_s=timeout_s, user_info=user_info, ca_file=self.ssl_ca_location)
