"""What a Protobuf reader cannot make of data that another schema wrote. Pure; works on descriptors.

Fields are told by number, types by name within their package. A field may come, go and be renamed, unless it is required; its
type may change within a group that is encoded alike; a message may not go. The rules are those of Confluent's registry.
Source: protobuf.dev, Updating A Message Type; Confluent Schema Registry, Protobuf compatibility.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

_GROUPS: Final = {
    **dict.fromkeys(
        (Field.TYPE_INT32, Field.TYPE_INT64, Field.TYPE_UINT32, Field.TYPE_UINT64, Field.TYPE_BOOL, Field.TYPE_ENUM), "varint"
    ),
    **dict.fromkeys((Field.TYPE_SINT32, Field.TYPE_SINT64), "zigzag"),
    **dict.fromkeys((Field.TYPE_STRING, Field.TYPE_BYTES), "text"),
    **dict.fromkeys((Field.TYPE_FIXED32, Field.TYPE_SFIXED32), "fixed32"),
    **dict.fromkeys((Field.TYPE_FIXED64, Field.TYPE_SFIXED64), "fixed64"),
    Field.TYPE_FLOAT: "float",
    Field.TYPE_DOUBLE: "double",
}


class Types:
    """The messages of some files, by full name (`.package.Message`)."""

    def __init__(self, files: Sequence[Any]) -> None:
        """The last file is the one that is compared."""
        self.file = files[-1]
        self.messages: dict[str, Any] = {}
        self.packages: dict[str, str] = {}
        for file in files:
            self._add(f".{file.package}" if file.package else "", file.message_type, file.package)

    def _add(self, prefix: str, messages: Sequence[Any], package: str) -> None:
        for message in messages:
            name = f"{prefix}.{message.name}"
            self.messages[name], self.packages[name] = message, package
            self._add(name, message.nested_type, package)

    def local(self, name: str) -> str:
        """A full name within its package."""
        package = self.packages.get(name, "")
        return name.removeprefix(f".{package}." if package else ".")


def differences(writer: Types, reader: Types) -> list[str]:
    """What a reader cannot make of what was written, each with its place."""
    found = []
    if writer.file.package != reader.file.package:
        found.append(f"package changed from {writer.file.package!r} to {reader.file.package!r}")
    comparison = _Comparison(writer, reader)
    prefixes = tuple(f".{types.file.package}" if types.file.package else "" for types in (writer, reader))
    found += comparison.messages(writer.file.message_type, reader.file.message_type, prefixes)
    return list(dict.fromkeys(found))


class _Comparison:
    def __init__(self, writer: Types, reader: Types) -> None:
        self._writer, self._reader = writer, reader
        self._compared: set[tuple[str, str]] = set()

    def messages(self, old: Sequence[Any], new: Sequence[Any], prefixes: tuple[str, ...]) -> Iterator[str]:
        """Differences of messages that are told by name."""
        by_name = {message.name: message for message in new}
        for message in old:
            if message.options.map_entry:
                continue
            names = tuple(f"{prefix}.{message.name}" for prefix in prefixes)
            if message.name not in by_name:
                yield f"message {names[0][1:]} was removed"
            else:
                yield from self._message(names[0], names[1])

    def _message(self, old_name: str, new_name: str) -> Iterator[str]:
        if (old_name, new_name) in self._compared:
            return
        self._compared.add((old_name, new_name))
        old, new = self._writer.messages[old_name], self._reader.messages[new_name]
        where = new_name[1:]
        before, after = ({one.number: one for one in message.field} for message in (old, new))
        for number in sorted(before.keys() | after.keys()):
            yield from self._field(where, before.get(number), after.get(number))
        yield from _oneofs(where, old, new, after)
        yield from self.messages(old.nested_type, new.nested_type, (old_name, new_name))

    def _field(self, where: str, old: Any, new: Any) -> Iterator[str]:
        if old is None or new is None:
            one, what = (new, "added") if old is None else (old, "removed")
            if one.label == Field.LABEL_REQUIRED:
                yield f"required field {where}.{one.name} (number {one.number}) was {what}"
            return
        what = f"field {where}.{new.name} (number {new.number})"
        kinds = self._kind(self._writer, old), self._kind(self._reader, new)
        if kinds[0] == kinds[1] == "map":
            yield from self._maps(where, old, new)
        elif kinds[0] == kinds[1] == "message":
            yield from self._named(what, old, new)
        elif kinds[0] != kinds[1]:
            yield f"{what} changed its type from {self._said(self._writer, old)} to {self._said(self._reader, new)}"
        repeated = [one.label == Field.LABEL_REPEATED for one in (old, new)]
        if repeated[0] != repeated[1] and kinds[0] == kinds[1] and kinds[0] not in ("map", "message", "text"):
            yield f"{what} changed between one number and repeated ones"
        if new.label == Field.LABEL_REQUIRED != old.label:
            yield f"{what} became required"

    def _maps(self, where: str, old: Any, new: Any) -> Iterator[str]:
        entries = self._writer.messages[old.type_name].field, self._reader.messages[new.type_name].field
        for before, after in zip(*entries, strict=True):
            yield from self._field(f"{where}.{new.name}", before, after)

    def _named(self, what: str, old: Any, new: Any) -> Iterator[str]:
        names = self._writer.local(old.type_name), self._reader.local(new.type_name)
        if names[0] != names[1]:
            yield f"{what} changed its type from {names[0]} to {names[1]}"
        elif old.type_name in self._writer.messages and new.type_name in self._reader.messages:
            yield from self._message(old.type_name, new.type_name)

    def _kind(self, types: Types, field: Any) -> str:
        if field.type not in (Field.TYPE_MESSAGE, Field.TYPE_GROUP):
            return _GROUPS[field.type]
        message = types.messages.get(field.type_name)
        if message is not None and message.options.map_entry:
            return "map"
        return "message" if field.type == Field.TYPE_MESSAGE else "group"

    def _said(self, types: Types, field: Any) -> str:
        kind = self._kind(types, field)
        name = types.local(field.type_name) if field.type_name else Field.Type.Name(field.type).removeprefix("TYPE_").lower()
        return "map" if kind == "map" else name


def _oneofs(where: str, old: Any, new: Any, after: Mapping[int, Any]) -> Iterator[str]:
    before, now = _members(old), _members(new)
    was_in_one = {number for numbers in before.values() for number in numbers}
    was_there = {one.number for one in old.field}
    for name, numbers in now.items():
        moved = [number for number in numbers if number in was_there and number not in was_in_one]
        if len(moved) > 1:
            yield f"fields {_numbers(moved)} were moved into oneof {where}.{name}: only one of them is read"
        elif moved and any(number in was_in_one for number in numbers):
            yield f"field {_numbers(moved)} was moved into oneof {where}.{name}, which had fields before"
    for name, numbers in before.items():
        gone = [number for number in numbers if number not in after]
        if gone and name in now:
            yield f"field {_numbers(gone)} was removed from oneof {where}.{name}"


def _members(message: Any) -> dict[str, list[int]]:
    """The numbers of the fields of each oneof; those that `optional` makes are none."""
    found: dict[str, list[int]] = {}
    for one in message.field:
        if one.HasField("oneof_index") and not one.proto3_optional:
            found.setdefault(message.oneof_decl[one.oneof_index].name, []).append(one.number)
    return found


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
