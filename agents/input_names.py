"""What inputs are called."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig, InputSection


def twice_named(inputs: "Iterable[InputSection]") -> str:
    """The names that several inputs were given; empty where all differ."""
    named = [each.name for each in inputs if each.name is not None]
    return ", ".join(sorted({name for name in named if named.count(name) > 1}))


def names_of(config: "AgentConfig") -> list[str]:
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
