"""SIGHUP: the configuration is read again. What may change while the agent runs changes; of the rest it is said what waits.

Files that are tailed may change. What is pushed may not: who pushes holds on to a port, a pipe or a spool. Where positions are
kept and how the broker is reached may not: what is on its way belongs to them. Nothing durable is touched, so a reload may end
at any point: the next start reads the file anew.
"""

import logging
from collections.abc import Callable, Iterator
from threading import Event

from pydantic import BaseModel, ValidationError

from headrace.agents.configuration import AgentConfig, InputSection, TopicSection
from headrace.agents.metrics import Metrics
from headrace.errors import ConfigError

logger = logging.getLogger(__name__)


class Reloads:
    """Of one agent.

    Args:
        read: reads the file, as at the start.
        running: what it said at the start.
    """

    def __init__(self, read: Callable[[], AgentConfig], running: AgentConfig, asked: Event, metrics: Metrics) -> None:
        self._read, self._running, self._asked, self._metrics = read, running, asked, metrics

    def take(self) -> AgentConfig | None:
        """What to go on with, if somebody has asked for a reload and the file is valid; the old one goes on if it is not."""
        if not self._asked.is_set():
            return None
        self._asked.clear()
        try:
            found = self._read()
            config = _with_fixed(self._running, found)
        except ConfigError as error:
            logger.error("the configuration is invalid, and the old one goes on", extra={"error": str(error)})
            self._metrics.reloaded("invalid")
            return None
        if waiting := list(_fixed_changes(self._running, found)):
            logger.warning("these keys change with a restart only", extra={"keys": waiting})
        logger.info("configuration read again", extra={"inputs": len(config.inputs)})
        self._metrics.reloaded("applied")
        self._running = config
        return config


def _with_fixed(running: AgentConfig, found: AgentConfig) -> AgentConfig:
    """The files of the new one and the rest of the old, checked together."""
    agent = running.agent.model_copy(update={"grace_ms": found.agent.grace_ms})
    inputs = [*_files(found), *_pushed(running)]
    schemas = {**found.topics, **_pushed_schemas(running)}
    topics = {each.topic: schemas[each.topic] for each in inputs if each.topic in schemas}
    sections = {name: getattr(running, name) for name in AgentConfig.model_fields}
    try:
        return AgentConfig.model_validate({**sections, "agent": agent, "inputs": inputs, "topics": topics})
    except ValidationError as error:
        raise ConfigError(f"its inputs do not go with what runs: {error.errors()[0]['msg']}") from None


def _fixed_changes(running: AgentConfig, found: AgentConfig) -> Iterator[str]:
    """Names of keys, not their values: some are secrets."""
    if _pushed(running) != _pushed(found) or _pushed_schemas(running) != _pushed_schemas(found):
        yield "inputs (what is pushed)"
    for name in AgentConfig.model_fields:
        if name not in ("inputs", "topics"):
            yield from _changes(name, _values(getattr(running, name)), _values(getattr(found, name)))


def _files(config: AgentConfig) -> list[InputSection]:
    return [each for each in config.inputs if not each.is_pushed]


def _pushed(config: AgentConfig) -> list[InputSection]:
    return [each for each in config.inputs if each.is_pushed]


def _pushed_schemas(config: AgentConfig) -> dict[str, TopicSection]:
    return {each.topic: config.topics[each.topic] for each in _pushed(config) if each.topic in config.topics}


def _values(section: object) -> dict[str, object]:
    if isinstance(section, BaseModel):
        fields = type(section).model_fields
        return {field.alias or name: getattr(section, name) for name, field in fields.items() if name != "grace_ms"}
    return dict(section) if isinstance(section, dict) else {}


def _changes(name: str, running: dict[str, object], found: dict[str, object]) -> Iterator[str]:
    for key in sorted(running.keys() | found.keys()):
        if running.get(key) != found.get(key):
            yield f"{name}.{key}"
