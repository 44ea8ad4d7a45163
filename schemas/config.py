"""The registry's configuration (interfaces.md, Configuration)."""

import ipaddress
import re
from typing import Any

from pydantic import Field, field_validator

from headrace.config import Section


class RegistryConfig(Section):
    """One `headrace registry`."""

    listen: str = Field("127.0.0.1:8081", description="host:port of the REST API, /healthz and /metrics")
    kafka: dict[str, Any] = Field(description="librdkafka's keys; bootstrap.servers is needed")
    topic: str = Field("_schemas", description="where schemas are kept; created if missing: one partition, compacted")

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        match = re.fullmatch(r"(\[[^\]]+\]|[^:]+):(\d{1,5})", listen)
        if not match or int(match.group(2)) > 65535:
            raise ValueError("write it like 127.0.0.1:8081")
        return listen

    @field_validator("kafka")
    @classmethod
    def _names_servers(cls, kafka: dict[str, Any]) -> dict[str, Any]:
        if not kafka.get("bootstrap.servers"):
            raise ValueError("bootstrap.servers is missing")
        return kafka

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic) or topic in (".", ".."):
            raise ValueError("no legal topic name")
        return topic

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
