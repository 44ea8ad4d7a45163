"""From the definitions of steps to what they do."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.agents.events.transforms import fields, selection
from headrace.agents.events.transforms.function import python
from headrace.agents.events.transforms.record import Step
from headrace.agents.events.transforms.redaction import redact


def compiled_steps(definitions: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """Each definition is a mapping of one step's name to what it takes."""
    return tuple(_step(*item) for each in definitions for item in each.items())


def _step(name: str, rule: Any) -> Step:
    match name:
        case "add":
            return fields.add(rule)
        case "rename":
            return fields.rename(rule)
        case "drop":
            return fields.drop(rule)
        case "filter":
            return selection.select(rule)
        case "sample":
            return selection.sample(rule)
        case "rate_limit":
            return selection.limit
        case "redact":
            return redact(rule)
        case "python":
            return python(rule["function"], rule["digest"])
    raise AssertionError(f"no step is called {name}")
