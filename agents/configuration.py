"""What an agent's configuration file may say (interfaces.md, Configuration)."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator

from headrace.config import Section

# Set by the agent, because delivery without loss and repeats that are in order rest on them.
_OURS = {
    "enable.idempotence", "acks", "request.required.acks", "message.timeout.ms", "delivery.timeout.ms", "retries",
    "message.send.max.retries", "max.in.flight", "max.in.flight.requests.per.connection", "enable.gapless.guarantee",
    "transactional.id", "delivery.report.only.error", "dr_cb", "dr_msg_cb", "on_delivery",
}  # fmt: skip


class AgentSection(Section):
    """The agent itself."""

    state_dir: Path = Field(description="where positions are kept; one agent at a time uses it")
    http: str | None = Field(None, description="address of /healthz and /metrics, host:port")
    host: str | None = Field(None, min_length=1, description="the name of this host in events; by default the system's")
    grace_ms: int = Field(25_000, ge=0, description="how long a stop waits for what is on its way to be acknowledged")

    @field_validator("http")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            host_and_port(value)
        return value


class KafkaSection(Section):
    """librdkafka's own settings, by its own names."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    bootstrap_servers: str = Field(alias="bootstrap.servers", min_length=1)

    def settings(self) -> dict[str, Any]:
        """What is handed to librdkafka."""
        return {"bootstrap.servers": self.bootstrap_servers, **(self.model_extra or {})}

    def forbidden(self) -> list[str]:
        """The keys given that the agent sets itself."""
        return sorted(_OURS & (self.model_extra or {}).keys())


class TailInput(Section):
    """Files to ship, by globs (`**` for any depth of folders)."""

    tail: list[str] = Field(min_length=1)
    exclude: list[str] = []
    topic: str = Field(pattern=r"^[A-Za-z0-9.-][A-Za-z0-9._-]{0,248}$", description="`_` at its start is for internal topics")
    parse: Literal["auto", "json", "access", "syslog", "plain"] = "auto"
    service: str | None = Field(None, min_length=1, description="by default the stem of the file's name")
    max_line_bytes: Annotated[int, Field(ge=16, le=800_000)] = 512 * 1024


class AgentConfig(Section):
    """One agent's configuration."""

    agent: AgentSection
    kafka: KafkaSection
    registry: str
    inputs: list[TailInput] = Field(min_length=1)

    @field_validator("registry")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write it as http://host:port")
        return value

    @field_validator("kafka")
    @classmethod
    def _not_ours(cls, value: KafkaSection) -> KafkaSection:
        if value.forbidden():
            raise ValueError(f"{', '.join(value.forbidden())} is set by the agent; remove it")
        return value


def host_and_port(address: str) -> tuple[str, int]:
    """`host:port` → (host, port).

    Raises:
        ValueError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError("write it as host:port")
    return host.strip("[]"), int(port)
