"""The inputs of a configuration, as the loop uses them."""

from dataclasses import dataclass

from headrace.agents.configuration import AgentConfig, TailInput
from headrace.agents.effects import Input
from headrace.agents.metrics import Component
from headrace.agents.tail.files import Globs


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read, where it goes, and how each input is called."""

    globs: tuple[Globs, ...]
    topics: tuple[str, ...]
    components: dict[str, Component]

    @classmethod
    def of(cls, config: AgentConfig) -> "Inputs":
        """Those of a configuration."""
        names = names_of(config)
        globs = tuple(
            Globs(
                tuple(each.tail), tuple(each.exclude), Input(each.topic, each.pipeline, each.service, each.max_line_bytes, name)
            )
            for name, each in zip(names, config.inputs, strict=True)
        )
        components = {name: Component(name, each.kind) for name, each in zip(names, config.inputs, strict=True)}
        return cls(globs, tuple(sorted({each.topic for each in config.inputs})), components)


def _globs(keys: TailInput, name: str) -> Globs:
    how = Input(keys.topic, keys.pipeline, keys.service, keys.max_line_bytes, name)
    return Globs(tuple(keys.tail), tuple(keys.exclude), how)


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
