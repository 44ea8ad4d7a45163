"""What the registry asks of Protobuf's compiler (`proto_files`), which takes 40 ms: small results are kept."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from google.protobuf import descriptor_pb2

from headrace.schemas.invalid import InvalidSchemaError
from headrace.schemas.proto_files import ProtoError, compile_files

_KEPT: Final = 64
_KEPT_LENGTH: Final = 16 * 1024


def compiled(text: str, references: Sequence[tuple[str, str]]) -> list[Any]:
    """The `FileDescriptorProto`s of what a schema imports, each after what it imports itself, and of the schema last.

    Args:
        references: names, as they are imported, and texts.
    Raises:
        InvalidSchemaError: it does not compile; the message names line and column, both from 1.
    """
    length = len(text) + sum(len(one) for _, one in references)
    compile_it = _compiled_and_kept if length <= _KEPT_LENGTH else _compiled
    return list(descriptor_pb2.FileDescriptorSet.FromString(compile_it(text, tuple(references))).file)


def _compiled(text: str, references: tuple[tuple[str, str], ...]) -> bytes:
    try:
        return bytes(compile_files(text, references).SerializeToString())
    except ProtoError as error:
        raise InvalidSchemaError(str(error)) from error


_compiled_and_kept: Final = lru_cache(_KEPT)(_compiled)
