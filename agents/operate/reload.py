"""SIGHUP: the configuration is read again. What may change while the agent runs changes; of the rest it is said what waits.

Inputs may change, and what becomes of their lines. Standard input may not: it is what the agent was begun with, and cannot be
opened again. Where positions are kept and how the broker is reached may not: what is on its way belongs to them. A reload may
end at any point: the next start reads the file anew.
"""

import logging
from collections.abc import Callable, Iterator
from threading import Event

from pydantic import BaseModel, ValidationError

from headrace.agents.configuration import AgentConfig
from headrace.agents.inputs import names_of
from headrace.agents.metrics import Metrics
from headrace.agents.sources.keys import StdinKeys
from headrace.errors import ConfigError, StorageError, UsageError

logger = logging.getLogger(__name__)


class Reloads:
    """Of one agent.

    Args:
        read: reads the file, as at the start.
        running: what it said at the start.
    """

    def __init__(self, read: Callable[[], AgentConfig], running: AgentConfig, asked: Event, metrics: Metrics) -> None:
        self._read, self._running, self._asked, self._metrics = read, running, asked, metrics

    def take(self, use: Callable[[AgentConfig], None]) -> None:
        """Go on with the file, if somebody has asked for a reload and it can be used; the old one goes on if it cannot.

        Args:
            use: goes on with a configuration, or raises UsageError or StorageError and changes nothing.
        """
        if not self._asked.is_set():
            return
        self._asked.clear()
        try:
            found = self._read()
            config = _with_fixed(self._running, found)
        except ConfigError as error:
            logger.error("the configuration is invalid, and the old one goes on", extra={"error": str(error)})
            self._metrics.reloaded("invalid")
            return
        try:
            use(config)
        except (UsageError, StorageError) as error:
            logger.error("the configuration cannot be used, and the old one goes on", extra={"error": str(error)})
            self._metrics.reloaded("refused")
            return
        if waiting := list(_fixed_changes(self._running, found)):
            logger.warning("these keys change with a restart only", extra={"keys": waiting})
        logger.info("configuration read again", extra={"inputs": len(config.inputs)})
        self._metrics.reloaded("applied")
        self._running = config


def _with_fixed(running: AgentConfig, found: AgentConfig) -> AgentConfig:
    """What may change of the new one and the rest of the old, checked together."""
    agent = running.agent.model_copy(update={"grace_ms": found.agent.grace_ms})
    inputs, schemas = found.inputs, found.topics
    if _stdin(running) != _stdin(found):
        kept = [each for each in running.inputs if each.stdin is not None]
        inputs = [*(each for each in found.inputs if each.stdin is None), *kept]
        schemas = {**schemas, **{each.topic: running.topics[each.topic] for each in kept if each.topic in running.topics}}
    topics = {each.topic: schemas[each.topic] for each in inputs if each.topic in schemas}
    sections = {name: getattr(running, name) for name in AgentConfig.model_fields}
    try:
        return AgentConfig.model_validate({**sections, "agent": agent, "inputs": inputs, "topics": topics})
    except ValidationError as error:
        raise ConfigError(f"its inputs do not go with what runs: {error.errors()[0]['msg']}") from None


def _fixed_changes(running: AgentConfig, found: AgentConfig) -> Iterator[str]:
    """Names of keys, not their values: some are secrets."""
    if _stdin(running) != _stdin(found):
        yield "inputs (stdin)"
    for name in AgentConfig.model_fields:
        if name not in ("inputs", "topics"):
            yield from _changes(name, _values(getattr(running, name)), _values(getattr(found, name)))


def _stdin(config: AgentConfig) -> dict[str, StdinKeys]:
    """The inputs that are the agent's standard input, by name."""
    named = zip(names_of(config), config.inputs, strict=True)
    return {name: each.stdin for name, each in named if each.stdin is not None}


def _values(section: object) -> dict[str, object]:
    if isinstance(section, BaseModel):
        fields = type(section).model_fields
        return {field.alias or name: getattr(section, name) for name, field in fields.items() if name != "grace_ms"}
    return dict(section) if isinstance(section, dict) else {}


def _changes(name: str, running: dict[str, object], found: dict[str, object]) -> Iterator[str]:
    for key in sorted(running.keys() | found.keys()):
        if running.get(key) != found.get(key):
            yield f"{name}.{key}"
