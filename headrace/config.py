"""Configuration: one YAML file per process, checked by a pydantic model (design D9).

Overrides, weakest first: the file, `HEADRACE__A__B=value` in the environment, `--set a.b=value`. A value is read as YAML, a
secret's as the text that it is.
Keys of the field (Kafka's, librdkafka's) contain dots, so a path is matched against the model greedily: where a mapping of
free keys is reached, the rest of the path is one key. In the environment `.` inside a key is written `_`. Secrets come from
files or variables: `${env:NAME}`, `${file:/path}` (`secret_references.py`).
An error names the file, the line and the key, and the nearest valid key.
"""

import difflib
import itertools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from headrace.errors import ConfigError
from headrace.secret_references import References
from headrace.settings import Secret, Settings

PREFIX = "HEADRACE__"
_MOST_KEYS_SHOWN = 20
_IN_PYDANTICS_WORDS = re.compile(r"^Input should be (.*?)(?:, unable to .*)?$")
_IN_YAMLS_WORDS = {
    "tuple_type": "must be a list, as [a, b]",
    "list_type": "must be a list, as [a, b]",
    "dict_type": "must be a mapping, as {a: b}",
    "mapping_type": "must be a mapping, as {a: b}",
    "model_type": "must be a mapping, as {a: b}",
    "string_type": "must be a text",
}
_ADDRESS = re.compile(r"[\s,]\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]:\d")  # [::1]:9092, which YAML takes for a list
_USER_INFO = re.compile(r"//[^/@\s]*@")  # name and password in a URL
_SECRET = re.compile(
    r"password|secret|bearer\.token|keystore\.key|user\.info|ssl\.key\.pem|oauthbearer\.config"
)  # in the name of a key whose value is never shown


class Section(BaseModel):
    """Base of every section of a configuration: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    derived: ClassVar[tuple[str, ...]] = ()
    """Properties that its settings have, too."""


M = TypeVar("M", bound=Section)
Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where each key was said: a file's line, a variable, or `--set`."""

    file: Path
    lines: dict[Path_, int]
    overridden: dict[Path_, str]

    def of(self, path: Path_) -> str:
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return self.overridden[path[:end]]
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return str(self.file)


def load_config(model: type[M], file: Path, *, overrides: Sequence[str], environment: Mapping[str, str]) -> M:
    """Read, override and check one configuration.

    Args:
        overrides: `a.b=value`, as given to `--set`.
        environment: the process's variables; those that begin with HEADRACE__ are used.
    Raises:
        ConfigError: naming file, line, key, and what to do.
    """
    tree, lines = _read(file)
    overridden: dict[Path_, str] = {}
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX):
            path = _resolve(model, name[len(PREFIX) :].lower().split("__"), from_environment=True, where=name)
            _put(tree, path, _value(path, value, name), name)
            overridden[path] = name
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: write it as --set key=value")
        path = _resolve(model, key.split("."), from_environment=False, where=f"--set {key}")
        _put(tree, path, _value(path, value, f"--set {key}"), f"--set {key}")
        overridden[path] = f"--set {key}"
    references = References(environment)
    tree = references.resolved(tree, str(file))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        told = references.hidden(_explain(model, error, _Origin(file, lines, overridden)))
        raise ConfigError(told) from None  # the cause holds the values


def settings_of(section: M) -> M:
    """The values alone (settings.py), by the same names; so they are of the section's type for whoever only reads them."""
    return cast("M", _plain(section))


def _plain(value: Any) -> Any:
    match value:
        case Section():
            fields = type(value).model_fields
            values = {name: _plain(getattr(value, name)) for name in (*fields, *value.derived)}
            return Settings(values, {field.alias or name: name for name, field in fields.items()})
        case SecretStr():
            return Secret(value.get_secret_value())
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return type(value)(map(_plain, value))
    return value


class _Loader(yaml.SafeLoader):
    """YAML's own, but that a value which is none of its kind (the 40th of March) is an error of YAML, with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            told = f"{node.value} is none ({error}); mend it, or quote it"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from error


def _read(file: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}; name a readable configuration file") from error
    lines: dict[Path_, int] = {}
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _collect_lines(node, (), lines, file)
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        bad = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark else ""
        do = "; quote an address in brackets" if _ADDRESS.search(bad) else ""
        raise ConfigError(f"{file}{line}: not YAML: {getattr(error, 'problem', None) or error}{do}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply, or an anchor holds itself; write it flat") from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}:1: a configuration is a mapping of sections, this is a {type(tree).__name__}")
    return tree, lines


def _collect_lines(node: yaml.Node, path: Path_, lines: dict[Path_, int], file: Path) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below, line = (*path, str(key.value)), key.start_mark.line + 1
            if below in lines:
                raise ConfigError(
                    f"{file}:{line}: {'.'.join(map(str, below))} is there already, in line {lines[below]}; keep one"
                )
            lines[below] = line
            _collect_lines(value, below, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect_lines(value, (*path, index), lines, file)


def _value(path: Path_, text: str, where: str) -> Any:
    """An override's value: YAML, but a secret is the text as it is, whatever it is made of, and no error shows it."""
    return text if is_secret(str(path[-1])) else _scalar(text, where)


def _scalar(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where}: {text!r} is not YAML; quote it") from error


def _resolve(model: type[BaseModel], words: Sequence[str], *, from_environment: bool, where: str) -> Path_:
    """Turn the words of an override into a path of keys and indexes, guided by the model."""
    path: list[str | int] = []
    kind: Any = model
    rest = list(words)
    while rest:
        kind = without_none(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            key, used, kind = _match_field(kind, rest, from_environment, where)
            path.append(key)
            rest = rest[used:]
        elif get_origin(kind) in (list, tuple, Sequence) and rest[0].isdigit():
            path.append(int(rest.pop(0)))
            kind = get_args(kind)[0]
        elif get_origin(kind) in (dict, Mapping) or kind in (dict, Any):
            path.append("__".join(rest).replace("_", ".") if from_environment else ".".join(rest))
            rest = []
        else:
            raise ConfigError(f"{where}: there is nothing below {'.'.join(map(str, path))}")
    return tuple(path)


def _match_field(model: type[BaseModel], rest: list[str], from_environment: bool, where: str) -> tuple[str, int, Any]:
    keys = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for used in range(len(rest), 0, -1):
        wanted = ".".join(rest[:used])
        for key, annotation in keys.items():
            same = key.lower().replace(".", "_") == wanted.lower().replace(".", "_") if from_environment else key == wanted
            if same:
                return key, used, annotation
    raise ConfigError(f"{where}: unknown key{_nearest(list(keys), '.'.join(rest), rest[0])}")


def without_none(kind: Any) -> Any:
    """The type of a field, without what pydantic is told beside it and without its None."""
    if get_origin(kind) is typing.Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (typing.Union, types.UnionType):
        rest = [option for option in get_args(kind) if option is not type(None)]
        return rest[0]
    return kind


def _put(tree: dict[str, Any], path: Path_, value: Any, where: str) -> None:
    at: Any = tree
    for step, below in itertools.pairwise(path):
        if isinstance(step, int) and isinstance(at, list) and step == len(at):
            at.append([] if isinstance(below, int) else {})
        elif isinstance(at, dict) and at.get(step) is None:
            at[step] = [] if isinstance(below, int) else {}
        try:
            at = at[step]
        except (IndexError, KeyError, TypeError) as error:
            raise ConfigError(f"{where}: {step} is past the end of its list") from error
    last = path[-1]
    if isinstance(last, int) and isinstance(at, list) and last == len(at):
        at.append(value)
        return
    try:
        at[last] = value
    except (IndexError, TypeError) as error:
        raise ConfigError(f"{where}: cannot be set there") from error


def _explain(model: type[BaseModel], error: ValidationError, origin: _Origin) -> str:
    """One fault, in one line (several are mended one after another): a mistyped key before the one that is missing for it."""
    faults = error.errors()
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path: Path_ = tuple(first["loc"])
    key = ".".join(map(str, path))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"{origin.of(path)}: unknown key {key}{_nearest(_keys_at(model, path[:-1]), str(path[-1]))}{more}"
    message = _IN_PYDANTICS_WORDS.sub(r"must be \1", first["msg"].removeprefix("Value error, "))
    message = _IN_YAMLS_WORDS.get(first["type"], message)
    if first["type"] == "missing":
        return f"{origin.of(path)}: {key} is missing{more}"
    if not path or is_secret(key) or isinstance(first["input"], dict | list):  # between keys, or not for everybody's eyes
        return f"{origin.of(path)}: {f'{key}: ' if path else ''}{message}{more}"
    where = origin.of(path)
    at = where if where.endswith(f" {key}") else f"{where}: {key}"  # --set has said it
    given = first["input"]
    shown = str(given) if isinstance(given, date) else repr(given)
    return f"{at}: {message}, not {without_user_info(shown)}{more}"


def without_user_info(text: str) -> str:
    """A text whose URLs show no name and password."""
    return _USER_INFO.sub("//…@", text)


def is_secret(key: str) -> bool:
    """Whether a key's value is one that nobody else may see."""
    return _SECRET.search(key) is not None


def _keys_at(model: type[BaseModel], path: Path_) -> list[str]:
    kind: Any = model
    for step in path:
        kind = without_none(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
            kind = fields.get(str(step))
        else:
            arguments = get_args(kind)
            kind = arguments[-1] if get_origin(kind) in (dict, Mapping) else arguments[0] if arguments else None
    kind = without_none(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _nearest(valid: list[str], *keys: str) -> str:
    """What to say of a key that is none; `keys` are the readings of what was written, the likeliest first."""
    for key in keys:
        if close := difflib.get_close_matches(key, valid, n=1):
            return f"; did you mean {close[0]}?"
    if len(valid) > _MOST_KEYS_SHOWN:
        return "; every key is told by: headrace config reference"
    return f"; valid keys: {', '.join(sorted(valid))}" if valid else ""
