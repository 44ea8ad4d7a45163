"""What stands against a change: modes, references, compatibility. Reads the fold, changes nothing.

Schemas are parsed and compared in threads (`off_loop`): some are large, and Protobuf has a compiler of its own to run.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from headrace.schemas import contract
from headrace.schemas.compatibility import LENIENT, compared, problems
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.kinds import Parsed, parse
from headrace.schemas.off_loop import off_loop
from headrace.schemas.references import Reference, Resolved
from headrace.schemas.refusals import RestError
from headrace.schemas.schema import Draft, Schema
from headrace.schemas.settings import DEFAULT_MODE
from headrace.schemas.store import SchemaStore, Version
from headrace.schemas.subjects import EVERY_CONTEXT, split, within

_MOST_REFERENCES: Final = 1000
_DEEPEST: Final = 50
_LONGEST_TOLD: Final = 10_240  # characters of a schema in an error


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


def within_scope(store: SchemaStore, subject: str | None) -> list[Version]:
    """All versions, also deleted ones, of a subject, of a context, or (None) of all contexts."""
    if subject is not None and split(subject)[1]:
        return store.versions(subject, deleted=True)
    subjects = store.subjects(deleted=True, prefix=EVERY_CONTEXT if subject is None else subject)
    return [version for one in subjects for version in store.versions(one, deleted=True)]


def not_referenced(store: SchemaStore, version: Version) -> None:
    """Return if nothing that is live refers to a version."""
    if any(not one.value.deleted for one in store.referrers(version)):
        key = f"{{magic=1,keytype=SCHEMA,subject={version.subject},version={version.version}}}"
        raise RestError(422, 42206, f"One or more references exist to the schema {key}.")


def resolved(store: SchemaStore, references: Iterable[Reference], context: str, *, live: bool = False) -> list[Resolved]:
    """What references point to, each after what it refers to itself; a name that comes twice counts once.

    Raises:
        InvalidSchemaError: it is not there, or where it must be `live`, it was deleted.
    """
    found: dict[str, Resolved] = {}
    for one in references if live else ():
        if store.version(within(one.subject, context), one.version) is None:
            raise InvalidSchemaError(f'No schema reference found for subject "{one.subject}" and version {one.version}')
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
            raise InvalidSchemaError(f'No schema reference found for subject "{subject}" and version {one.version}')
        if len(above) >= _DEEPEST or len(found) >= _MOST_REFERENCES:
            raise InvalidSchemaError(f"more than {_MOST_REFERENCES} references, or {_DEEPEST} one within another")
        _resolve(store, version.schema.references, split(subject)[0], found, above | {one.name})
        found[one.name] = Resolved(one.name, version.schema.text)


async def parsed(store: SchemaStore, subject: str, schema: Schema | Draft, *, live: bool = False) -> Parsed:
    """A schema as its type sees it.

    Raises:
        InvalidSchemaError: it is none of its type, or a reference points nowhere (to nothing live, if `live`).
    """
    references = resolved(store, schema.references, split(subject)[0], live=live)
    size = len(schema.text) + sum(len(one.text) for one in references)
    return await off_loop(size, parse, schema.kind, schema.text, references)


async def written_out(store: SchemaStore, subject: str, schema: Schema, *, deleted: bool) -> Version | None:
    """The newest version that says with references what a schema without any says in full (Avro)."""
    if schema.references or schema.has_contract:
        return None
    for one in reversed(store.versions(subject, deleted=deleted)):
        if one.schema.references and one.schema.kind == schema.kind:
            try:
                text = getattr(await parsed(store, subject, one.schema), "resolved", None)
            except InvalidSchemaError:
                continue
            if text is not None and (await off_loop(len(text), Schema, schema.kind, text)).plain == schema.plain:
                return one
    return None


async def check(store: SchemaStore, subject: str, schema: Schema, earlier: Sequence[Version]) -> None:
    """Return if a schema may follow these versions of a subject.

    Raises:
        RestError: it is incompatible (409).
    """
    found = await incompatibilities(store, subject, schema, earlier)
    if found:
        details = ", ".join(found)
        raise RestError(409, 409, f"Schema being registered is incompatible with an earlier schema for subject "
                        f"\"{subject}\", details: [{details}]")  # fmt: skip


async def incompatibilities(store: SchemaStore, subject: str, schema: Schema, earlier: Sequence[Version]) -> list[str]:
    """What stands against a schema after these versions of a subject, as its configuration says.

    With a `compatibilityGroup` only versions count whose metadata has the same property of that name.
    """
    config = store.settings.config_in_force(subject)
    level, group, validates = (
        store.settings.level(subject),
        config.get("compatibilityGroup"),
        config.get("validateFields") is True,
    )
    found = _conflicts(await parsed(store, subject, schema), schema, earlier[-1:]) if validates else []
    if group:
        earlier = [one for one in earlier if _property(one.schema, group) == _property(schema, group)]
    for one in reversed(compared(level, earlier)):
        try:
            pair = await parsed(store, subject, schema), await parsed(store, one.subject, one.schema)
        except InvalidSchemaError as error:
            unreadable = [f"it cannot be compared with an earlier version: {error}"]
        else:
            size, lenient = len(schema.text) + len(one.schema.text), config.get("compatibilityPolicy") == LENIENT
            unreadable = await off_loop(size, problems, level, *pair, lenient=lenient)
        if unreadable:
            found += [*unreadable, f"{{oldSchemaVersion: {one.version}}}", f"{{oldSchema: '{_shortened(one.schema.text)}'}}"]
            break
    return [*found, f"{{validateFields: '{str(validates).lower()}', compatibility: '{level}'}}"] if found else []


def _conflicts(new: Parsed, schema: Schema, last: Sequence[Version]) -> list[str]:
    """What stands against a schema's fields: names that metadata reserves, and reservations that were taken back."""
    reserved = contract.reserved_fields(schema.metadata)
    before = contract.reserved_fields(last[0].schema.metadata) if last else set()
    gone = [f"The new schema has reserved field {name} removed from its metadata which is present in the old schema's metadata."
            for name in sorted(before - reserved)]  # fmt: skip
    return [*gone, *(f"The new schema has field that conflicts with the reserved field {name}."
                     for name in sorted(reserved & new.fields()))]  # fmt: skip


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."


def _property(schema: Schema, name: str) -> object:
    properties = (schema.metadata or {}).get("properties")
    return properties.get(name) if isinstance(properties, dict) else None
