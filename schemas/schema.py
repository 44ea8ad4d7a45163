"""A schema as it is registered: its type, text, references, metadata and rules, and what makes it the same as another. Pure.

The identity depends on the record alone, never on what it refers to: the fold of the log is the same wherever it begins.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.schemas.kinds import plain_identity


@dataclass(frozen=True, slots=True)
class Reference:
    """A version of a subject that a schema is written with, under the name that it has there."""

    name: str
    subject: str
    version: int

    def members(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "version": self.version}


@dataclass(frozen=True, slots=True)
class Schema:
    """What may have an id.

    Attributes:
        metadata, rule_set: of the clients that read and write; kept, never acted on.
        plain: equal for two that differ in metadata and rules at most.
        identity: equal for two that are the same.
    """

    kind: str
    text: str
    references: tuple[Reference, ...] = ()
    metadata: Mapping[str, Any] | None = None
    rule_set: Mapping[str, Any] | None = None
    plain: str = field(init=False)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        own = plain_identity(self.kind, self.text, has_references=bool(self.references))
        plain = _digest([self.kind, own, [list(one.members().values()) for one in self.references]])
        object.__setattr__(self, "plain", plain)
        contract = [self.metadata, self.rule_set] if self.has_contract else []
        object.__setattr__(self, "identity", _digest([plain, *contract]))

    @property
    def has_contract(self) -> bool:
        """Whether metadata or rules come with it."""
        return bool(self.metadata or self.rule_set)

    def under_contract_of(self, other: "Schema") -> "Schema":
        """The same with another's metadata and rules."""
        return replace(self, metadata=other.metadata, rule_set=other.rule_set)

    def members(self) -> dict[str, Any]:
        """As Confluent writes it, in its order; what is not there is left out."""
        written: dict[str, Any] = {} if self.kind == "AVRO" else {"schemaType": self.kind}
        if self.references:
            written["references"] = [one.members() for one in self.references]
        if self.metadata:
            written["metadata"] = self.metadata
        if self.rule_set:
            written["ruleSet"] = self.rule_set
        return {**written, "schema": self.text}

    @property
    def guid(self) -> str:
        """The same in every registry: the MD5 of text and references (and of metadata and rules), as Confluent makes it."""
        digest = hashlib.md5(self.text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
        for one in self.references:
            digest.update((one.name + one.subject).encode("utf-8", "surrogatepass"))
            digest.update((one.version & 0xFFFFFFFF).to_bytes(4, "big"))
        for contract in (self.metadata, self.rule_set):
            if contract:
                digest.update(json.dumps(contract, sort_keys=True, separators=(",", ":")).encode())
        return str(uuid.UUID(bytes=digest.digest()))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
