"""What a registry does: questions answered from the fold, changes made by way of the log.

Runs on one event loop, which owns the fold. A change is answered only when its own record has been read back and found in
force. The log may be shared with other registries: `store.py` says how they agree.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from headrace.errors import PeerError
from headrace.schemas import contract, judging
from headrace.schemas.records import (
    ConfigKey,
    ContextKey,
    DeleteSubjectKey,
    ModeKey,
    SchemaKey,
    SchemaValue,
    encode_config,
    encode_deletion,
    encode_mode,
    schema_value,
)
from headrace.schemas.refusals import RestError
from headrace.schemas.schema import Schema
from headrace.schemas.schema_log import LogRecord, SchemaLog
from headrace.schemas.store import SchemaStore, Version
from headrace.schemas.subjects import joined, split

logger = logging.getLogger(__name__)
T = TypeVar("T")
_READ_BACK_S: Final = 15.0
_TRIES: Final = 100
NEXT: Final = -1  # as a version: whatever is next, and its metadata says so
_FROM_CONFIG: Final = {"defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet"}


class Registry:
    """One registry on one log; it must be given the log's records as `LogReader`."""

    def __init__(self, log: SchemaLog) -> None:
        self.store = SchemaStore()
        self.ready = asyncio.Event()  # set once the log has been read to its end
        self.log = log
        self._position = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._changing = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None
        self._repairing: asyncio.Task[None] | None = None

    def on_records(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self.store.apply(record.entry)
        if records:
            self._advance(records[-1].offset + 1)
        self._repair_soon()

    def on_end(self, offset: int) -> None:
        self._advance(offset)
        self.ready.set()
        self._repair_soon()

    def _advance(self, position: int) -> None:
        self._position = max(self._position, position)
        for wanted, reached in self._waiting:
            if wanted <= self._position and not reached.done():
                reached.set_result(None)
        self._waiting = [(wanted, reached) for wanted, reached in self._waiting if wanted > self._position]

    async def _reach(self, position: int) -> None:
        if position <= self._position:
            return
        reached = asyncio.get_running_loop().create_future()
        self._waiting.append((position, reached))
        try:
            await asyncio.wait_for(reached, _READ_BACK_S)
        except TimeoutError:
            raise RestError(500, 50002, f"the record was not read back within {_READ_BACK_S:g} s; try again") from None

    async def _write(self, key: bytes, value: bytes | None) -> None:
        try:
            offset = await self.log.append(key, value)
        except PeerError as error:
            raise RestError(500, 50001, str(error)) from error
        await self._reach(offset + 1)

    def _repair_soon(self) -> None:
        """Compaction must not come first, whoever wrote the void record and died."""
        idle = self._repairing is None or self._repairing.done()
        if idle and self.ready.is_set() and self.store.repair() is not None:
            self._repairing = asyncio.create_task(self._repair_now())

    async def _repair_now(self) -> None:
        try:
            async with self._changing:
                await self._repair()
        except RestError as error:  # whoever changes something next tries again
            logger.warning("a void record is not yet repaired", extra={"reason": str(error)})

    async def _repair(self) -> None:
        while record := self.store.repair():
            await self._write(*record)

    async def change(self, decide: Callable[[], Sequence[tuple[bytes, bytes | None]]]) -> None:
        """Write the records that `decide` makes of the fold; nobody here changes anything in between."""
        async with self._changing:
            await self._repair()
            for record in decide():
                await self._write(*record)

    async def known(self, look: Callable[[], T | None]) -> T | None:
        """What `look` finds in the fold; where it finds nothing, once more when the fold has caught up with the log's end.

        Another registry may have answered a client a moment ago.
        """
        found = look()
        if found is not None:
            return found
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.create_task(self._catch_up())
        await asyncio.shield(self._catching_up)
        return look()

    async def _catch_up(self) -> None:
        try:
            end = await self.log.end_offset()
        except PeerError as error:
            raise RestError(503, 50301, f"not known here, and the log cannot be asked: {error}") from error
        await self._reach(end)

    async def register(self, subject: str, schema: Schema, chosen: "Chosen | None" = None) -> Version:
        """Register a schema under a subject, or find it there.

        Args:
            schema: its type has accepted it.
            chosen: id and version, where the subject is in mode IMPORT; else the version that must be the next one, or -1 for
                any that is to say its number in its metadata.
        Raises:
            RestError: it is incompatible (409), the subject's mode forbids it (422), or the log did not take it (5xx).
        """
        chosen = chosen or Chosen()
        found = await self._there(subject, schema, chosen)
        if found is not None:
            return found
        held_against = await self._checked(subject, schema, chosen)  # takes seconds, so nobody waits for it
        async with self._changing:
            for _ in range(_TRIES):
                await self._repair()
                found = await self._there(subject, schema, chosen)
                found = found or await self._register(subject, schema, chosen, held_against)
                if found is not None:
                    return found
        raise RestError(500, 50001, f"other registries kept on changing {subject}; try again")

    async def look_up(self, subject: str, schema: Schema, *, deleted: bool = False) -> Version | None:
        """Find a schema under a subject; one without metadata and rules may have those of the newest version."""
        found = self.store.find(subject, schema, deleted=deleted)
        found = found or self.store.find(subject, self._completed(subject, schema), deleted=deleted)
        return found or await judging.written_out(self.store, subject, schema, deleted=deleted)

    async def _there(self, subject: str, schema: Schema, chosen: "Chosen") -> Version | None:
        """The version that a registration would make, if it is there."""
        versions = self.store.versions(subject)[::-1]
        if chosen.id is not None:
            same = (one for one in versions if one.value.id == chosen.id and chosen.version in (None, one.version))
            return next((one for one in same if schema.stands_for(one.schema, one.version)), None)
        if chosen.version == NEXT:
            return versions[0] if versions and schema.stands_for(versions[0].schema, versions[0].version) else None
        if chosen.version is not None:
            return None
        if _FROM_CONFIG & self.store.settings.config_in_force(subject).keys():
            return self.store.find(subject, self._completed(subject, schema))
        return await self.look_up(subject, schema)

    def _completed(self, subject: str, schema: Schema, version: int | None = None, *, count: bool = False) -> Schema:
        """The same with the metadata and rules that it gets as the next version of a subject."""
        earlier = self.store.versions(subject)
        last = (earlier[-1].schema.metadata, earlier[-1].schema.rule_set) if earlier else (None, None)
        config = self.store.settings.config_in_force(subject)
        metadata, rules = contract.completed((schema.metadata, schema.rule_set), last, config)
        if version is not None and (count or contract.count_in(metadata) is not None):
            metadata = contract.counted(metadata, version)
        return schema.under(metadata, rules)

    async def _checked(self, subject: str, schema: Schema, chosen: "Chosen", before: object = None) -> object:
        """Return if a schema may be the next version of a subject: what it was held against, which needs no second look."""
        judging.may_register(self.store, subject, with_id=chosen.id is not None)
        if chosen.id is not None:
            return None
        new = self._next(subject, schema, chosen)
        versions, config = self.store.versions(subject), self.store.settings.config_in_force(subject)
        held_against = new.identity, [(one.version, one.schema.identity) for one in versions], config
        if held_against != before:
            await judging.check(self.store, subject, new, versions)
        return held_against

    def _next(self, subject: str, schema: Schema, chosen: "Chosen") -> Schema:
        return self._completed(subject, schema, self.store.next_version(subject), count=chosen.version is not None)

    async def _register(self, subject: str, schema: Schema, chosen: "Chosen", held_against: object) -> Version | None:
        """Write the record; the version, or None if it turned out void."""
        await self._checked(subject, schema, chosen, held_against)
        if chosen.id is None:
            schema = self._next(subject, schema, chosen)
            key, value = self.store.new_version(subject, schema)
            if chosen.version not in (None, NEXT, key.version):
                raise RestError(422, 42201, f"Version is not one more than previous version: {key.version} would be next")
        else:
            key, value = self._imported(subject, schema, chosen, chosen.id)
        context = split(subject)[0]
        if context not in self.store.contexts():
            await self._write(ContextKey(context).encode(), ContextKey(context).value())
        await self._write(key.encode(), value.encode())
        bound = self.store.version(subject, key.version)
        mine = bound is not None and (bound.value.id, bound.schema.identity) == (value.id, value.schema.identity)
        return bound if mine else None

    def _imported(self, subject: str, schema: Schema, chosen: "Chosen", schema_id: int) -> tuple[SchemaKey, SchemaValue]:
        owner = self.store.identity_of(subject, schema_id)
        if owner not in (None, schema.identity):
            raise RestError(422, 42205, f"Overwrite new schema with id {schema_id} is not permitted.")
        version = self.store.next_version(subject) if chosen.version in (None, NEXT) else chosen.version
        assert version is not None
        if self.store.version(subject, version, deleted=True) is not None:
            raise RestError(422, 42205, f"Version {version} of subject {subject} is there already")
        return SchemaKey(subject, version), schema_value(subject, version, schema_id, schema)

    async def set_config(self, subject: str | None, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change members of a configuration, and return it; one that is None is taken back."""
        judging.may_change(self.store, subject)
        async with self._changing:
            config = {**self.store.settings.config(subject), **changes}
            kept = {name: value for name, value in config.items() if value is not None}
            await self._write(ConfigKey(subject).encode(), encode_config(subject, kept) if kept else None)
            return kept

    async def unset_config(self, subject: str | None) -> None:
        """Take back the configuration of a subject, of a context, or of all."""
        judging.may_change(self.store, subject)
        async with self._changing:
            await self._write(ConfigKey(subject).encode(), None)

    async def set_mode(self, subject: str | None, mode: str, *, force: bool) -> None:
        """Set the mode of a subject, of a context, or of all.

        IMPORT, unless forced, only where there are no live schemas; deleted ones are deleted for good, to make room.
        """
        if mode == "IMPORT" and not force:
            there = judging.within_scope(self.store, subject)
            if any(not one.value.deleted for one in there):
                raise RestError(422, 42205, "Cannot import since found existing subjects")
            await self.delete_for_good(there)
        async with self._changing:
            await self._write(ModeKey(subject).encode(), encode_mode(subject, mode))

    async def unset_mode(self, subject: str | None, *, recursive: bool = False) -> None:
        """Take back the mode of a subject, of a context, or of all; `recursive` those of the context's subjects too."""
        async with self._changing:
            for one in self.store.settings.modes_within(subject) if recursive else ():
                await self._write(ModeKey(one).encode(), None)
            if self.store.settings.mode(subject) is not None:
                await self._write(ModeKey(subject).encode(), None)

    async def delete_version(self, version: Version) -> None:
        """Delete a version softly: it is listed no more, and its id still answers."""
        async with self._changing:
            await self._repair()
            self._may_delete([version])
            value = replace(version.value, deleted=True)
            await self._write(SchemaKey(version.subject, version.version).encode(), value.encode())
            if not self.store.versions(version.subject):
                await self._unset_all(version.subject)

    async def delete_subject(self, subject: str, versions: Sequence[Version]) -> None:
        """Delete these versions of a subject and all before them, softly, and what was set for it."""
        async with self._changing:
            self._may_delete(versions)
            await self._write(DeleteSubjectKey(subject).encode(), encode_deletion(subject, versions[-1].version))
            await self._unset_all(subject)

    async def _unset_all(self, subject: str) -> None:
        if self.store.settings.config(subject):
            await self._write(ConfigKey(subject).encode(), None)
        if self.store.settings.mode(subject) is not None:
            await self._write(ModeKey(subject).encode(), None)

    async def delete_context(self, context: str) -> None:
        """Delete a context without subjects, and what was set for it; its ids stay their schemas'."""
        scope = joined(context, "")
        judging.may_change(self.store, scope)
        async with self._changing:
            await self._repair()
            if judging.within_scope(self.store, scope):
                raise RestError(422, 42211, f"The specified context '{context}' is not empty.")
            await self._unset_all(scope)
            await self._write(ContextKey(context).encode(), None)

    async def delete_for_good(self, versions: Sequence[Version]) -> None:
        """Delete versions of which nothing shall be left; all must have been deleted softly."""
        async with self._changing:
            await self._repair()
            self._may_delete(versions)
            for one in versions:
                if self.store.version(one.subject, one.version, deleted=True) is None:
                    continue
                if self.store.last_of_its_id(one):
                    await self._write(*self.store.spending(split(one.subject)[0], one.value.id))
                await self._write(SchemaKey(one.subject, one.version).encode(), None)

    def _may_delete(self, versions: Sequence[Version]) -> None:
        for one in versions:
            judging.may_change(self.store, one.subject)
            judging.not_referenced(self.store, one)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What whoever registers a schema decides; None leaves it to the registry."""

    id: int | None = None
    version: int | None = None
