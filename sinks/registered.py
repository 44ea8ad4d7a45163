"""Schemas as records name them, found in the registry and remembered for ever: an id never changes its meaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import pyarrow as pa

from headrace.clock import MonotonicMs
from headrace.errors import PeerError, RefusedError
from headrace.schemas import arrow, framing
from headrace.schemas.client import SCHEMA_NOT_FOUND, SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, Registered, RegistryClient
from headrace.sinks.messages import Headers

Input = Literal["avro", "json_schema", "protobuf", "json", "bytes"]
SCHEMA_HEADER: Final = "__value_schema_id"
SchemaName = int | UUID
"""An id (in the value) or a GUID (in a header)."""
GRACE_MS: Final = 3000
"""How long an unknown schema is waited for: another registry may have given the id, and ours not have read it yet."""
GRACE_INTERVAL_MS: Final = 600_000
"""No more than one such wait in this time, so that a flood of records with made-up ids is not one of waits."""
ABSENT_MS: Final = 60_000
"""How long an unknown schema is taken for absent without asking again."""
_MAX_ABSENT: Final = 10_000
_MAX_REFERENCES: Final = 1000
_INPUTS: Final[dict[str, Input]] = {"AVRO": "avro", "JSON": "json_schema", "PROTOBUF": "protobuf"}


def name_of(value: bytes, headers: Headers | None) -> tuple[SchemaName, bytes] | None:
    """The schema that a record names, and its payload; None where it names none.

    A header goes before the framing, as in Confluent's deserializers; its value is 0x01 and a GUID, or 0x00 and an id.
    """
    for name, content in reversed(headers or ()):
        if name == SCHEMA_HEADER and content is not None:
            if len(content) == 17 and content[0] == framing.MAGIC_GUID:
                return UUID(bytes=content[1:]), value
            if len(content) == framing.HEADER_LENGTH and content[0] == framing.MAGIC:
                return int.from_bytes(content[1:], "big"), value
    return framing.parse(value)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and what it refers to: (name, text) of each, those that others need first; `problem`: why it is of no use."""

    id: int
    type: str
    text: str
    references: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    def decode(self, payloads: Sequence[bytes]) -> tuple[pa.Table, list[tuple[int, str]]]:
        """Rows of those that can be decoded, in order, and (index, reason) of the others, ascending."""
        problem = self.problem
        if not problem and self.type == "AVRO":
            return arrow.decode(self.text, payloads, self.references)
        problem = problem or f"its schema is {self.type}, which this version does not read"
        return pa.table({}), [(index, problem) for index in range(len(payloads))]


class Schemas:
    """The registry, as the loader asks it.

    Raises (all methods):
        PeerError: it cannot be asked, or refuses to say: ask again later.
    """

    def __init__(self, client: RegistryClient | None) -> None:
        self._client = client
        self._known: dict[SchemaName, Schema] = {}
        self._absent_ms: dict[SchemaName, MonotonicMs] = {}
        """When the registry first said that there is no such schema."""
        self._waited_ms: MonotonicMs | None = None

    def input_of(self, topic: str) -> Input | None:
        """What the topic's values are, by the latest schema of its subject; None where there is none."""
        latest = self._client.latest(f"{topic}-value") if self._client is not None else None
        return None if latest is None else _INPUTS.get(latest.type, "avro")

    def find(self, name: SchemaName, now_ms: MonotonicMs) -> Schema | None:
        """A schema; None if the registry says that there is none, and has been given time to hear of it."""
        if name in self._known:
            return self._known[name]
        since_ms = self._absent_ms.get(name)
        if since_ms is not None and GRACE_MS <= now_ms - since_ms < ABSENT_MS:
            return None
        found = self._ask(name)
        if found is not None:
            self._known[name] = found
            self._absent_ms.pop(name, None)
            return found
        self._wait_for(name, since_ms, now_ms)
        return None

    def _wait_for(self, name: SchemaName, since_ms: MonotonicMs | None, now_ms: MonotonicMs) -> None:
        if since_ms is None and (self._waited_ms is None or now_ms - self._waited_ms >= GRACE_INTERVAL_MS):
            self._waited_ms = since_ms = now_ms
        if len(self._absent_ms) >= _MAX_ABSENT:
            self._absent_ms.clear()
        if since_ms is not None and now_ms - since_ms < GRACE_MS:
            self._absent_ms[name] = since_ms
            raise PeerError(f"the registry does not know schema {name}; another may have given it a moment ago")
        self._absent_ms[name] = MonotonicMs(now_ms - GRACE_MS)  # absent, as far as anybody needs to ask for a while

    def _ask(self, name: SchemaName) -> Schema | None:
        if self._client is None:
            raise PeerError("records name schemas, and no registry is configured; set registry: http://host:port")
        try:
            found = self._client.schema_by_id(name) if isinstance(name, int) else self._client.schema_by_guid(name)
        except RefusedError as error:
            if error.code == SCHEMA_NOT_FOUND:
                return None
            raise  # not allowed, or not this registry: says nothing about the record
        try:
            references = tuple(self._references(self._client, found, {}))
        except _UnusableError as error:
            return Schema(found.id, found.type, found.text, problem=str(error))
        return Schema(found.id, found.type, found.text, references)

    def _references(
        self, client: RegistryClient, schema: Registered, seen: dict[tuple[str, int], None]
    ) -> Iterator[tuple[str, str]]:
        """What a schema refers to, itself or through others; each once, after what it needs."""
        for reference in schema.references:
            key = (reference.subject, reference.version)
            if key in seen:
                continue
            seen[key] = None
            if len(seen) > _MAX_REFERENCES:
                raise _UnusableError(f"its schema refers to more than {_MAX_REFERENCES} others")
            try:
                found = client.version(reference.subject, reference.version)
            except RefusedError as error:
                if error.code in (SUBJECT_NOT_FOUND, VERSION_NOT_FOUND):
                    raise _UnusableError(
                        f"its schema refers to {reference.subject} {reference.version}, which is gone"
                    ) from error
                raise
            yield from self._references(client, found, seen)
            yield reference.name, found.text


class _UnusableError(Exception):
    pass
