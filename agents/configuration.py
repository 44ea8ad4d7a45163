"""What an agent's configuration file may say (interfaces.md, Configuration)."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, PrivateAttr, WithJsonSchema, field_validator, model_validator

from headrace.agents.container_keys import ContainerKeys
from headrace.agents.directory.keys import DirectoryKeys
from headrace.agents.events.schemas.choice import BUILT_IN, ENVELOPE
from headrace.agents.events.schemas.own import own_schema
from headrace.agents.input_names import twice_named
from headrace.agents.own_files import own_files
from headrace.agents.pipeline_keys import PipelineKeys
from headrace.agents.sources.http_keys import HttpInputKeys
from headrace.agents.sources.journald_keys import JournaldKeys
from headrace.agents.sources.keys import ExecKeys, SpoolKeys, StdinKeys, UnixKeys
from headrace.agents.sources.syslog_keys import SyslogKeys
from headrace.agents.start import start_of
from headrace.config import Loaded, Section, load_with_origin
from headrace.config_faults import WrongKeys
from headrace.config_values import KafkaKeys, matching
from headrace.errors import ConfigError, Fault
from headrace.http_keys import PartHttpKeys
from headrace.schemas.registry_keys import RegistryKeys

if TYPE_CHECKING:
    from headrace.agents.sources.doors import Door

# The keys of which an input has one.
KINDS = ("tail", "containers", "directory", "stdin", "exec", "unix", "syslog", "http", "journald")
TOPIC_PATTERN = r"[A-Za-z0-9.-][A-Za-z0-9._-]{0,248}"
_NAME_PATTERN = r"[A-Za-z0-9._-]{1,100}"
TopicName = Annotated[
    str,
    matching(TOPIC_PATTERN, "must be a topic's name; write 1 to 249 letters, digits, `.`, `_` and `-`, the first no `_`"),
    WithJsonSchema({"type": "string", "pattern": f"^{TOPIC_PATTERN}$"}),
]
InputName = Annotated[
    str,
    matching(_NAME_PATTERN, "must be a name; write 1 to 100 letters, digits, `.`, `_` and `-`"),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME_PATTERN}$"}),
]

# Set by the agent, because delivery without loss and repeats that are in order rest on them.
_OURS = {
    "enable.idempotence", "acks", "request.required.acks", "message.timeout.ms", "delivery.timeout.ms", "retries",
    "message.send.max.retries", "max.in.flight", "max.in.flight.requests.per.connection", "enable.gapless.guarantee",
    "transactional.id", "delivery.report.only.error", "dr_cb", "dr_msg_cb", "on_delivery",
}  # fmt: skip

_TOPICS = (
    f"by a topic's name, `{{schema: …}}`: {', '.join(BUILT_IN)}, or a file with an Avro schema of a record (`a.avsc`), whose "
    "fields are a line's by name; by default the envelope"
)


_SCHEMA_FILE = "name a file that holds an Avro schema of a record, as JSON"


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

    derived = ("topics",)

    topic: TopicName | None = Field(
        None,
        description="a topic of its own; a record is in it before its position is passed, with the reason in its headers",
    )

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic, if there is one."""
        return () if self.topic is None else (self.topic,)


class TopicSection(Section):
    """What the records of one topic are."""

    derived = ("text",)

    schema_: str = Field(
        ENVELOPE,
        alias="schema",
        description=f"{', '.join(BUILT_IN)}, or a file of an Avro schema of a record",
    )
    _text: str = PrivateAttr("")

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if self.schema_ in BUILT_IN:
            return self
        if not self.schema_.endswith(".avsc"):
            told = f"there is no {self.schema_}; write {', '.join(BUILT_IN)} or a file, as orders.avsc"
            raise WrongKeys({"schema": told})
        try:
            self._text = json.dumps(json.loads(Path(self.schema_).read_text(encoding="utf-8")))
            own_schema(self._text)
        except OSError as error:
            raise WrongKeys({"schema": f"{self.schema_}: {error.strerror or error}; {_SCHEMA_FILE}"}) from error
        except ValueError as error:
            raise WrongKeys({"schema": f"{self.schema_}: {error}; {_SCHEMA_FILE}"}) from error
        return self

    @property
    def text(self) -> str:
        """The user's own schema; empty where it is one of ours."""
        return self._text


class InputSection(PipelineKeys):
    """One input: where lines come from (one of KINDS), and what becomes of them."""

    derived = ("kind", "is_pushed", "pipeline")

    tail: list[str] | None = Field(None, min_length=1, description="globs of the files to ship; `**` is any depth of folders")
    containers: ContainerKeys | None = Field(None, description="logs of containers, as the kubelet and Docker keep them")
    directory: DirectoryKeys | None = Field(None, description="a folder into which programs drop finished files")
    stdin: StdinKeys | None = Field(None, description="lines of the agent's standard input")
    syslog: SyslogKeys | None = Field(None, description="syslog messages, RFC 3164 and RFC 5424; `parse` is syslog by default")
    http: HttpInputKeys | None = Field(None, description="lines posted as JSON, NDJSON or text, and OTLP logs")
    journald: JournaldKeys | None = Field(None, description="entries of systemd's journal")
    exec: ExecKeys | None = Field(None, description="lines that a command writes")
    unix: UnixKeys | None = Field(None, description="lines that programs of this machine write to a socket")
    exclude: list[str] = Field([], description="globs of those to leave out")
    decompress: bool = Field(True, description="ship what a gzip file (.gz) holds; false: the bytes that it is")
    max_held_bytes: int | None = Field(
        None,
        ge=1,
        description="how much deleted files that are not shipped yet may hold of the disk; beyond it is lost, counted",
    )
    max_held_age_ms: int | None = Field(
        None, ge=1000, description="for how long such a file is held; by default until all of it is acknowledged"
    )
    start: str = Field(
        "beginning",
        description="what is shipped of files that are there when this input first starts: all (`beginning`), nothing (`end`), "
        "or what is not older than a time (2026-11-26T00:00:00Z) or an age (24h); files that appear later are shipped whole",
    )
    topic: TopicName = Field(
        description="where their lines go; `_` at its start is for internal topics",
    )
    service: str | None = Field(None, min_length=1, description="`service` in events; by default the stem of the file's name")
    name: InputName | None = Field(None, description="what metrics, tap and top call it; by default its kind and topic")
    spool: SpoolKeys = Field(
        default_factory=lambda: SpoolKeys.model_validate({}),
        description="where a pushed input's lines are kept until they are acknowledged",
    )

    @model_validator(mode="before")
    @classmethod
    def _parser_by_kind(cls, data: Any) -> Any:
        if isinstance(data, dict) and "syslog" in data and "parse" not in data:
            return {**data, "parse": "syslog"}
        return data

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: Any) -> Any:
        text = value.isoformat() if isinstance(value, date) else value  # as YAML reads a time
        if isinstance(text, str):
            start_of(text)
        return text

    @field_validator("containers", "stdin", "journald", mode="before")
    @classmethod
    def _nothing_to_say(cls, value: Any) -> Any:
        return {} if value is None else value  # `stdin:` alone

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            said = f", not {' and '.join(kinds)}" if kinds else ""
            do = "make an input of each" if kinds else "say where lines come from, as `tail: [/var/log/app/*.log]`"
            raise ValueError(f"an input has one of {', '.join(KINDS)}{said}; {do}")
        wrong: dict[str, str] = {}
        if self.is_pushed:
            wrong |= dict.fromkeys(("exclude", "decompress"), "it is for inputs with tail, containers or directory; remove it")
        if self.is_pushed or self.directory is not None:
            told = "it is for inputs with tail or containers; remove it"
            wrong |= dict.fromkeys(("start", "max_held_bytes", "max_held_age_ms"), told)
        if self.is_pushed and self.multiline is not None:
            told = "it is for inputs with tail, containers or directory (what is pushed is events already); remove it"
            wrong["multiline"] = told
        if not self.is_pushed:
            wrong["spool"] = "it is for what is pushed (files are their own buffer); remove it"
        if wrong := {key: told for key, told in wrong.items() if key in self.model_fields_set}:
            raise WrongKeys(wrong)
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def is_pushed(self) -> bool:
        """Whether its lines go into a spool first; files are their own."""
        return self.tail is None and self.containers is None and self.directory is None

    def doors(self, name: str) -> "list[Door]":
        """Where it listens, if that is its name."""
        listening = self.syslog or self.http or self.unix
        return [] if listening is None else listening.doors(name)


class AgentConfig(Section):
    """One agent's configuration."""

    agent: AgentSection
    kafka: KafkaKeys = Field(description="librdkafka's keys; bootstrap.servers is needed")
    registry: RegistryKeys
    topics: dict[str, TopicSection] = Field({}, description=_TOPICS)
    inputs: list[InputSection] = Field(min_length=1)
    dead_letter: DeadLetterSection = DeadLetterSection(topic=None)

    @field_validator("inputs")
    @classmethod
    def _names_differ(cls, inputs: list[InputSection]) -> list[InputSection]:
        if same := twice_named(inputs):
            raise ValueError(f"two inputs are named {same}; give each a `name` of its own")
        unnamed = [(each, f"{each.kind} inputs of topic {each.topic}") for each in inputs if each.name is None]
        kinds = [kind for _, kind in unnamed]
        if twice := sorted({kind for each, kind in unnamed if each.is_pushed and kinds.count(kind) > 1}):
            raise ValueError(f"there are two {twice[0]}, and each has a spool; give each a `name`")
        if twice := sorted({kind for each, kind in unnamed if each.start != "beginning" and kinds.count(kind) > 1}):
            raise ValueError(f"there are two {twice[0]}, and which has begun is remembered by name; give each a `name`")
        return inputs

    @field_validator("inputs")
    @classmethod
    def _listen_apart(cls, inputs: list[InputSection]) -> list[InputSection]:
        doors = [door for index, each in enumerate(inputs) for door in each.doors(str(index))]
        if twice := [door.shown for index, door in enumerate(doors) if door in doors[:index]]:
            raise ValueError(f"two inputs listen at {twice[0].rpartition(' ')[2]}; give each an address of its own")
        return inputs

    @field_validator("kafka")
    @classmethod
    def _not_ours(cls, kafka: dict[str, Any]) -> dict[str, Any]:
        if forbidden := sorted(_OURS & kafka.keys()):
            raise WrongKeys(dict.fromkeys(forbidden, "it is set by the agent; remove it"))
        return kafka

    @model_validator(mode="after")
    def _topics_are_used(self) -> Self:
        if unused := sorted(self.topics.keys() - {each.topic for each in self.inputs}):
            told = "no input ships to it; remove it, or name it as an input's topic"
            raise WrongKeys({("topics", topic): told for topic in unused})
        return self

    @model_validator(mode="after")
    def _dead_letters_apart(self) -> Self:
        if self.dead_letter.topic in {each.topic for each in self.inputs}:
            told = f"{self.dead_letter.topic} is a topic of lines; give dead letters one of their own"
            raise WrongKeys({("dead_letter", "topic"): told})
        return self


def load_agent_config(file: Path, overrides: Sequence[str], environment: Mapping[str, str]) -> Loaded[AgentConfig]:
    """What a file says, for an agent that is to run by it.

    Raises:
        ConfigError: it is wrong, or a `directory` input would ship, and put away, what the agent itself needs.
    """
    loaded = load_with_origin(AgentConfig, file, overrides=overrides, environment=environment)
    config, faults = loaded.config, list[Fault]()
    folders = [(index, each.directory) for index, each in enumerate(config.inputs) if each.directory is not None]
    own = list(own_files(config, file, overrides, environment)) if folders else []
    for index, folder in folders:
        for key, path in own:
            if folder.takes(path):
                what = f"{path} is the agent's own ({key}), and lies among the files that are shipped from {folder.path}"
                do = "name a folder that holds nothing but those"
                faults.append(loaded.origin.fault(("inputs", index, "directory"), what, do))
    if faults:
        raise ConfigError(*faults)
    return loaded
