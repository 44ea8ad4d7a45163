"""Protobuf's own compiler, run on a schema and what it refers to.

It runs as a process of its own (40 ms): what it makes of strange texts then cannot end the registry.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from google.protobuf import descriptor_pb2

from headrace.schemas.invalid import InvalidSchemaError

FILE: Final = "default"  # what a schema is called while it is compiled
_LONGEST_S: Final = 10
_NOISE: Final = re.compile(r"WARNING: |[IW]\d{4} ")
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
    with tempfile.TemporaryDirectory(prefix="headrace-schema-") as name:
        directory = Path(name)
        for import_name, imported in (*references, (FILE, text)):
            path = PurePosixPath(import_name)
            if path.is_absolute() or ".." in path.parts or not path.parts or len(import_name) > 200 or "\0" in import_name:
                raise InvalidSchemaError(f"reference {import_name[:200]!r}: no name that can be imported")
            try:
                (directory / path).parent.mkdir(parents=True, exist_ok=True)
                (directory / path).write_bytes(imported.encode())
            except (OSError, UnicodeError) as error:
                raise InvalidSchemaError(f"reference {import_name[:200]!r}: it cannot be stored for the compiler") from error
        out = directory / ".descriptors"
        arguments = ["-m", "grpc_tools.protoc", f"-I{directory}", "--include_imports", f"--descriptor_set_out={out}", FILE]
        try:
            done = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=_LONGEST_S, check=False)
        except subprocess.TimeoutExpired:
            raise InvalidSchemaError(f"it takes longer than {_LONGEST_S} s to compile") from None
        if done.returncode != 0:
            raise InvalidSchemaError(_said(done.stderr.decode(errors="replace"), name))
        return out.read_bytes()


_compiled_and_kept: Final = lru_cache(_KEPT)(_compiled)


def _said(errors: str, directory: str) -> str:
    lines = [line.replace(f"{directory}/", "").removeprefix(f"{FILE}:") for line in errors.splitlines()]
    told = [line for line in lines if line and " warning: " not in line and not _NOISE.match(line)]
    return "; ".join(told[:5])[:1000] or "the Protobuf compiler gives no reason"
