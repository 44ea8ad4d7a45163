"""The inputs of a configuration, as the loop uses them."""

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from headrace.agents.directory.folder import Folder
from headrace.agents.effects import Input
from headrace.agents.events.pipeline import with_container, with_schema
from headrace.agents.events.schemas.choice import ENVELOPE, OWN, TopicSchema
from headrace.agents.input_names import names_of
from headrace.agents.metrics import Component
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.start import start_of
from headrace.agents.tail.containers import container_of, excluded
from headrace.agents.tail.files import Globs

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig, InputSection
    from headrace.agents.directory.keys import DirectoryKeys


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read, what is pushed and how all of it is shipped (by name), where it goes, and how metrics call each input."""

    globs: tuple[Globs, ...]
    folders: tuple[Folder, ...]
    pushed: dict[str, "InputSection"]
    how: dict[str, Input]
    topics: tuple[str, ...]
    components: dict[str, Component]

    @classmethod
    def of(cls, config: "AgentConfig") -> "Inputs":
        """Those of a configuration."""
        named = dict(zip(names_of(config), config.inputs, strict=True))
        how = {name: _how_of(config, each, name) for name, each in named.items()}
        logs = {name: each for name, each in named.items() if not each.is_pushed and each.directory is None}
        globs = tuple(_globs(each, how[name]) for name, each in logs.items())
        folders = tuple(_folder(each.directory, each, how[name]) for name, each in named.items() if each.directory is not None)
        pushed = {name: each for name, each in named.items() if each.is_pushed}
        components = {name: Component(name, each.kind) for name, each in named.items()}
        return cls(globs, folders, pushed, how, tuple(sorted({each.topic for each in config.inputs})), components)


def unfinished(rows: Iterable[StreamRow], chunks: Collection[ChunkRow]) -> list[Input]:
    """How what was on its way when the agent ended is written."""
    ids = {chunk.stream_id for chunk in chunks}
    topic_of = {row.stream_id: row.topic for row in rows if row.stream_id in ids}
    return [Input(topic_of[chunk.stream_id], chunk.pipeline) for chunk in chunks if chunk.stream_id in topic_of]


def schema_of(config: "AgentConfig", topic: str) -> TopicSchema:
    """The schema of a topic's records, as the registry has it."""
    section = config.topics.get(topic)
    if section is None:
        return TopicSchema(ENVELOPE, config.registry.url)
    return TopicSchema(OWN if section.text else section.schema_, config.registry.url, section.text)


def _how_of(config: "AgentConfig", keys: "InputSection", name: str) -> Input:
    """How an input's lines are shipped."""
    pipeline = with_schema(keys.pipeline, schema_of(config, keys.topic))
    return Input(
        keys.topic,
        pipeline,
        keys.service,
        keys.max_line_bytes,
        name,
        keys.decompress,
        keys.max_held_bytes,
        keys.max_held_age_ms,
        start_of(keys.start),
    )


def _folder(directory: "DirectoryKeys", keys: "InputSection", how: Input) -> Folder:
    """The folder of an input of dropped files."""
    return Folder(
        os.path.abspath(directory.path),
        how,
        directory.when_done,
        directory.suffix,
        directory.settle_ms,
        tuple(directory.unfinished),
        directory.subfolders,
        tuple(keys.exclude),
    )


def _globs(keys: "InputSection", how: Input) -> Globs:
    """The files of an input that is logs."""
    if keys.containers is None:
        assert keys.tail is not None
        return Globs(tuple(keys.tail), tuple(keys.exclude), how)

    @lru_cache(maxsize=4096)
    def of_container(path: str) -> Input:
        container = container_of(path)
        service = keys.service or container.get("container") or container.get("container_id", "")[:12] or None
        pipeline = with_container(how.pipeline, container, keys.max_line_bytes)
        return replace(how, pipeline=pipeline, service=service)

    left_out = (*keys.exclude, *excluded(keys.containers, os.environ))
    return Globs(tuple(keys.containers.paths), left_out, how, of_container)
