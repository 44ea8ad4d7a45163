"""The files that an agent needs to run, by the keys that name them: none may be shipped, and put away, as a dropped one."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headrace.agents.events.schemas.choice import BUILT_IN
from headrace.agents.events.transforms.function import split_name
from headrace.config import Section
from headrace.config_overrides import PREFIX
from headrace.secret_references import files_of

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig, InputSection

Named = tuple[str, Path]
_OF_LIBRDKAFKA = (".location", ".keytab", ".file")  # how its keys end whose values are files


def own_files(
    config: "AgentConfig", file: Path, overrides: Sequence[str], environment: Mapping[str, str]
) -> Iterator[Named]:  # fmt: skip
    """(key, path) of each: certificates, keys, schemas, secrets, functions, programs, the state, the configuration itself."""
    yield "the configuration", file
    yield "agent.state_dir", config.agent.state_dir
    for topic, each in config.topics.items():
        if each.schema_ not in BUILT_IN:
            yield f"topics.{topic}.schema", Path(each.schema_)
    yield from _locations(config, "")
    for key, value in config.kafka.items():
        if key.endswith(_OF_LIBRDKAFKA) and isinstance(value, str):
            yield f"kafka.{key}", Path(value)
    for index, section in enumerate(config.inputs):
        yield from _run_by(section, f"inputs.{index}")
    yield from _references(yaml.safe_load(file.read_text(encoding="utf-8")), "")
    for name, value in environment.items():
        if name.startswith(PREFIX):
            yield from _references(value, name)
    for override in overrides:
        key, _, value = override.partition("=")
        yield from _references(value, f"--set {key}")


def _locations(node: Any, where: str) -> Iterator[Named]:
    """What keys name that end in `location`: of TLS, wherever there is some."""
    if isinstance(node, list):
        for index, each in enumerate(node):
            yield from _locations(each, f"{where}.{index}")
    elif isinstance(node, Section):
        for name, field in type(node).model_fields.items():
            value, key = getattr(node, name), f"{where}.{field.alias or name}".removeprefix(".")
            if isinstance(value, Path) and name.endswith("location"):
                yield key, value
            else:
                yield from _locations(value, key)


def _run_by(section: "InputSection", where: str) -> Iterator[Named]:
    """Functions and programs that an input runs by their paths."""
    for index, step in enumerate(section.transforms):
        if step.python is not None and (function := split_name(step.python)[0]).endswith(".py"):
            yield f"{where}.transforms.{index}.python", Path(function)
    if section.exec is not None and "/" in section.exec.command[0]:
        yield f"{where}.exec.command", Path(section.exec.command[0])
    if section.journald is not None and "/" in section.journald.journalctl:
        yield f"{where}.journald.journalctl", Path(section.journald.journalctl)


def _references(node: Any, where: str) -> Iterator[Named]:
    """What `${file:…}` names, in a tree as it is before they are replaced."""
    match node:
        case dict():
            for key, value in node.items():
                yield from _references(value, f"{where}.{key}".removeprefix("."))
        case list():
            for index, value in enumerate(node):
                yield from _references(value, f"{where}.{index}")
        case str():
            for name in files_of(node):
                yield where, Path(name)
