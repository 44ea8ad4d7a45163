"""What stands against a change: modes, references, compatibility. Reads the fold, changes nothing.

Schemas are parsed and compared in threads: some are large, and Protobuf has a compiler of its own to run.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from headrace.schemas.compatibility import compared, problems
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.kinds import Parsed, Resolved, parse
from headrace.schemas.refusals import RestError
from headrace.schemas.schema import Reference, Schema
from headrace.schemas.settings import DEFAULT_MODE
from headrace.schemas.store import SchemaStore, Version
from headrace.schemas.subjects import split, within

_MOST_REFERENCES: Final = 1000
_DEEPEST: Final = 50


def may_change(store: SchemaStore, subject: str | None) -> None:
    """Return if the mode of a subject (of all, if None) lets change what is there."""
    if store.settings.mode_in_force(subject).startswith("READONLY"):
        raise RestError(422, 42205, f"{_named(subject)} is in read-only mode")


def may_register(store: SchemaStore, subject: str, *, with_id: bool) -> None:
    """Return if the mode of a subject lets register a schema there, with a chosen id or with the registry's."""
    may_change(store, subject)
    mode = store.settings.mode_in_force(subject)
    if with_id and mode != "IMPORT":
        raise RestError(422, 42205, f"{_named(subject)} is not in import mode: the registry chooses id and version")
    if not with_id and mode != DEFAULT_MODE:
        raise RestError(422, 42205, f"{_named(subject)} is not in read-write mode, but in {mode}")


def _named(subject: str | None) -> str:
    return "The registry" if subject is None else f"Subject {subject} in context {split(subject)[0]}"


def has_schemas(store: SchemaStore, subject: str | None) -> bool:
    """Whether there is a version, also a deleted one, in a subject, a context, or at all."""
    if subject is None:
        return bool(store.subjects(deleted=True))
    return bool(store.versions(subject, deleted=True) if split(subject)[1] else store.subjects(deleted=True, prefix=subject))


def not_referenced(store: SchemaStore, version: Version) -> None:
    """Return if nothing that is live refers to a version."""
    referrers = [one for one in store.referrers(version) if not one.value.deleted]
    if referrers:
        by = f"version {referrers[0].version} of subject {referrers[0].subject}"
        raise RestError(422, 42206, f"Version {version.version} of subject {version.subject} is referenced by {by}")


def resolved(store: SchemaStore, references: Iterable[Reference], context: str) -> list[Resolved]:
    """What references point to, each after what it refers to itself; a name that comes twice counts once.

    Raises:
        InvalidSchemaError: it is not there.
    """
    found: dict[str, Resolved] = {}
    _resolve(store, references, context, found, set())
    return list(found.values())


def _resolve(
    store: SchemaStore, references: Iterable[Reference], context: str, found: dict[str, Resolved], above: set[str]
) -> None:
    for one in references:
        subject = within(one.subject, context)
        if one.name in found or one.name in above:
            continue
        version = store.version(subject, one.version, deleted=True)
        if version is None:
            raise InvalidSchemaError(f"reference {one.name}: there is no version {one.version} of subject {subject}")
        if len(above) >= _DEEPEST or len(found) >= _MOST_REFERENCES:
            raise InvalidSchemaError(f"more than {_MOST_REFERENCES} references, or {_DEEPEST} one within another")
        _resolve(store, version.schema.references, split(subject)[0], found, above | {one.name})
        found[one.name] = Resolved(one.name, version.schema.text)


async def parsed(store: SchemaStore, subject: str, schema: Schema) -> Parsed:
    """A schema as its type sees it.

    Raises:
        InvalidSchemaError: it is none of its type, or a reference points nowhere.
    """
    references = resolved(store, schema.references, split(subject)[0])
    return await asyncio.to_thread(parse, schema.kind, schema.text, references)


async def check(store: SchemaStore, subject: str, schema: Schema, earlier: Sequence[Version]) -> None:
    """Return if a schema may follow these versions of a subject.

    Raises:
        RestError: it is incompatible (409).
    """
    level = store.settings.level(subject)
    found = await incompatibilities(store, subject, schema, earlier)
    if found:
        raise RestError(409, 409, f"Schema being registered is incompatible with an earlier schema for subject "
                        f"\"{subject}\", compatibility {level}: {found}")  # fmt: skip


async def incompatibilities(store: SchemaStore, subject: str, schema: Schema, earlier: Sequence[Version]) -> list[str]:
    """What stands against a schema after these versions of a subject, at its level.

    With a `compatibilityGroup` only versions count whose metadata has the same property of that name.
    """
    config = store.settings.config_in_force(subject)
    level, group = store.settings.level(subject), config.get("compatibilityGroup")
    if group:
        earlier = [one for one in earlier if _property(one.schema, group) == _property(schema, group)]
    against = compared(level, earlier)
    if not against:
        return []
    try:
        new = await parsed(store, subject, schema)
        old = [await parsed(store, one.subject, one.schema) for one in against]
    except InvalidSchemaError as error:
        return [f"it cannot be compared with an earlier version: {error}"]
    found = await asyncio.to_thread(problems, level, new, old)
    versions = ", ".join(str(one.version) for one in against)
    return [*found, f"compared with version {versions} at level {level}"] if found else []


def _property(schema: Schema, name: str) -> object:
    properties = (schema.metadata or {}).get("properties")
    return properties.get(name) if isinstance(properties, dict) else None
