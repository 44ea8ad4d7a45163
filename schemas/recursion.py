"""Avro types that hold themselves, unrolled to a bounded depth, so that no payload nests the decoder off its stack. Pure.

fastavro recurses as deep as a payload says, and ends the process at some ten thousand levels. So it is never shown a recursive
type: each named type exists once for each level, and refers to those of the next level; at the last there is a type that no
payload satisfies. A schema grows by the levels only, because a level's type is defined once and then named.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_LEVELS: Final = 32
Schema = Any
_TOO_DEEP: Final = {"type": "fixed", "name": "NestedTooDeep", "size": 2**31 - 1}


class Unroller:
    """The wire format of types that hold themselves, without recursion and logical types.

    Args:
        named: all named types of the schema, by full name.
        new_name: gives names that are unlike any other.
        count: is told of each type; may raise.
    """

    def __init__(self, named: Mapping[str, Schema], new_name: Callable[[], str], count: Callable[[], None]) -> None:
        self._named, self._new_name, self._count = named, new_name, count
        self._defined: dict[tuple[str, int], str] = {}

    def of(self, schema: Schema, level: int = 0) -> Schema:
        """A schema at a level; what was defined before, here or in an earlier call, is a name."""
        self._count()
        if isinstance(schema, list):
            return [self.of(branch, level) for branch in schema]
        if isinstance(schema, str):
            if schema not in self._named:
                return "long" if schema == "int" else schema
            return self._type(schema, self._named[schema], level)
        kind = schema["type"]
        if isinstance(kind, dict | list):
            return self.of(kind, level)
        if kind == "array":
            return {"type": "array", "items": self.of(schema["items"], level)}
        if kind == "map":
            return {"type": "map", "values": self.of(schema["values"], level)}
        if kind in ("record", "error", "enum", "fixed"):
            return self._type(schema["name"], schema, level)
        return self.of(kind, level)

    def _type(self, name: str, schema: Schema, level: int) -> Schema:
        kind = schema["type"]
        key = (name, level if kind in ("record", "error") else 0)
        if level >= MAX_LEVELS:
            key, kind, schema = ("", 0), "fixed", _TOO_DEEP
        if key in self._defined:
            return self._defined[key]
        own = self._defined[key] = self._new_name()
        if kind == "enum":
            return {"type": "enum", "name": own, "symbols": list(schema["symbols"])}
        if kind == "fixed":
            return {"type": "fixed", "name": own, "size": schema["size"]}
        fields = [{"name": field["name"], "type": self.of(field["type"], level + 1)} for field in schema["fields"]]
        return {"type": "record", "name": own, "fields": fields}
