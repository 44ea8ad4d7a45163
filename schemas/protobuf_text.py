"""Writes a Protobuf file descriptor as the text that it is compiled from: one way of writing for one descriptor. Pure.

Sections and their order are those of Wire, which Confluent's registry writes with. Comments are not in descriptors. Options are
written with the names that `pool` knows; whoever calls checks that the text compiles to the same descriptor, so that nothing is
lost in silence.
Source: protobuf.dev, language specifications of proto2, proto3 and editions.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {number: name.removeprefix("TYPE_").lower() for name, number in _FIELD.Type.items()}
_MAX_FIELD: Final = (1 << 29) - 1
_MAX_ENUM: Final = (1 << 31) - 1
_AFTER_NESTED: Final = 5  # enumerations of a message follow its messages without an empty line


def written(file: Any, pool: descriptor_pool.DescriptorPool, *, absolute: bool) -> str:
    """The text of a `FileDescriptorProto`; with `absolute` every type is named from the root."""
    return "\n".join(_Writer(file, pool, absolute=absolute).lines()) + "\n"


class _Writer:
    def __init__(self, file: Any, pool: descriptor_pool.DescriptorPool, *, absolute: bool) -> None:
        self._file, self._pool, self._absolute = file, pool, absolute
        self._proto3 = file.syntax == "proto3"
        self._root = f".{file.package}" if file.package else ""

    def lines(self) -> Iterator[str]:
        file = self._file
        if file.syntax == "editions":
            yield f'edition = "{descriptor_pb2.Edition.Name(file.edition).removeprefix("EDITION_")}";'
        else:
            yield f'syntax = "{file.syntax or "proto2"}";'
        if file.package:
            yield f"package {file.package};"
        imports = [
            f"import {'public ' if number in file.public_dependency else 'weak ' if number in file.weak_dependency else ''}"
            f"{_quoted(name)};"
            for number, name in enumerate(file.dependency)
        ]
        options = [f"option {option};" for option in self._options(file.options)]
        types = [line for message in file.message_type for line in self._message(message, "", self._root)]
        types += [line for enum in file.enum_type for line in self._enum(enum, "")]
        extensions = list(self._extensions(file.extension, "", self._root))
        services = [line for service in file.service for line in self._service(service)]
        for section in (imports, options, types, extensions, services):
            yield from ("", *section) if section else ()

    def _message(self, message: Any, indent: str, outer: str, head: str | None = None) -> Iterator[str]:
        inner, scope = indent + "  ", f"{outer}.{message.name}"
        maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
        groups = {field.type_name.rpartition(".")[2] for field in (*message.field, *message.extension) if field.type == 10}
        ranges = [f"{inner}extensions {_range(one.start, one.end - 1, _MAX_FIELD)}{self._bracketed(one.options)};"
                  for one in message.extension_range]  # fmt: skip
        nested = [one for one in message.nested_type if one.name not in maps and one.name not in groups]
        sections = (
            self._reserved(message, inner),
            (f"{inner}option {option};" for option in self._options(message.options)),
            self._fields(message, inner, scope, maps),
            ranges,
            (line for one in nested for line in self._message(one, inner, scope)),
            (line for one in message.enum_type for line in self._enum(one, inner)),
            self._extensions(message.extension, inner, scope, message),
        )
        yield f"{indent}{head or f'message {message.name}'} {{"
        first = True
        for number, section in enumerate(sections):
            lines = list(section)
            yield from () if first or not lines or number == _AFTER_NESTED else ("",)
            yield from lines
            first = first and not lines
        yield f"{indent}}}"

    def _fields(self, message: Any, indent: str, scope: str, maps: dict[str, Any]) -> Iterator[str]:
        oneofs: set[int] = set()
        for field in message.field:
            if not field.HasField("oneof_index") or field.proto3_optional:
                yield from self._field(field, indent, message, scope, maps)
            elif field.oneof_index not in oneofs:
                yield from ("",) if field != message.field[0] and not oneofs else ()
                oneofs.add(field.oneof_index)
                yield from self._oneof(message, field.oneof_index, indent, scope)

    def _oneof(self, message: Any, index: int, indent: str, scope: str) -> Iterator[str]:
        oneof = message.oneof_decl[index]
        yield f"{indent}oneof {oneof.name} {{"
        for option in self._options(oneof.options):
            yield f"{indent}  option {option};"
        for field in message.field:
            if field.HasField("oneof_index") and field.oneof_index == index:
                yield from self._field(field, indent + "  ", message, scope, {}, in_oneof=True)
        yield f"{indent}}}"

    def _field(
        self, field: Any, indent: str, owner: Any, scope: str, maps: dict[str, Any], *, in_oneof: bool = False
    ) -> Iterator[str]:
        entry = maps.get(field.type_name.rpartition(".")[2]) if field.label == _FIELD.LABEL_REPEATED else None
        if entry is not None:
            key, value = entry.field
            kind = f"map<{self._type(key, scope)}, {self._type(value, scope)}>"
        else:
            kind = self._label(field, in_oneof=in_oneof) + self._type(field, scope)
        if field.type == _FIELD.TYPE_GROUP:
            name = field.type_name.rpartition(".")[2]
            body = next(nested for nested in owner.nested_type if nested.name == name)
            yield from self._message(
                body, indent, scope, f"{self._label(field, in_oneof=in_oneof)}group {name} = {field.number}"
            )
            return
        more = [f"default = {_default(field)}"] if field.HasField("default_value") else []
        if field.json_name and field.json_name != json_name(field.name):
            more.append(f"json_name = {_quoted(field.json_name)}")
        yield f"{indent}{kind} {field.name} = {field.number}{self._bracketed(field.options, more)};"

    def _label(self, field: Any, *, in_oneof: bool) -> str:
        if field.label == _FIELD.LABEL_REPEATED:
            return "repeated "
        if field.label == _FIELD.LABEL_REQUIRED:
            return "required "
        plain = in_oneof or self._file.syntax == "editions" or (self._proto3 and not field.proto3_optional)
        return "" if plain else "optional "

    def _type(self, field: Any, scope: str) -> str:
        return self._named(field.type_name, scope) if field.type_name else _TYPES[field.type]

    def _named(self, name: str, scope: str) -> str:
        """As short as may be inside a scope; whoever calls checks that it means the same."""
        if self._absolute or not name.startswith("."):
            return name
        while scope:
            if name.startswith(f"{scope}."):
                return name.removeprefix(f"{scope}.")
            scope = scope.rpartition(".")[0]
        return name[1:]

    def _enum(self, enum: Any, indent: str) -> Iterator[str]:
        yield f"{indent}enum {enum.name} {{"
        if enum.reserved_range:
            yield f"{indent}  reserved {', '.join(_range(one.start, one.end, _MAX_ENUM) for one in enum.reserved_range)};"
        yield from self._reserved_names(enum, indent + "  ")
        for option in self._options(enum.options):
            yield f"{indent}  option {option};"
        for value in enum.value:
            yield f"{indent}  {value.name} = {value.number}{self._bracketed(value.options)};"
        yield f"{indent}}}"

    def _reserved(self, message: Any, indent: str) -> Iterator[str]:
        if message.reserved_range:
            yield f"{indent}reserved {', '.join(_range(one.start, one.end - 1, _MAX_FIELD) for one in message.reserved_range)};"
        yield from self._reserved_names(message, indent)

    def _reserved_names(self, owner: Any, indent: str) -> Iterator[str]:
        if owner.reserved_name:
            editions = self._file.syntax == "editions"
            yield f"{indent}reserved {', '.join(name if editions else _quoted(name) for name in owner.reserved_name)};"

    def _extensions(self, extensions: Sequence[Any], indent: str, scope: str, owner: Any = None) -> Iterator[str]:
        for field in extensions:
            yield f"{indent}extend {self._named(field.extendee, scope)} {{"
            yield from self._field(field, indent + "  ", owner or self._file, scope, {})
            yield f"{indent}}}"

    def _service(self, service: Any) -> Iterator[str]:
        yield f"service {service.name} {{"
        for option in self._options(service.options):
            yield f"  option {option};"
        for method in service.method:
            asked, told = ("stream " * flag for flag in (method.client_streaming, method.server_streaming))
            takes, gives = (self._named(name, self._root) for name in (method.input_type, method.output_type))
            head = f"  rpc {method.name} ({asked}{takes}) returns ({told}{gives})"
            options = list(self._options(method.options))
            yield f"{head} {{" if options else f"{head};"
            yield from (f"    option {option};" for option in options)
            yield from ("  };",) if options else ()
        yield "}"

    def _bracketed(self, options: Any, more: Iterable[str] = ()) -> str:
        found = [*more, *self._options(options)]
        return f" [{', '.join(found)}]" if found else ""

    def _options(self, options: Any) -> Iterator[str]:
        """Each as `name = value`, also those that other files define."""
        if not options.ByteSize():
            return
        known = message_factory.GetMessageClass(self._pool.FindMessageTypeByName(options.DESCRIPTOR.full_name))
        for field, value in known.FromString(options.SerializeToString()).ListFields():
            if field.name == "map_entry" and not field.is_extension:
                continue
            name = f"({'.' if self._absolute else ''}{field.full_name})" if field.is_extension else field.name
            for one in value if field.is_repeated else (value,):
                yield f"{name} = {_literal(field, one)}"


def json_name(name: Any) -> str:
    """The name that a field has in JSON if nobody says otherwise."""
    first, *others = name.split("_")
    return str(first + "".join(part[:1].upper() + part[1:] for part in others))


def _literal(field: Any, value: Any) -> str:
    if field.cpp_type == field.CPPTYPE_MESSAGE:
        return f"{{ {text_format.MessageToString(value, as_one_line=True)} }}"
    if field.cpp_type == field.CPPTYPE_ENUM:
        return str(field.enum_type.values_by_number[value].name)
    if field.cpp_type == field.CPPTYPE_BOOL:
        return "true" if value else "false"
    return _quoted(value) if isinstance(value, str | bytes) else str(value)


def _default(field: Any) -> str:
    if field.type == _FIELD.TYPE_STRING:
        return _quoted(field.default_value)
    return f'"{field.default_value}"' if field.type == _FIELD.TYPE_BYTES else str(field.default_value)


def _quoted(text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    return '"' + "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in data) + '"'


def _range(start: int, end: int, greatest: int) -> str:
    return str(start) if start == end else f"{start} to {'max' if end == greatest else end}"
