"""A step of the user's own: a Python function, `module:function` or `/path/to/file.py:function`.

It is called with one event as a dict: `message` (text), `fields` (name → text), and `host`, `service`, `source`, `position`, to
be read. It returns the dict, whose message and fields are taken, or None to leave the line out. Values that are no text become
JSON. What it returns may depend on anything, so its answers are kept beside the chunk's row: a repeat takes them, and does
not ask again (docs/adr/0039).
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

from headrace.agents.events.transforms.record import Answer, Record, Step

LEFT_OUT = "python"
TRANSFORM_ERROR = "transform_error"
_MOST_ERROR_CHARACTERS = 300

Function = Callable[[dict[str, Any]], Any]


def split_name(name: str) -> tuple[str, str]:
    """The module or file, and the function.

    Raises:
        ValueError: it is not written so.
    """
    where, colon, function = name.rpartition(":")
    if not colon or not where or not function.isidentifier():
        raise ValueError(f"{name!r}: write it as module:function or /path/to/file.py:function")
    return where, function


def digest_of(name: str) -> str:
    """What tells one version of a file from another; of a module's name nothing does but a restart.

    Raises:
        ValueError: the file cannot be read.
    """
    where, _ = split_name(name)
    if not where.endswith(".py"):
        return ""
    try:
        return sha256(Path(where).read_bytes()).hexdigest()[:32]
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror}") from error


@lru_cache(maxsize=16)
def loaded(name: str, digest: str) -> Function:
    """The function, as its file is now: a chunk that was not answered for before a restart asks what is there.

    Raises:
        ValueError: it cannot be loaded, with the reason.
    """
    where, attribute = split_name(name)
    try:
        module = _from_file(where, digest) if digest else importlib.import_module(where)
        function = getattr(module, attribute)
    except Exception as error:
        raise ValueError(f"{name} cannot be loaded: {_told(error)}") from error
    if not callable(function):
        raise ValueError(f"{name} is no function")
    return function  # type: ignore[no-any-return]  # what it returns is looked at


class _Loader(SourceFileLoader):
    """Without `__pycache__`, which takes a file for unchanged that was written again within a second."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the one module of this loader
        return self.source_to_code(self.get_data(self.path), self.path)


def _from_file(where: str, digest: str) -> Any:
    name = f"headrace_transform_{digest}"
    spec = importlib.util.spec_from_file_location(name, where, loader=_Loader(name, where))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def python(name: str, digest: str) -> Step:
    def step(record: Record) -> str | None:
        answer = _ask(name, digest, record) if record.repeated is None else next(record.repeated)
        record.answers.append(answer)
        if answer is False:
            return LEFT_OUT
        if isinstance(answer, str):
            record.fields[TRANSFORM_ERROR] = answer
        else:
            record.text, record.fields = answer[0], dict(answer[1])
        return None

    return step


def _ask(name: str, digest: str, record: Record) -> Answer:
    """What the function says: False to leave the line out, an error's text, or a message and fields."""
    event = {"message": record.text, "fields": dict(record.fields), "position": record.position, **record.origin}
    try:
        answer = loaded(name, digest)(event)
        return False if answer is None else _checked(answer, record)
    except Exception as error:  # noqa: BLE001 - whatever a user's function raises, the line is shipped
        return _told(error)


def _checked(answer: Any, record: Record) -> Answer:
    message, fields = answer["message"], answer["fields"]
    if not isinstance(message, str):
        raise TypeError("message must be a text")
    if message != record.text and len(message.encode("utf-8", "backslashreplace")) > record.room_bytes:
        raise ValueError(f"message must not be longer than the line, {record.room_bytes} bytes; what is added goes into fields")
    texts = {
        str(name): value if isinstance(value, str) else json.dumps(value) for name, value in fields.items() if value is not None
    }
    return message.encode("utf-8", "backslashreplace").decode(), texts


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:_MOST_ERROR_CHARACTERS]
