"""The configuration of the audit as a part of its own."""

from pydantic import Field, field_validator, model_validator

from headrace.config import Section
from headrace.config_values import KafkaKeys
from headrace.http_keys import PartHttpKeys
from headrace.sinks.measures import Duration, Patterns
from headrace.sinks.stores.roots import SCHEMES, scheme_of


class Audit(PartHttpKeys):
    """What is judged, and how often."""

    root: str = Field(min_length=1, description="the directory of the landed tables: a path, or a URL (docs/stores.md)")
    topics: Patterns = Field((".*",), description="regular expressions of whole names")
    every: Duration = Field(default="1m", validate_default=True, description="how often it looks for what has landed")
    horizon: Duration = Field(
        default="48h",
        validate_default=True,
        description="windows that ended longer ago are not counted, and judged again where rows land in them, or each hour"
        " where they lack a `_SUCCESS`",
    )
    lateness: Duration = Field(
        default="5m", validate_default=True, description="how long after its end a window takes lines that are not late"
    )
    retire_after: Duration | None = Field(
        None,
        description="agents that have been silent for longer are taken for retired, and said to be; without, none is: for hosts"
        " that live for hours",
    )
    success: bool = Field(default=True, description="whether `_SUCCESS` is kept in the directories of complete hours")

    @field_validator("root")
    @classmethod
    def _is_known(cls, root: str) -> str:
        if scheme_of(root) not in SCHEMES:
            raise ValueError(f"no store is known by such a URL; give a path, or a URL with {', '.join(SCHEMES)}")
        return root


class AuditConfig(Section):
    """One `headrace audit --config`."""

    audit: Audit
    kafka: KafkaKeys | None = Field(
        None, description="librdkafka's keys, where users of the broker are asked for their names (http.authentication: broker)"
    )

    @model_validator(mode="after")
    def _knows_whom_to_ask(self) -> "AuditConfig":
        if self.audit.http_authentication == "broker" and self.kafka is None:
            raise ValueError("audit.http.authentication is broker, and there is no kafka; say how the broker is reached")
        return self
