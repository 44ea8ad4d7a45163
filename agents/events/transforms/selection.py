"""Steps that leave lines out: filter, sample, rate limit. The line decides, or the chunk's row: a repeat decides alike."""

from collections.abc import Callable, Mapping
from typing import Any

import xxhash

from headrace.agents.events.patterns import pattern, utf8
from headrace.agents.events.transforms.record import Record, Step

FILTERED, SAMPLED, LIMITED = "filter", "sample", "rate_limit"


def select(rule: Mapping[str, Any]) -> Step:
    """`include`: only what meets the condition is sent; `exclude`: what meets it is not."""
    include = _condition(rule["include"]) if "include" in rule else None
    exclude = _condition(rule["exclude"]) if "exclude" in rule else None

    def step(record: Record) -> str | None:
        if include is not None and not include(record):
            return FILTERED
        if exclude is not None and exclude(record):
            return FILTERED
        return None

    return step


def _condition(rule: Mapping[str, Any]) -> Callable[[Record], bool]:
    """About a field, or the message where none is named; a field that is not there meets no condition."""
    name = rule.get("field")

    def value(record: Record) -> str | None:
        return record.text if name is None else record.fields.get(name)

    if "equals" in rule:
        wanted = frozenset(rule["equals"])
        return lambda record: value(record) in wanted
    found_in = pattern(rule["pattern"]).found_in

    def matches(record: Record) -> bool:
        text = value(record)
        return text is not None and found_in(utf8(text))

    return matches


def sample(rule: Mapping[str, Any]) -> Step:
    """Keep a share of the lines: by a field's value, so that all lines with the same are kept or left out; else by identity."""
    limit, by = int(rule["keep"] * (1 << 64)), rule.get("by")

    def step(record: Record) -> str | None:
        value = None if by is None else record.fields.get(by)
        if value is not None:
            drawn = xxhash.xxh64_intdigest(utf8(value))
        else:
            identity = record.identity.copy()
            identity.update(b"%d" % record.position)
            drawn = identity.intdigest()
        return None if drawn < limit else SAMPLED

    return step


def limit(record: Record) -> str | None:
    """So many lines as the chunk's row allows."""
    if record.allowance <= 0:
        return LIMITED
    record.allowance -= 1
    return None
