"""Everything that can be known of an agent's configuration without shipping."""

import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.agents.configuration import AgentConfig
from headrace.agents.effects import Now
from headrace.agents.events.pipeline import compiled
from headrace.agents.input_names import names_of
from headrace.agents.inputs import Inputs
from headrace.agents.operate.findings import Finding
from headrace.agents.operate.own_output import OwnOutput
from headrace.agents.operate.state_file import LOCK_NAME
from headrace.agents.operate.validate_directory import folders_of
from headrace.agents.operate.validate_files import Matched, files_of
from headrace.agents.operate.validate_pushed import pushed_findings
from headrace.agents.state_generations import FILE_NAME
from headrace.config_file import Place
from headrace.errors import HeadraceError

_KEYS = "see librdkafka's CONFIGURATION.md"


def findings_of(config: AgentConfig, *, connect: bool) -> tuple[list[Matched], list[Finding]]:
    """What the inputs match, and what is wrong or worth a look; `connect` also asks the broker and the registry."""
    own = OwnOutput(frozenset(), os.path.realpath(config.agent.state_dir))
    places = {name: f"inputs.{index}" for index, name in enumerate(names_of(config))}
    inputs = Inputs.of(config)
    matched, told = files_of([(places[each.input.name], each) for each in inputs.globs], own)
    now = Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)
    dropped, more = folders_of([(places[each.input.name], each) for each in inputs.folders], own, now)
    matched, told = [*matched, *dropped], [*told, *more]
    told = [*_of_agent(config), *_of_pipelines(config), *_of_keys(config), *pushed_findings(config), *told]
    if connect:
        told += _of_servers(config)
    return matched, told


def topic_keys(config: AgentConfig) -> dict[str, Place]:
    """The key that names each topic, where several do the first."""
    keys: dict[str, Place] = {}
    for index, each in enumerate(config.inputs):
        keys.setdefault(each.topic, ("inputs", index, "topic"))
    if config.dead_letter.topic is not None:
        keys.setdefault(config.dead_letter.topic, ("dead_letter", "topic"))
    return keys


def _of_agent(config: AgentConfig) -> Iterator[Finding]:
    """The state directory, which the agent makes, and its parents."""
    directory = config.agent.state_dir.absolute()
    existing = directory
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        what = f"{directory} cannot be written: {existing} is not ours to write"
        yield Finding("error", "agent.state_dir", what, "give it to the agent's user")
    elif others := [path.name for path in _own_files(directory) if not os.access(path, os.R_OK | os.W_OK, effective_ids=True)]:
        what = f"{directory} is another user's: {', '.join(others)} cannot be written"
        yield Finding("error", "agent.state_dir", what, "give all of it to the agent's user (chown -R)")
    elif os.geteuid() == 0 and existing == directory and (owner := existing.stat().st_uid):
        what = f"{directory} belongs to user {_name(owner)}; what that user may not read is not found by root"
        yield Finding("note", "agent.state_dir", what, f"sudo -u {_name(owner)} -g adm headrace agent validate …")
    if config.agent.http is not None and config.agent.http.port == 0:
        yield Finding("warning", "agent.http", "port 0 is another one at each start", "choose a port")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"


def _own_files(directory: Path) -> list[Path]:
    """What a start opens in the state directory, if it is there."""
    return [path for name in (LOCK_NAME, FILE_NAME) if (path := directory / name).exists()]


def _of_pipelines(config: AgentConfig) -> Iterator[Finding]:
    for index, each in enumerate(config.inputs):
        try:
            compiled(each.pipeline)
        except HeadraceError as error:
            yield Finding.of_error(f"inputs.{index}", error, "mend its parser, transforms and patterns")


def _of_keys(config: AgentConfig) -> Iterator[Finding]:
    """librdkafka's own judgement of its keys, by a client that knows no broker and so connects to none."""
    from confluent_kafka import Producer

    from headrace.agents.producer import DEFAULTS, OURS
    from headrace.librdkafka import checked_keys

    keys: dict[str, Any] = {**DEFAULTS, **config.kafka, **OURS}
    del keys["bootstrap.servers"]
    while True:  # it tells of one key at a time
        try:
            with checked_keys(""):
                Producer({**keys, "log_level": 0})
            break
        except HeadraceError as error:
            named = next((key for key in keys if f'"{key}"' in str(error)), None)
            yield Finding.of_error("kafka" if named is None else f"kafka.{named}", error, _KEYS)
            if named is None:
                break
            del keys[named]
    try:
        config.registry.client()
    except HeadraceError as error:
        yield Finding.of_error("registry", error, "name a PEM file with the authorities in ssl.ca.location")


def _of_servers(config: AgentConfig) -> Iterator[Finding]:
    from headrace.agents.operate.validate_broker import broker_findings, registry_findings

    letters = [] if config.dead_letter.topic is None else [config.dead_letter.topic]
    yield from broker_findings(config.kafka, [*Inputs.of(config).topics, *letters], letters)
    yield from registry_findings(config.registry)
