"""What becomes of a line, as a value: a definition in canonical JSON, and what it means to the encoder (docs/adr/0038).

A chunk's row holds the definition that it was read with, so that a repeat says what was said before, whatever the
configuration says by then. Two definitions that mean the same are the same text, hence the same id. `version` is that of
their meaning: a parser that is to find other fields than before is another version, and the older one stays readable.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from headrace.agents.events import timestamps
from headrace.agents.events.containers import ContainerRule, container_parser, container_rule_of
from headrace.agents.events.multiline import Rule, rule_of
from headrace.agents.events.parsers.parser import Parser
from headrace.agents.events.parsers.table import parser_of
from headrace.agents.events.rate import RateLimit
from headrace.agents.events.schemas.choice import ENVELOPE, OWN, TopicSchema
from headrace.agents.events.schemas.columns import Columns, columns_of
from headrace.agents.events.schemas.own import OwnSchema, own_schema
from headrace.agents.events.times import Times, times_of
from headrace.agents.events.transforms.record import Step
from headrace.agents.events.transforms.steps import compiled_steps
from headrace.errors import VersionError

LINE_HEAD_BYTES = 4096  # where the time of a line is looked for that is not read as a whole
VERSION = 2
"""Version 1 did not say `parse_error`, and knew fewer forms of syslog and of times."""


def definition(**steps: Any) -> str:
    """The canonical text of a pipeline: `parse` describes its parser, `transforms` its steps (one `rate_limit` at most)."""
    said = {name: step for name, step in steps.items() if step}
    return json.dumps({"version": VERSION, **said}, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def with_schema(text: str, schema: TopicSchema) -> str:
    """A definition with the schema of the topic that its events go to."""
    return definition(**{**json.loads(text), "schema": schema.step})


def with_container(text: str, container: Mapping[str, str], max_line_bytes: int) -> str:
    """A definition for the log of a container with these fields."""
    rule = {"fields": dict(container), "timeout_ms": 1000, "max_bytes": max_line_bytes}
    return definition(**{**json.loads(text), "container": rule})


AUTO = definition(parse={"type": "auto"})


@lru_cache(maxsize=1024)
def pipeline_id(text: str) -> str:
    """What names a definition wherever it is kept once for many chunks."""
    return sha256(text.encode("ascii")).hexdigest()[:32]


EventRule = Rule | ContainerRule


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A definition's meaning: pure, and shared by all chunks that name it.

    `redactions` are those of the steps that also parts of long lines pass. `asks` says that a step is a function of the user's,
    whose answers have to be kept for a repeat. `charset` is that of lines that are not UTF-8.
    """

    parse: Parser
    times: Times
    steps: tuple[Step, ...] = ()
    rate_limit: RateLimit | None = None
    multiline: Rule | None = None
    redactions: tuple[Step, ...] = ()
    asks: bool = False
    schema: TopicSchema | None = None
    container: ContainerRule | None = None
    charset: str | None = None

    @property
    def columns(self) -> Columns:
        """What an event has behind the envelope's fixed fields (under the user's own schema there are none of either)."""
        return columns_of(ENVELOPE if self.schema is None or self.own is not None else self.schema.type)

    @property
    def own(self) -> OwnSchema | None:
        """The user's own schema; None where it is one of ours."""
        return own_schema(self.schema.avro) if self.schema is not None and self.schema.type == OWN else None

    @property
    def events(self) -> EventRule | None:
        """Which lines are one event; None: each is."""
        return self.container or self.multiline

    def time_of(self, text: str, read_time_us: int) -> int | None:
        """The time (µs) that the parser finds in a line; None where there is none, or it is implausible."""
        found, _ = self.parse(text, read_time_us)
        return found if found is not None and timestamps.plausible(found, read_time_us) else None

    def time_of_start(self, first: bytes, encoding: str, read_time_us: int) -> int | None:
        """The time of a line that is sent in parts, from its first LINE_HEAD_BYTES (they may end within a character)."""
        found = self.times.at_start(first[:LINE_HEAD_BYTES].decode(encoding, "replace"), read_time_us)
        return found if found is not None and timestamps.plausible(found, read_time_us) else None


@lru_cache(maxsize=1024)  # a definition of its own for each container
def compiled(text: str) -> Pipeline:
    """What a definition means.

    Raises:
        VersionError: a newer headrace wrote it.
    """
    steps: Mapping[str, Any] = json.loads(text)
    if steps["version"] > VERSION:
        raise VersionError(f"a pipeline has version {steps['version']}; this headrace reads up to {VERSION}: upgrade it")
    transforms = steps.get("transforms", [])
    limits = [RateLimit(**each["rate_limit"]) for each in transforms if "rate_limit" in each]
    parse = parser_of(steps["parse"], steps["version"])
    rule, container = rule_of(steps.get("multiline")), steps.get("container")
    if container is not None:
        parse = container_parser(parse, container["fields"])
    schema = TopicSchema(**steps["schema"]) if "schema" in steps else None
    return Pipeline(
        parse,
        times_of(steps["parse"].get("time"), steps["version"]),
        compiled_steps(transforms),
        limits[0] if limits else None,
        multiline=rule,
        container=container_rule_of(container, rule),
        redactions=compiled_steps([each for each in transforms if "redact" in each]),
        asks=any("python" in each for each in transforms),
        schema=schema,
        charset=steps["parse"].get("charset"),
    )
