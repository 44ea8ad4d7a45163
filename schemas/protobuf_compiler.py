"""Protobuf schemas as the registry has them, texts that import each other, to what Google's own compiler makes of them.

The compiler runs in a process of its own, with a deadline: it is written in C++, and the texts are whoever's may register. It
takes 40 ms, so small results are kept.
"""

import errno
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from headrace.errors import PeerError
from headrace.schemas.invalid import InvalidSchemaError

MAIN_FILE: Final = "headrace-main-schema.proto"
DEADLINE_S: Final = 30
_MAX_MESSAGE: Final = 500
"""Characters of what the compiler says."""
_NOISE: Final = re.compile(r"^WARNING: |^[IW]\d{4} |: warning: ")
_OF_ITS_NAME: Final = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL)
"""What the name of an import can be guilty of; all else is the disk's fault."""
_KNOWN: Final = Path(__file__).parent / "known"
_KEPT: Final = 64
_KEPT_LENGTH: Final = 16 * 1024


def compiled(text: str, imports: Sequence[tuple[str, str]] = ()) -> list[Any]:
    """The `FileDescriptorProto`s of what a schema imports, each after what it imports itself, and last of itself, as MAIN_FILE.

    Args:
        imports: (name that it is imported by, text); those that everybody knows need not be among them, as in Confluent's
            registry: `google/protobuf/*.proto`, `google/type/*.proto` and Confluent's own.
    Raises:
        InvalidSchemaError: it does not compile, or not within the deadline; the message names line and column, both from 1.
        PeerError: there is no compiler, or no room for its files: this says nothing of the schema.
    """
    length = len(text) + sum(len(one) for _, one in imports)
    compile_it = _compiled_and_kept if length <= _KEPT_LENGTH else _compiled
    return list(FileDescriptorSet.FromString(compile_it(text, tuple(imports))).file)


def _compiled(text: str, imports: tuple[tuple[str, str], ...]) -> bytes:
    try:
        with TemporaryDirectory(prefix="headrace-proto-") as folder:
            root = Path(folder)
            for name, imported in imports:
                _write(root / "in" / _checked(name), imported)
            _write(root / "in" / MAIN_FILE, text)
            _run_compiler(root)
            return (root / "out").read_bytes()
    except OSError as error:
        raise PeerError(f"Protobuf's compiler cannot run in {gettempdir()}: {error.strerror or error} (TMPDIR)") from error


_compiled_and_kept: Final = lru_cache(_KEPT)(_compiled)


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or not name.endswith(".proto")
        or {"..", ""} & set(name.split("/"))
        or name == MAIN_FILE
        or "\0" in name
    ):
        raise InvalidSchemaError(f"it imports {name[:100]!r}, which is no name of a file")
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeEncodeError) as error:
        if isinstance(error, OSError) and error.errno not in _OF_ITS_NAME:
            raise
        raise InvalidSchemaError(f"its file {path.name[:100]!r} cannot be written: {error}") from error


def _folder(package: str) -> Path | None:
    found = find_spec(package)
    return Path(found.submodule_search_locations[0]) if found is not None and found.submodule_search_locations else None


def _run_compiler(root: Path) -> None:
    tools, types = _folder("grpc_tools"), _folder("google.type")
    if tools is None:
        raise PeerError("Protobuf schemas need their compiler, which is missing; run: pip install 'headrace[sinks]'")
    command = [
        *(sys.executable, "-I", "-m", "grpc_tools.protoc"),
        f"--proto_path={root / 'in'}",
        f"--proto_path={tools / '_proto'}",
        f"--proto_path={_KNOWN}",
        *([] if types is None else [f"--proto_path=google/type={types}"]),
        "--include_imports",
        f"--descriptor_set_out={root / 'out'}",
        MAIN_FILE,
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False, cwd=root / "in")
    except subprocess.TimeoutExpired as error:
        raise InvalidSchemaError(f"it does not compile within {DEADLINE_S} s") from error
    if done.returncode != 0 or not (root / "out").exists():
        lines = done.stderr.decode(errors="replace").replace(f"{root}/in/", "").splitlines()
        said = "; ".join(line.removeprefix(f"{MAIN_FILE}:") for line in lines if not _NOISE.search(line)).strip()
        raise InvalidSchemaError(said[:_MAX_MESSAGE] or f"protoc ended with {done.returncode}")
