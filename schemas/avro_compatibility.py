"""What an Avro reader cannot make of data that another schema wrote. Pure.

The rules, the order and the places of what stands against it are those of Apache Avro for Java, with which Confluent's registry
judges; the words are that registry's.
Source: Apache Avro 1.11, `SchemaCompatibility`; Avro specification, Schema Resolution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from headrace.schemas.invalid import InvalidSchemaError

_PLAIN: Final = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
_PROMOTED: Final = {  # reader: writers that it reads too
    "long": ("int",),
    "float": ("int", "long"),
    "double": ("int", "long", "float"),
    "bytes": ("string",),
    "string": ("bytes",),
}
_OF_BOTH: Final = "in the {mine} schema does not match with the {others} schema"
_DESCRIPTIONS: Final = {
    "FIXED_SIZE_MISMATCH": "The size of FIXED type field at path '{path}' " + _OF_BOTH,
    "NAME_MISMATCH": "The name of the schema has changed (path '{path}')",
    "TYPE_MISMATCH": "The type (path '{path}') of a field " + _OF_BOTH,
    "MISSING_UNION_BRANCH": "The {mine} schema is missing a type inside a union field at path '{path}' in the {others} schema",
    "MISSING_ENUM_SYMBOLS": "The {mine} schema is missing enum symbols '{info}' at path '{path}' in the {others} schema",
    "READER_FIELD_MISSING_DEFAULT_VALUE": (
        "The field '{info}' at path '{path}' in the {mine} schema has no default value and is missing in the {others} schema"
    ),
}


@dataclass(frozen=True, slots=True)
class _Difference:
    """One thing that stands against reading.

    Attributes:
        kind: one of `_DESCRIPTIONS`.
        path: where in the reader, as a JSON pointer.
    """

    kind: str
    path: str
    info: str


def differences(reader: Any, writer: Any, mine: str, others: str) -> list[str]:
    """What a reader cannot make of what was written, a line for each; `mine` and `others` say which schema is the new one.

    Args:
        reader, writer: `avro.schema.Schema`s.
    """
    try:
        found = _Comparison().compare(reader, writer, "/")
    except InvalidSchemaError as error:
        return [f"Unexpected exception during compatibility check: {error}"]
    return [
        f"{{errorType:'{one.kind}', description:'"
        f"{_DESCRIPTIONS[one.kind].format(info=one.info, path=one.path, mine=mine, others=others)}', "
        f"additionalInfo:'{one.info}'}}"
        for one in found
    ]


class _Comparison:
    def __init__(self) -> None:
        # A pair that is being compared counts as readable; what was found is told again wherever the pair comes again.
        self._known: dict[tuple[int, int], list[_Difference]] = {}
        self._fields: dict[int, dict[str, Any]] = {}  # of writers, by name

    def compare(self, reader: Any, writer: Any, path: str) -> list[_Difference]:
        key = id(reader), id(writer)
        if key not in self._known:
            self._known[key] = []
            self._known[key] = list(self._compare(reader, writer, path))
        return self._known[key]

    def _compare(self, reader: Any, writer: Any, path: str) -> Iterator[_Difference]:
        kinds = _kind(reader), _kind(writer)
        if kinds[0] != kinds[1]:
            yield from self._of_two_kinds(reader, writer, path, kinds)
        elif kinds[0] == "array":
            yield from self.compare(reader.items, writer.items, _under(path, "items"))
        elif kinds[0] == "map":
            yield from self.compare(reader.values, writer.values, _under(path, "values"))
        elif kinds[0] == "union":
            for number, branch in enumerate(writer.schemas):
                if self.compare(reader, branch, "/"):
                    yield _lacking(branch, _under(path, str(number)))
        elif kinds[0] not in _PLAIN:
            if not _same_name(reader, writer):
                yield _Difference("NAME_MISMATCH", _under(path, "name"), f"expected: {writer.fullname}")
            yield from self._of_named(reader, writer, path, kinds[0])

    def _of_two_kinds(self, reader: Any, writer: Any, path: str, kinds: tuple[str, str]) -> Iterator[_Difference]:
        if kinds[1] == "union":
            for branch in writer.schemas:
                yield from self.compare(reader, branch, "/")
        elif kinds[0] == "union":
            if all(self.compare(branch, writer, "/") for branch in reader.schemas):
                yield _lacking(writer, path)
        elif kinds[1] not in _PROMOTED.get(kinds[0], ()):
            what = f"reader type: {kinds[0].upper()} not compatible with writer type: {kinds[1].upper()}"
            yield _Difference("TYPE_MISMATCH", path, what)

    def _of_named(self, reader: Any, writer: Any, path: str, kind: str) -> Iterator[_Difference]:
        if kind == "record":
            yield from self._of_records(reader, writer, _under(path, "fields"))
        elif kind == "fixed":
            if reader.size != writer.size:
                sizes = f"expected: {writer.size}, found: {reader.size}"
                yield _Difference("FIXED_SIZE_MISMATCH", _under(path, "size"), sizes)
        else:
            missing = sorted(set(writer.symbols) - set(reader.symbols))
            if missing and _enum_default(reader) is None:
                yield _Difference("MISSING_ENUM_SYMBOLS", _under(path, "symbols"), f"[{', '.join(missing)}]")

    def _of_records(self, reader: Any, writer: Any, path: str) -> Iterator[_Difference]:
        for number, field in enumerate(reader.fields):
            where, written = _under(path, str(number)), self._written(writer, field, number)
            if written is not None:
                yield from self.compare(field.type, written.type, _under(where, "type"))
            elif not field.has_default and _kind(field.type) == "enum" and _enum_default(field.type) is not None:
                yield from self.compare(field.type, writer, _under(where, "type"))  # as Java has it: never readable
            elif not field.has_default:
                yield _Difference("READER_FIELD_MISSING_DEFAULT_VALUE", where, field.name)

    def _written(self, writer: Any, field: Any, number: int) -> Any:
        """The field of a writer that a reader's field reads, by its name or an alias; None if there is none."""
        known = self._fields.setdefault(id(writer), {}) or self._fields[id(writer)]
        if not known:
            known |= {one.name: one for one in writer.fields}
        found = [known[name] for name in (field.name, *_aliases(field)) if name in known]
        if len(found) > 1:
            what = f"Reader record field {field.name} type:{_kind(field.type).upper()} pos:{number}"
            raise InvalidSchemaError(f"{what} matches multiple fields in writer record schema {writer.fullname}")
        return found[0] if found else None


def _lacking(writer: Any, path: str) -> _Difference:
    return _Difference("MISSING_UNION_BRANCH", path, f"reader union lacking writer type: {_kind(writer).upper()}")


def _kind(schema: Any) -> str:
    return {"error": "record", "error_union": "union"}.get(schema.type, str(schema.type))


def _under(path: str, token: str) -> str:
    return f"{path}{token}" if path == "/" else f"{path}/{token}"


def _same_name(reader: Any, writer: Any) -> bool:
    """Whether their own names are the same, whatever the namespaces, or the writer's full name is an alias."""
    if reader.name.rpartition(".")[2] == writer.name.rpartition(".")[2]:
        return True
    space = reader.fullname.rpartition(".")[0]
    return writer.fullname in (one if "." in one or not space else f"{space}.{one}" for one in _aliases(reader))


def _aliases(one: Any) -> list[str]:
    found = one.props.get("aliases")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _enum_default(schema: Any) -> str | None:
    default = schema.props.get("default")
    return default if isinstance(default, str) and default in schema.symbols else None
