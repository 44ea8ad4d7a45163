"""Schemas as records name them, found in the registry and remembered for ever: an id never changes its meaning."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import pyarrow as pa

from headrace.clock import MonotonicMs
from headrace.errors import PeerError, RefusedError
from headrace.schemas import arrow, framing, json_values
from headrace.schemas.arrow_records import DecodedRecords, RecordBytes, decode_records
from headrace.schemas.client import SCHEMA_NOT_FOUND, SUBJECT_NOT_FOUND, VERSION_NOT_FOUND, Registered, RegistryClient
from headrace.schemas.framing import MAX_ID
from headrace.schemas.record_names import record_names
from headrace.schemas.rows import Bad, Part
from headrace.schemas.subjects import split
from headrace.sinks.messages import Headers

Input = Literal["avro", "json_schema", "protobuf", "json", "bytes"]
Role = Literal["key", "value"]
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
INPUTS: Final[dict[str, Input]] = {"AVRO": "avro", "JSON": "json_schema", "PROTOBUF": "protobuf"}


def name_of(value: bytes, headers: Headers | None, header: str = SCHEMA_HEADER) -> tuple[SchemaName, bytes] | None:
    """The schema that a record names for its value (its key, by the key's header), and the payload; None where it names none.

    A header goes before the framing, as in Confluent's deserializers. In both 0x01 comes before a GUID, 0x00 before an id, and
    Protobuf's message indexes after it: they are the payload's first bytes here.
    """
    for name, content in reversed(headers or ()):
        if name == header and content is not None and (named := framing.parse(content)) is not None:
            return named[0], named[1] + value
    return framing.parse(value)


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and what it refers to: (name, text) of each, those that others need first; `problem`: why it is of no use."""

    id: int
    type: str
    text: str
    references: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    def decode(self, payloads: Sequence[bytes]) -> tuple[list[Part], Bad]:
        """Rows of those that can be decoded, and (index, reason) of the others, ascending."""
        problem = self.problem or f"its schema is {self.type[:100]}, which this version does not read"
        match "" if self.problem else self.type:
            case "AVRO":
                table, bad = arrow.decode(self.text, payloads, self.references)
                wrong = {index for index, _ in bad}
                return [(table, [index for index in range(len(payloads)) if index not in wrong] if wrong else None)], bad
            case "JSON":
                return json_values.decode(self.text, payloads, self.references)
            case "PROTOBUF":
                from headrace.schemas import protobuf_values  # brings a compiler, which most topics do not need

                return protobuf_values.decode(self.text, payloads, self.references)
        return [], [(index, problem) for index in range(len(payloads))]

    def decode_framed(self, values: Sequence[bytes], header: bytes) -> pa.Table | None:
        """Rows of values that all begin with `header`; None where `decode` has to look at each payload."""
        return None if self.problem or self.type != "AVRO" else arrow.decode_framed(self.text, values, header, self.references)

    def decode_records(self, batches: Sequence[RecordBytes], header: bytes, *, keyed: bool) -> DecodedRecords | None:
        """The records of whole batches, whose values all begin with `header`; None where each has to be looked at."""
        if self.problem or self.type != "AVRO":
            return None
        return decode_records(self.text, batches, header, self.references, keyed=keyed)


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
        self._uses: dict[tuple[str, Role, int], tuple[bool, MonotonicMs]] = {}
        """Whether an id's schema is registered for the keys or values of a topic, and when the registry said so."""

    def input_of(self, topic: str) -> Input | None:
        """What the topic's values are, by the latest schema of its subject; None where there is none."""
        latest = self._client.latest(f"{topic}-value") if self._client is not None else None
        return None if latest is None else INPUTS.get(latest.type, "avro")

    def find(self, name: SchemaName, now_ms: MonotonicMs) -> Schema | None:
        """A schema; None if the registry says that there is none, and has been given time to hear of it."""
        if name in self._known:
            return self._known[name]
        if isinstance(name, int) and name > MAX_ID:  # of which registries say that there is no such path, as if they were none
            return None
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

    def find_used(self, topic: str, role: Role, name: SchemaName, now_ms: MonotonicMs) -> Schema | None:
        """A schema that a key or value of a topic names, if that is no coincidence; None also where there is none.

        A GUID is told by a header that nobody else writes. An id may be part of a number: it counts where the registry has its
        schema under `<topic>-key` (or `-value`), `<topic>-<record>` or `<record>`, as Confluent's strategies name subjects.
        """
        if self._client is None or name == 0 or (schema := self.find(name, now_ms)) is None:  # ids begin with 1
            return None
        return schema if isinstance(name, UUID) or self._is_used(topic, role, schema, now_ms) else None

    def _is_used(self, topic: str, role: Role, schema: Schema, now_ms: MonotonicMs) -> bool:
        known = self._uses.get((topic, role, schema.id))
        if known is not None and (known[0] or now_ms - known[1] < ABSENT_MS):
            return known[0]
        assert self._client is not None, "it gave the schema"
        names = record_names(schema.type, schema.text, schema.references)
        wanted = {f"{topic}-{role}", *names, *(f"{topic}-{name}" for name in names)}
        is_used = not wanted.isdisjoint(split(subject)[1] for subject in self._client.subjects_of(schema.id))
        if len(self._uses) >= _MAX_ABSENT:
            self._uses.clear()
        self._uses[topic, role, schema.id] = is_used, now_ms
        return is_used

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
