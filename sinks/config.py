"""The loader's configuration (interfaces.md, Configuration)."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from headrace.config import Section
from headrace.config_values import KafkaKeys
from headrace.part_http import PartHttpKeys
from headrace.schemas.registry_keys import RegistryKeys

_SIZES: Final = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SECONDS: Final = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}


def _measure(value: Any, units: dict[str, Any], example: str) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if not match or match.group(2).lower() not in units:
        raise ValueError(f"write it like {example}")
    return float(match.group(1)) * units[match.group(2).lower()]


def _size(value: Any) -> Any:
    measured = _measure(value, _SIZES, "128MiB")
    return int(measured) if isinstance(measured, float) else measured


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["number", "string"], "examples": [example]})


Size = Annotated[int, BeforeValidator(_size), Field(gt=0), _schema("128MiB")]
"""Bytes; in a file a number or a text with a unit."""
Duration = Annotated[float, BeforeValidator(lambda value: _measure(value, _SECONDS, "10m")), Field(gt=0), _schema("10m")]
"""Seconds; in a file a number or a text with a unit."""


class Rotate(Section):
    """When a file closes, and with it the commit of all that was read: whichever comes first."""

    bytes: Size = Field(default="128MiB", validate_default=True, description="size of an hour's file at which it closes")
    age: Duration = Field(
        default="10m", validate_default=True, description="time since its first row; after half an hour it closes in any case"
    )
    rows: int = Field(default=1_000_000, gt=0, description="rows of an hour's file at which it closes")


class Load(PartHttpKeys):
    """What lands, and where."""

    root: str = Field(description="the directory of the tables")
    topics: tuple[str, ...] = Field(
        (".*",), description="regular expressions of whole names; of those with `_` at their start only `_audit` lands, always"
    )
    format: Literal["parquet"] = Field("parquet", description="of the files")
    rotate: Rotate = Rotate()

    @field_validator("topics")
    @classmethod
    def _are_patterns(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        for topic in topics:
            try:
                re.compile(topic)
            except re.error as error:
                raise ValueError(f"{topic!r} is not a regular expression: {error}") from None
        return topics

    @field_validator("root")
    @classmethod
    def _is_local(cls, root: str) -> str:
        if "://" in root and not root.startswith("file://"):
            raise ValueError("a local directory is needed; other stores cannot be landed on yet")
        return root.removeprefix("file://")

    @property
    def directory(self) -> Path:
        return Path(self.root)


class LoadConfig(Section):
    """One `headrace load`."""

    load: Load
    kafka: KafkaKeys = Field(description="librdkafka's keys; bootstrap.servers is needed")
    registry: RegistryKeys | None = Field(
        None, description="URL of a Confluent-compatible schema registry; without one no topic is Avro"
    )
