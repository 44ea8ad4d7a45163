"""A schema as it is registered: its type, text, references, metadata and rules, and what makes it the same as another. Pure.

The identity depends on the record alone, never on what it refers to: the fold of the log is the same wherever it begins.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.schemas import contract
from headrace.schemas.kinds import Parsed, plain_identity
from headrace.schemas.references import Reference


@dataclass(frozen=True, slots=True)
class Draft:
    """A schema as somebody sent it, before anybody has looked at its text."""

    kind: str
    text: str
    references: tuple[Reference, ...] = ()
    metadata: Mapping[str, Any] | None = None
    rule_set: Mapping[str, Any] | None = None

    def stored(self, parsed: Parsed, *, normalize: bool) -> "Schema":
        """As it is stored; takes as long as parsing it did."""
        text = parsed.normal_text if normalize else parsed.text
        references = sorted(self.references, key=lambda one: one.name) if normalize else self.references
        return Schema(self.kind, text, tuple(references), self.metadata, self.rule_set)


@dataclass(frozen=True, slots=True)
class Schema:
    """What may have an id. Making one parses its text, which takes up to a second.

    Attributes:
        metadata, rule_set: of the clients that read and write (`contract`); an empty one is not the same as none.
        plain: equal for two that differ in metadata and rules at most.
        identity: equal for two that are the same.
    """

    kind: str
    text: str
    references: tuple[Reference, ...] = ()
    metadata: Mapping[str, Any] | None = None
    rule_set: Mapping[str, Any] | None = None
    plain: str = field(default="", kw_only=True)
    identity: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.plain:
            own = plain_identity(self.kind, self.text, has_references=bool(self.references))
            plain = _digest([self.kind, own, [list(one.members().values()) for one in self.references]])
            object.__setattr__(self, "plain", plain)
        own_contract = [self.metadata, self.rule_set] if self.has_contract else []
        object.__setattr__(self, "identity", _digest([self.plain, *own_contract]))

    @property
    def has_contract(self) -> bool:
        """Whether metadata or rules come with it."""
        return self.metadata is not None or self.rule_set is not None

    def under(self, metadata: Mapping[str, Any] | None, rule_set: Mapping[str, Any] | None) -> "Schema":
        """The same with other metadata and rules; its text is not parsed again."""
        return replace(self, metadata=metadata, rule_set=rule_set)

    def stands_for(self, other: "Schema", version: int) -> bool:
        """Whether who looks this one up means another, which is `version`: the same, but for the version that one may say."""
        if self.identity == other.identity:
            return True
        mine, others = contract.count_in(self.metadata), contract.count_in(other.metadata)
        if (mine is None) == (others is None) or mine not in (None, str(version)):
            return False
        uncounted = contract.uncounted(self.metadata) == contract.uncounted(other.metadata)
        return self.plain == other.plain and uncounted and (self.rule_set or {}) == (other.rule_set or {})

    def members(self) -> dict[str, Any]:
        """As Confluent writes it, in its order; what is not there is left out."""
        written: dict[str, Any] = {} if self.kind == "AVRO" else {"schemaType": self.kind}
        if self.references:
            written["references"] = [one.members() for one in self.references]
        if self.metadata is not None:
            written["metadata"] = self.metadata
        if self.rule_set is not None:
            written["ruleSet"] = self.rule_set
        return {**written, "schema": self.text}

    @property
    def guid(self) -> str:
        """The same in every registry: the MD5 of text, references, metadata and rules, as Confluent makes it."""
        digest = hashlib.md5(self.text.encode("utf-8", "surrogatepass"), usedforsecurity=False)
        for one in self.references:
            digest.update((one.name + one.subject).encode("utf-8", "surrogatepass"))
            digest.update((one.version & 0xFFFFFFFF).to_bytes(4, "big"))
        for part in contract.hashed(self.metadata, self.rule_set):
            digest.update(part)
        return str(uuid.UUID(bytes=digest.digest()))


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
