"""Protobuf schemas as the registry judges them: valid or not, the same or not, readable or not.

A schema comes as text, or as the base64 of a `FileDescriptorProto` (so some clients register); it is stored as text, written in
one way for one meaning (`protobuf_text`).
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError

from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.protobuf_compatibility import Types, differences
from headrace.schemas.protobuf_compiler import MAIN_FILE, compiled
from headrace.schemas.protobuf_text import json_name, written
from headrace.schemas.references import Resolved

_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_0-9.]+|.""", re.DOTALL
)
_TEXT_STARTS: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}\s*")

_NOT_WRITTEN: Final = (KeyError, ValueError, IndexError, TypeError, RuntimeError)  # a descriptor that no compiler made


@dataclass(frozen=True, slots=True)
class ProtobufSchema:
    """A schema that compiles.

    Attributes:
        text: without comments, where it can be written from its descriptor alone; else as it was given.
        files: descriptors of what it imports, and of itself last.
    """

    text: str
    files: Sequence[Any] = field(repr=False)

    @property
    def normal_text(self) -> str:
        """Fields and values in the order of their numbers, imports in that of their names, types named from the root."""
        file = descriptor_pb2.FileDescriptorProto()
        file.CopyFrom(self.files[-1])
        _sort(file)
        pool = _pool(self.files)
        return self.text if pool is None else written(file, pool, absolute=True)

    @property
    def serialized(self) -> str:
        """The base64 of its `FileDescriptorProto`."""
        return base64.b64encode(self.files[-1].SerializeToString()).decode()

    def fields(self) -> set[str]:
        """See `kinds.Parsed`."""
        return {field.name for message in self.files[-1].message_type for field in message.field}

    def unreadable(self, writer: "ProtobufSchema", mine: str, others: str, *, lenient: bool) -> list[str]:  # noqa: ARG002  # of JSON alone
        """See `kinds.Parsed`."""
        try:
            return [
                f"{one} (read with the {mine} schema, written with the {others} one)"
                for one in differences(Types(writer.files), Types(self.files))
            ]
        except RecursionError:
            return ["the schemas are nested too deeply to compare"]


def parse(text: str, references: Sequence[Resolved] = ()) -> ProtobufSchema:
    """Check a schema by Protobuf's own compiler.

    Raises:
        InvalidSchemaError: it is none.
    """
    imported = [(one.name, one.text) for one in references]
    given = _descriptor(text)
    if given is None:
        files = compiled(text, imported)
        return ProtobufSchema(_rewritten(files, imported) or text, files)
    imports = "".join(f'import "{name}";' for name in given.dependency if '"' not in name and "\n" not in name)
    files = compiled(f'syntax = "proto3";{imports}', imported)[:-1]
    found = _rewritten([*files, _absolute(given, files)], imported)
    if found is None:
        raise InvalidSchemaError("the descriptor cannot be written as text without loss; register the text")
    return ProtobufSchema(found, compiled(found, imported))


def identity(text: str) -> str:
    """All but spaces and comments."""
    return " ".join(token[0] for token in _TOKEN.finditer(text) if token["skip"] is None)


def _descriptor(text: str) -> Any | None:
    """What base64 holds; None of a text that is none."""
    if not _TEXT_STARTS.fullmatch(text):
        return None
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None


def _absolute(given: Any, imported: Sequence[Any]) -> Any:
    """A descriptor with types named from the root, as compilers name them; Confluent's registry does not always."""
    if all(one.type_name[:1] in ("", ".") for fields in _all_fields(given) for one in fields):
        return given
    named, found = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
    named.CopyFrom(given)
    named.name = MAIN_FILE  # whatever its own name, it is no other file's
    pool = _pool([*imported, named])
    if pool is None:
        return given
    pool.FindFileByName(MAIN_FILE).CopyToProto(found)
    return found


def _rewritten(files: Sequence[Any], imported: list[tuple[str, str]]) -> str | None:
    """The last of the files as text that compiles to the same; None if it cannot be written."""
    pool = _pool(files)
    if pool is None:
        return None
    for absolute in (False, True):
        try:
            text = written(files[-1], pool, absolute=absolute)
            if _bare(compiled(text, imported)[-1]) == _bare(files[-1]):
                return text
        except (InvalidSchemaError, *_NOT_WRITTEN):
            continue
    return None


def _pool(files: Sequence[Any]) -> descriptor_pool.DescriptorPool | None:
    """Of the files and of the options that there always are."""
    pool = descriptor_pool.DescriptorPool()
    own = descriptor_pb2.FileDescriptorProto()
    descriptor_pb2.DESCRIPTOR.CopyToProto(own)
    try:
        for file in (own, *files):
            if file is own or file.name != own.name:
                pool.Add(file)
    except (TypeError, ValueError):
        return None
    return pool


def _bare(file: Any) -> Any:
    """A descriptor without what does not come from its text."""
    bare = descriptor_pb2.FileDescriptorProto()
    bare.CopyFrom(file)
    bare.name = MAIN_FILE
    bare.ClearField("source_code_info")
    if bare.syntax == "proto2":
        bare.ClearField("syntax")
    for fields in _all_fields(bare):
        for one in fields:
            one.json_name = one.json_name or json_name(one.name)
    return bare.SerializeToString(deterministic=True)


def _all_fields(owner: Any) -> list[Any]:
    messages = owner.nested_type if hasattr(owner, "nested_type") else owner.message_type
    own = [owner.extension, *([owner.field] if hasattr(owner, "nested_type") else [])]
    return own + [fields for message in messages for fields in _all_fields(message)]


def _sort(file: Any) -> None:
    public, weak = ({file.dependency[number] for number in kind} for kind in (file.public_dependency, file.weak_dependency))
    names = sorted(file.dependency)
    for kind, chosen in ((file.public_dependency, public), (file.weak_dependency, weak)):
        kind[:] = [number for number, name in enumerate(names) if name in chosen]
    file.dependency[:] = names
    for message in file.message_type:
        _sort_message(message)
    for enum in file.enum_type:
        _sort_enum(enum)


def _sort_message(message: Any) -> None:
    message.field.sort(key=lambda one: one.number)
    message.reserved_range.sort(key=lambda one: one.start)
    message.reserved_name[:] = sorted(message.reserved_name)
    for nested in message.nested_type:
        _sort_message(nested)
    for enum in message.enum_type:
        _sort_enum(enum)


def _sort_enum(enum: Any) -> None:
    """Negative numbers last: the first is the default."""
    enum.value.sort(key=lambda one: one.number & 0xFFFFFFFF)
    enum.reserved_range.sort(key=lambda one: one.start)
    enum.reserved_name[:] = sorted(enum.reserved_name)
