"""What a registry does: questions answered from the fold, changes made by way of the log.

Runs on one event loop, which owns the fold. A change is answered only when its own record has been read back and found in
force. The log may be shared with other registries: `store.py` says how they agree.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from headrace.errors import HeadraceError, PeerError
from headrace.schemas.compatibility import LEVELS, AvroSchema, InvalidSchemaError, is_compatible, parse
from headrace.schemas.records import ConfigKey, DeleteSubjectKey, SchemaKey, encode_deletion, encode_level
from headrace.schemas.store import SchemaStore, Version

logger = logging.getLogger(__name__)
T = TypeVar("T")
_READ_BACK_S: Final = 15.0
_TRIES: Final = 100


class RestError(HeadraceError):
    """An answer that is an error, in Confluent's terms: the HTTP status, the code, the message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log; `offset` + 1 is where the next one is, or later."""

    offset: int
    key: bytes | None
    value: bytes | None


class LogReader(Protocol):
    """Who follows the log; called on the event loop."""

    def on_records(self, records: Sequence[LogRecord]) -> None:
        """The next records, in order."""

    def on_end(self, offset: int) -> None:
        """All records before `offset` have been given, and it was the log's end."""


class SchemaLog(Protocol):
    """The topic `_schemas`; the one on Kafka and the one in memory pass the same contract tests."""

    async def append(self, key: bytes, value: bytes | None) -> int:
        """Write one record, acknowledged by all in-sync replicas, and return its offset.

        Raises:
            PeerError: it was not acknowledged; it may be in the log all the same.
        """
        ...

    async def end_offset(self) -> int:
        """Where the next record will go.

        Raises:
            PeerError: the broker does not say.
        """
        ...


class Registry:
    """One registry on one log; it must be given the log's records as `LogReader`."""

    def __init__(self, log: SchemaLog) -> None:
        self.store = SchemaStore()
        self.ready = asyncio.Event()  # set once the log has been read to its end
        self._log = log
        self._position = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._changing = asyncio.Lock()
        self._catching_up: asyncio.Task[None] | None = None
        self._repairing: asyncio.Task[None] | None = None

    def on_records(self, records: Sequence[LogRecord]) -> None:
        for record in records:
            self.store.apply(record.key, record.value)
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
            offset = await self._log.append(key, value)
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
            key, value = record
            await self._write(key.encode(), value.encode())

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
            end = await self._log.end_offset()
        except PeerError as error:
            raise RestError(503, 50301, f"not known here, and the log cannot be asked: {error}") from error
        await self._reach(end)

    async def register(self, subject: str, schema: AvroSchema) -> Version:
        """Register a schema under a subject, or find it there.

        Raises:
            RestError: it is incompatible (409), or the log did not take it (5xx).
        """
        found = self.store.find(subject, schema.identity)
        if found is not None:
            return found
        async with self._changing:
            for _ in range(_TRIES):
                await self._repair()
                found = self.store.find(subject, schema.identity)
                if found is not None:
                    return found
                self._check(subject, schema)
                key, value = self.store.new_version(subject, schema.text, schema.identity)
                await self._write(key.encode(), value.encode())
        raise RestError(500, 50001, f"other registries kept on changing {subject}; try again")

    def _check(self, subject: str, schema: AvroSchema) -> None:
        level = self.store.effective_level(subject)
        problems = self.problems(level, schema, self.store.versions(subject))
        if problems:
            raise RestError(409, 409, f"Schema being registered is incompatible with an earlier schema for subject "
                            f"\"{subject}\", compatibility {level}: {problems}")  # fmt: skip

    def problems(self, level: str, schema: AvroSchema, earlier: Sequence[Version]) -> list[str]:
        """What stands against a schema after these versions."""
        try:
            return is_compatible(level, schema, _parsed(earlier, transitive=level.endswith("_TRANSITIVE")))
        except InvalidSchemaError as error:
            return [] if level == "NONE" else [f"an earlier version cannot be compared: {error}"]

    async def set_level(self, subject: str | None, level: str) -> None:
        """Set the compatibility level of a subject, or of all."""
        if level not in LEVELS:
            raise RestError(422, 42203, f"Invalid compatibility level {level!r}. Valid values are {', '.join(LEVELS)}")
        async with self._changing:
            await self._write(ConfigKey(subject).encode(), encode_level(level))

    async def unset_level(self, subject: str | None) -> None:
        """Take back the level of a subject, or of all."""
        async with self._changing:
            await self._write(ConfigKey(subject).encode(), None)

    async def delete_version(self, version: Version) -> None:
        """Delete a version softly: it is listed no more, and its id still answers."""
        async with self._changing:
            await self._repair()
            body = {**version.value.body, "deleted": True}
            value = type(version.value)(version.value.id, version.value.schema, True, body)
            await self._write(SchemaKey(version.subject, version.version).encode(), value.encode())

    async def delete_subject(self, subject: str, up_to_version: int) -> None:
        """Delete all versions of a subject up to one, softly."""
        async with self._changing:
            await self._write(DeleteSubjectKey(subject).encode(), encode_deletion(subject, up_to_version))


def _parsed(versions: Iterable[Version], *, transitive: bool) -> list[AvroSchema]:
    wanted = list(versions)
    parsed: list[AvroSchema] = []
    for one in wanted if transitive else wanted[-1:]:
        value: Any = one.value
        if value.schema_type != "AVRO" or value.references:
            raise InvalidSchemaError(f"version {one.version} is {value.schema_type} or has references")
        parsed.append(parse(value.schema))
    return parsed
