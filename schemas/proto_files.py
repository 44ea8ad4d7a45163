"""Protobuf schemas as the registry has them, texts that import each other, to what Google's own compiler makes of them.

The compiler runs in a process of its own, with a deadline: it is written in C++, and the texts are whoever's may register.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from headrace.errors import PeerError

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

MAIN_FILE: Final = "headrace-main-schema.proto"
DEADLINE_S: Final = 30
_MAX_MESSAGE: Final = 500
"""Characters of what the compiler says."""
_NOISE: Final = re.compile(r"^WARNING: |^[IW]\d{4} |: warning: ")


class ProtoError(ValueError):
    """The text is no Protobuf schema; the message says why."""


def compile_files(text: str, imports: Iterable[tuple[str, str]] = ()) -> "FileDescriptorSet":
    """What a schema and all that it imports define; the schema itself is the file MAIN_FILE, the last one.

    Args:
        imports: (name that it is imported by, text); `google/protobuf/*.proto` need not be among them.
    Raises:
        ProtoError: it does not compile, or not within the deadline.
        PeerError: there is no compiler.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    with TemporaryDirectory(prefix="headrace-proto-") as folder:
        root = Path(folder)
        for name, imported in imports:
            _write(root / "in" / _checked(name), imported)
        _write(root / "in" / MAIN_FILE, text)
        _run_compiler(root)
        return FileDescriptorSet.FromString((root / "out").read_bytes())


def _checked(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or not name.endswith(".proto")
        or {"..", ""} & set(name.split("/"))
        or name == MAIN_FILE
        or "\0" in name
    ):
        raise ProtoError(f"it imports {name[:100]!r}, which is no name of a file")
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeEncodeError) as error:
        raise ProtoError(f"its file {path.name[:100]!r} cannot be written: {error}") from error


def _run_compiler(root: Path) -> None:
    found = find_spec("grpc_tools")
    if found is None or not found.submodule_search_locations:
        raise PeerError("records have Protobuf schemas, and their compiler is missing; run: pip install 'headrace[sinks]'")
    command = [
        *(sys.executable, "-I", "-m", "grpc_tools.protoc"),
        f"--proto_path={root / 'in'}",
        f"--proto_path={Path(found.submodule_search_locations[0]) / '_proto'}",
        "--include_imports",
        f"--descriptor_set_out={root / 'out'}",
        MAIN_FILE,
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False, cwd=root / "in")
    except subprocess.TimeoutExpired as error:
        raise ProtoError(f"it does not compile within {DEADLINE_S} s") from error
    if done.returncode != 0 or not (root / "out").exists():
        lines = done.stderr.decode(errors="replace").replace(f"{root}/in/", "").splitlines()
        said = "; ".join(line.removeprefix(f"{MAIN_FILE}:") for line in lines if not _NOISE.search(line)).strip()
        raise ProtoError(said[:_MAX_MESSAGE] or f"protoc ended with {done.returncode}")
