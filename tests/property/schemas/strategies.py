"""Avro schemas of every kind that lands, and values of them as fastavro takes them."""

import string
from typing import Any

from hypothesis import strategies as st

_NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
_INTS = st.integers(-(2**31), 2**31 - 1)
_LONGS = st.integers(-(2**63), 2**63 - 1)
_TEXTS = st.text(max_size=20)

Typed = tuple[Any, st.SearchStrategy[Any]]


class Types:
    """Draws (schema, values of it); gives every named type a name of its own."""

    def __init__(self, draw: Any, *, bulk_only: bool) -> None:
        self._draw = draw
        self._bulk_only = bulk_only
        self._named = 0

    def record(self, depth: int = 3) -> Typed:
        # Names that differ in case only make a nested record a text: tests/integration/sinks/types_of_schemas.py.
        names = self._draw(st.lists(_NAMES, min_size=1, max_size=5, unique_by=str.casefold))
        fields = {name: self.any(depth - 1) for name in names}
        schema = {
            "type": "record",
            "name": self._name("Record"),
            "fields": [{"name": name, "type": kind} for name, (kind, _) in fields.items()],
        }
        return schema, st.fixed_dictionaries({name: values for name, (_, values) in fields.items()})

    def any(self, depth: int) -> Typed:
        simple = [self._plain, self._logical, self._enum]
        if not self._bulk_only:
            simple += [self._bytes, self._fixed, self._decimal]
        nested = [self._array, self._map, self.record, self._nullable] if depth > 0 else []
        if nested and not self._bulk_only:
            nested.append(self._union)
        chosen = self._draw(st.sampled_from([*simple, *nested]))
        return chosen(depth) if chosen in nested else chosen()  # type: ignore[call-arg, no-any-return]  # some take a depth, some do not

    def _name(self, kind: str) -> str:
        self._named += 1
        return f"{kind}{self._named}"

    def _plain(self) -> Typed:
        return self._draw(  # type: ignore[no-any-return]  # hypothesis draws Any
            st.sampled_from(
                [
                    ("boolean", st.booleans()),
                    ("int", _INTS),
                    ("long", _LONGS),
                    ("float", st.floats(width=32, allow_nan=False)),
                    ("double", st.floats(allow_nan=False)),
                    ("string", _TEXTS),
                    ({"type": "string", "avro.java.string": "String"}, _TEXTS),
                    ("null", st.none()),
                ]
            )
        )

    def _logical(self) -> Typed:
        kinds = {
            "date": ("int", st.integers(-700_000, 2_900_000)),
            "time-millis": ("int", st.integers(0, 86_399_999)),
            "time-micros": ("long", st.integers(0, 86_399_999_999)),
            "timestamp-millis": ("long", st.integers(-(10**13), 10**14)),
            "timestamp-micros": ("long", st.integers(-(10**16), 10**17)),
            "timestamp-nanos": ("long", _LONGS),
            "local-timestamp-millis": ("long", st.integers(-(10**13), 10**14)),
            "local-timestamp-micros": ("long", st.integers(-(10**16), 10**17)),
            "no-such-type": ("long", _LONGS),
            "uuid": ("string", st.uuids().map(str)),
        }
        logical = self._draw(st.sampled_from(sorted(kinds)))
        kind, values = kinds[logical]
        return {"type": kind, "logicalType": logical}, values

    def _enum(self) -> Typed:
        symbols = self._draw(st.lists(_NAMES, min_size=1, max_size=4, unique=True))
        if self._draw(st.booleans()):
            symbols += [f"S_{number}" for number in range(100)]  # an index of two bytes
        return {"type": "enum", "name": self._name("Enum"), "symbols": symbols}, st.sampled_from(symbols)

    def _bytes(self) -> Typed:
        return "bytes", st.binary(max_size=20)

    def _fixed(self) -> Typed:
        size = self._draw(st.integers(1, 20))
        return {"type": "fixed", "name": self._name("Fixed"), "size": size}, st.binary(min_size=size, max_size=size)

    def _decimal(self) -> Typed:
        schema = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": self._draw(st.integers(0, 20))}
        return schema, st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: n.to_bytes(9, "big", signed=True))

    def _array(self, depth: int) -> Typed:
        items, values = self.any(depth - 1)
        if _takes_no_bytes(items):  # refused by us, and unbounded memory for the oracle
            items, values = "long", _LONGS
        return {"type": "array", "items": items}, st.lists(values, max_size=4)

    def _map(self, depth: int) -> Typed:
        items, values = self.any(depth - 1)
        return {"type": "map", "values": items}, st.dictionaries(_TEXTS, values, max_size=4)

    def _nullable(self, depth: int) -> Typed:
        kind, values = self.any(depth - 1)
        if kind == "null" or isinstance(kind, list):
            return kind, values
        branches = ["null", kind] if self._draw(st.booleans()) else [kind, "null"]
        return branches, st.none() | values

    def _union(self, depth: int) -> Typed:
        return ["null", "long", "string", {"type": "array", "items": "string"}], (
            st.none() | _LONGS | _TEXTS | st.lists(_TEXTS, max_size=3)
        )


def _takes_no_bytes(schema: Any) -> bool:
    if isinstance(schema, dict) and schema["type"] == "record":
        return all(_takes_no_bytes(field["type"]) for field in schema["fields"])
    return schema == "null" or (isinstance(schema, dict) and schema.get("size") == 0)


@st.composite
def typed_values(draw: Any, *, bulk_only: bool = False, rows: int = 60) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A record schema, and up to `rows` values of it (the bulk decoder is used above a few dozen)."""
    schema, values = Types(draw, bulk_only=bulk_only).record()
    few = draw(st.lists(values, min_size=1, max_size=5))
    count = draw(st.integers(1, rows))
    return schema, [few[number % len(few)] for number in range(count)]
