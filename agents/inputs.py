"""The inputs of a configuration, as the loop uses them."""

from dataclasses import dataclass

from headrace.agents.configuration import AgentConfig, InputSection
from headrace.agents.effects import Input
from headrace.agents.events.pipeline import with_schema
from headrace.agents.metrics import Component
from headrace.agents.tail.files import Globs


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read, what is pushed and how all of it is shipped (by name), where it goes, and how metrics call each input."""

    globs: tuple[Globs, ...]
    pushed: dict[str, InputSection]
    how: dict[str, Input]
    topics: tuple[str, ...]
    components: dict[str, Component]

    @classmethod
    def of(cls, config: AgentConfig) -> "Inputs":
        """Those of a configuration."""
        named = dict(zip(names_of(config), config.inputs, strict=True))
        how = {name: _how_of(config, each, name) for name, each in named.items()}
        globs = tuple(
            Globs(tuple(each.tail), tuple(each.exclude), how[name]) for name, each in named.items() if each.tail is not None
        )
        pushed = {name: each for name, each in named.items() if each.is_pushed}
        components = {name: Component(name, each.kind) for name, each in named.items()}
        return cls(globs, pushed, how, tuple(sorted({each.topic for each in config.inputs})), components)


def _how_of(config: AgentConfig, keys: InputSection, name: str) -> Input:
    """How an input's lines are shipped."""
    pipeline = with_schema(keys.pipeline, config.schema_of(keys.topic))
    return Input(keys.topic, pipeline, keys.service, keys.max_line_bytes, name)


def names_of(config: AgentConfig) -> list[str]:
    """The inputs' names, in order: those given, and for the others kind and topic (`tail-app`, then `tail-app-2`)."""
    taken = {each.name for each in config.inputs if each.name is not None}
    names = []
    for each in config.inputs:
        name, count = each.name or f"{each.kind}-{each.topic}", 1
        while each.name is None and name in taken:
            count += 1
            name = f"{each.kind}-{each.topic}-{count}"
        taken.add(name)
        names.append(name)
    return names
