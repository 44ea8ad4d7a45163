"""The types of schemas that the registry knows, and what each can do. Pure, but that Protobuf is parsed by its own compiler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from headrace.schemas import avro_kind, json_kind, protobuf_kind
from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.references import Resolved


class Parsed(Protocol):
    """A schema that its type accepts."""

    @property
    def text(self) -> str:
        """As it is stored."""
        ...

    @property
    def normal_text(self) -> str:
        """As it is stored where normalization is asked for: the same for all that mean the same."""
        ...

    def fields(self) -> set[str]:
        """Names of fields at the top: of the record, of the object, of the messages."""
        ...

    def unreadable(self, writer: Any, mine: str, others: str, *, lenient: bool) -> list[str]:
        """Why a reader with this one cannot read what was written with `writer`; `mine` and `others` say which is the new one.

        Where it is `lenient`, what an open content model may have held does not count (JSON Schema).
        """
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One type.

    Attributes:
        parse: text and what it refers to, each after what it refers to itself; raises InvalidSchemaError.
        identity: of a text without a look at what it refers to.
    """

    parse: Callable[[str, Sequence[Any]], Parsed]
    identity: Callable[[str], str]


_KINDS: Final = {
    "AVRO": Kind(avro_kind.parse, avro_kind.identity),
    "JSON": Kind(json_kind.parse, json_kind.identity),
    "PROTOBUF": Kind(protobuf_kind.parse, protobuf_kind.identity),
}
KINDS: Final = tuple(_KINDS)


def parse(kind: str, text: str, references: Sequence[Resolved] = ()) -> Parsed:
    """Check a schema of a type.

    Raises:
        InvalidSchemaError: it is none, or there is no such type.
    """
    if kind not in _KINDS:
        raise InvalidSchemaError(f"schemaType {kind[:100]} is not supported; it is one of {', '.join(KINDS)}")
    return _KINDS[kind].parse(text, references)


@lru_cache(16)  # one registration asks several times, and a text may be of 900 kB
def plain_identity(kind: str, text: str, *, has_references: bool) -> str:
    """Equal for two texts of a type that are the same; of one that is none of the type, the text."""
    if kind not in _KINDS or (has_references and kind == "AVRO"):
        return avro_kind.tree_identity(text)
    return _KINDS[kind].identity(text)
