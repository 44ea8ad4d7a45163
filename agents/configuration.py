"""What an agent's configuration file may say (interfaces.md, Configuration)."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from headrace.agents.pipeline_keys import PipelineKeys
from headrace.config import Section
from headrace.config_values import KafkaKeys
from headrace.part_http import PartHttpKeys
from headrace.schemas.registry_keys import RegistryKeys

TOPIC_PATTERN = r"^[A-Za-z0-9.-][A-Za-z0-9._-]{0,248}$"

# Set by the agent, because delivery without loss and repeats that are in order rest on them.
_OURS = {
    "enable.idempotence", "acks", "request.required.acks", "message.timeout.ms", "delivery.timeout.ms", "retries",
    "message.send.max.retries", "max.in.flight", "max.in.flight.requests.per.connection", "enable.gapless.guarantee",
    "transactional.id", "delivery.report.only.error", "dr_cb", "dr_msg_cb", "on_delivery",
}  # fmt: skip


class AgentSection(PartHttpKeys):
    """The agent itself."""

    state_dir: Path = Field(description="where positions are kept; one agent at a time uses it")
    host: str | None = Field(None, min_length=1, description="the name of this host in events; by default the system's")
    rejected_max_bytes: int = Field(
        1024**3, ge=1024**2, description="how much `rejected/` in state_dir may hold; at the bound the agent waits, and says so"
    )
    grace_ms: int = Field(25_000, ge=0, description="how long a stop waits for what is on its way to be acknowledged")


class DeadLetterSection(Section):
    """Where records go that were refused for good, besides `rejected/` in the state directory."""

    topic: str | None = Field(
        None,
        pattern=TOPIC_PATTERN,
        description="a topic of its own; a record is in it before its position is passed, with the reason in its headers",
    )


class TailInput(PipelineKeys):
    """Files to ship, by globs (`**` for any depth of folders)."""

    kind: ClassVar[str] = "tail"

    tail: list[str] = Field(min_length=1, description="globs of the files to ship; `**` is any depth of folders")
    exclude: list[str] = Field([], description="globs of those to leave out")
    topic: str = Field(
        pattern=TOPIC_PATTERN,
        description="where their lines go; `_` at its start is for internal topics",
    )
    service: str | None = Field(None, min_length=1, description="`service` in events; by default the stem of the file's name")
    max_line_bytes: int = Field(512 * 1024, ge=16, le=800_000, description="a longer line is shipped as several parts")
    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._-]{1,100}$", description="what metrics, tap and top call it; by default its kind and topic"
    )


class AgentConfig(Section):
    """One agent's configuration."""

    agent: AgentSection
    kafka: KafkaKeys = Field(description="librdkafka's keys; bootstrap.servers is needed")
    registry: RegistryKeys
    inputs: list[TailInput] = Field(min_length=1)
    dead_letter: DeadLetterSection = DeadLetterSection(topic=None)

    @field_validator("inputs")
    @classmethod
    def _names_differ(cls, inputs: list[TailInput]) -> list[TailInput]:
        named = [each.name for each in inputs if each.name is not None]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"two inputs are named {', '.join(twice)}")
        return inputs

    @field_validator("kafka")
    @classmethod
    def _not_ours(cls, kafka: dict[str, Any]) -> dict[str, Any]:
        if forbidden := sorted(_OURS & kafka.keys()):
            raise ValueError(f"{', '.join(forbidden)} is set by the agent; remove it")
        return kafka

    @model_validator(mode="after")
    def _dead_letters_apart(self) -> Self:
        if self.dead_letter.topic in {each.topic for each in self.inputs}:
            raise ValueError(
                f"dead_letter.topic {self.dead_letter.topic} is a topic of lines; give dead letters one of their own"
            )
        return self
