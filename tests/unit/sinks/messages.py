"""Records and a registry, as plain objects with the methods that the loader calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from headrace.errors import PeerError, RefusedError
from headrace.schemas.client import SCHEMA_NOT_FOUND, VERSION_NOT_FOUND, Registered
from headrace.sinks.registered import Schemas


@dataclass
class Message:
    at: int
    data: bytes | None
    time_ms: int = 1_790_000_000_000
    own_key: bytes | None = None
    own_headers: Sequence[tuple[str, bytes | None]] | None = None

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.own_key

    def value(self) -> bytes | None:
        return self.data

    def timestamp(self) -> tuple[int, int]:
        return 1, self.time_ms

    def headers(self) -> Any:
        return self.own_headers

    def set_headers(self, value: list[Any], /) -> None:
        self.own_headers = value

    def leader_epoch(self) -> int:
        return 0


@dataclass
class Registry:
    """Schemas as a registry client gives them; `away` is what it raises instead of an answer."""

    by_id: Mapping[int, Registered] = field(default_factory=dict)
    by_guid: Mapping[UUID, Registered] = field(default_factory=dict)
    versions: Mapping[tuple[str, int], Registered] = field(default_factory=dict)
    subjects: Mapping[str, Registered] = field(default_factory=dict)
    registered_as: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """Names of subjects by id."""
    away: PeerError | None = None
    asked: list[Any] = field(default_factory=list)

    def latest(self, subject: str) -> Registered | None:
        return self.subjects.get(subject)

    def version(self, subject: str, version: int) -> Registered:
        return self._found(self.versions, (subject, version), VERSION_NOT_FOUND)

    def schema_by_id(self, schema_id: int) -> Registered:
        return self._found(self.by_id, schema_id, SCHEMA_NOT_FOUND)

    def schema_by_guid(self, guid: UUID) -> Registered:
        return self._found(self.by_guid, guid, SCHEMA_NOT_FOUND)

    def subjects_of(self, schema_id: int) -> list[str]:
        self.asked.append(f"subjects of {schema_id}")
        if self.away is not None:
            raise self.away
        return list(self.registered_as.get(schema_id, ()))

    def _found(self, known: Mapping[Any, Registered], name: Any, code: int) -> Registered:
        self.asked.append(name)
        if self.away is not None:
            raise self.away
        if name not in known:
            raise RefusedError("no such schema", status=404, code=code)
        return known[name]

    def schemas(self) -> Schemas:
        return Schemas(self)  # type: ignore[arg-type]  # stands for the client
