"""What a schema is written with: other schemas, by the names that they have in it. No imports, for whoever has no extra."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reference:
    """A version of a subject that a schema is written with, under the name that it has there."""

    name: str
    subject: str
    version: int

    def members(self) -> dict[str, Any]:
        return {"name": self.name, "subject": self.subject, "version": self.version}


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference points to: the name that it has in the schema, and the text there."""

    name: str
    text: str
