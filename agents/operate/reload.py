"""SIGHUP: the configuration is read again. What may change while the agent runs changes; of the rest it is said what waits.

Inputs may change, and what becomes of their lines. Standard input may not: it is what the agent was begun with, and cannot be
opened again. Where positions are kept and how the broker is reached may not: what is on its way belongs to them. A reload may
end at any point: the next start reads the file anew.
"""

import logging
from collections.abc import Callable, Iterator
from threading import Event
from typing import TYPE_CHECKING, cast

from headrace.agents.events.transforms.function import split_name
from headrace.agents.input_names import names_of, twice_named
from headrace.agents.metrics import Metrics
from headrace.errors import ConfigError, StorageError, UsageError
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig
    from headrace.agents.sources.keys import StdinKeys

logger = logging.getLogger(__name__)


class Reloads:
    """Of one agent.

    Args:
        read: reads the file, as at the start.
        running: what it said at the start.
    """

    def __init__(self, read: Callable[[], "AgentConfig"], running: "AgentConfig", asked: Event, metrics: Metrics) -> None:
        self._read, self._running, self._asked, self._metrics = read, running, asked, metrics

    def take(self, use: Callable[["AgentConfig"], None]) -> None:
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
        except UsageError as error:
            logger.error("the configuration is invalid, and the old one goes on", extra=_told(error))
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
        if named := sorted(set(_module_functions(config))):
            words = "functions of modules are as they were loaded: a restart loads them again, or name their files"
            logger.warning(words, extra={"functions": named})
        logger.info("configuration read again", extra={"inputs": len(config.inputs)})
        self._metrics.reloaded("applied")
        self._running = config


def _told(error: UsageError) -> dict[str, object]:
    return {"error": str(error), **({"errors": error.lines} if len(error.lines) > 1 else {})}


def _module_functions(config: "AgentConfig") -> Iterator[str]:
    """Users' functions that are not known by their file's content, so that nothing tells whether they have changed."""
    for each in config.inputs:
        for step in each.transforms:
            if step.python is not None and not split_name(step.python)[0].endswith(".py"):
                yield step.python


def _with_fixed(running: "AgentConfig", found: "AgentConfig") -> "AgentConfig":
    """What may change of the new one and the rest of the old.

    Raises:
        ConfigError: they do not go together.
    """
    inputs, schemas = found.inputs, found.topics
    if _stdin(running) != _stdin(found):
        kept = [each for each in running.inputs if each.stdin is not None]
        inputs = [*(each for each in found.inputs if each.stdin is None), *kept]
        schemas = {**schemas, **{each.topic: running.topics[each.topic] for each in kept if each.topic in running.topics}}
    if twice := twice_named(inputs):
        raise ConfigError(f"its inputs do not go with what runs: two inputs are named {twice}; restart the agent")
    if running.dead_letter.topic in {each.topic for each in inputs}:
        raise ConfigError(
            f"its inputs do not go with what runs: {running.dead_letter.topic} is the topic of dead letters; restart the agent"
        )
    agent = _settings(running.agent).with_values(grace_ms=found.agent.grace_ms)
    topics = {each.topic: schemas[each.topic] for each in inputs if each.topic in schemas}
    return cast("AgentConfig", _settings(running).with_values(agent=agent, inputs=inputs, topics=topics))


def _fixed_changes(running: "AgentConfig", found: "AgentConfig") -> Iterator[str]:
    """Names of keys, not their values: some are secrets."""
    if _stdin(running) != _stdin(found):
        yield "inputs (stdin)"
    now, then = _settings(running).by_key, _settings(found).by_key
    for name in now:
        if name not in ("inputs", "topics"):
            yield from _changes(name, _values(now[name]), _values(then[name]))


def _stdin(config: "AgentConfig") -> "dict[str, StdinKeys]":
    """The inputs that are the agent's standard input, by name."""
    named = zip(names_of(config), config.inputs, strict=True)
    return {name: each.stdin for name, each in named if each.stdin is not None}


def _settings(section: object) -> Settings:
    """A section as what it is in a running agent."""
    assert isinstance(section, Settings)
    return section


def _values(section: object) -> dict[str, object]:
    if isinstance(section, Settings):
        return {key: value for key, value in section.by_key.items() if key != "grace_ms"}
    return dict(section) if isinstance(section, dict) else {}


def _changes(name: str, running: dict[str, object], found: dict[str, object]) -> Iterator[str]:
    for key in sorted(running.keys() | found.keys()):
        if running.get(key) != found.get(key):
            yield f"{name}.{key}"
