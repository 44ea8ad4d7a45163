"""The registry's configuration (interfaces.md, Configuration)."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from headrace.config import Section
from headrace.config_values import HostPort, KafkaKeys


class RegistryConfig(Section):
    """One `headrace registry`."""

    listen: HostPort = Field(
        default="127.0.0.1:8081", validate_default=True, description="host:port of the REST API, /healthz and /metrics"
    )
    kafka: KafkaKeys = Field(description="librdkafka's keys; bootstrap.servers is needed")
    authentication: Literal["none", "broker"] = Field(
        "none",
        description="broker: HTTP Basic with names and passwords of the broker's users, whose rights on the topic are their "
        "rights here; kafka needs SASL for it",
    )
    ssl_keystore_location: Path | None = Field(
        None, alias="ssl.keystore.location", description="HTTPS with the private key and certificates in this PEM file"
    )
    ssl_key_password: SecretStr | None = Field(None, alias="ssl.key.password", description="of the private key in that file")
    topic: str = Field("_schemas", description="where schemas are kept; created if missing: one partition, compacted")

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic) or topic in (".", ".."):
            raise ValueError("no legal topic name")
        return topic
