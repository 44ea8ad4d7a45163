"""What variables and `--set` say over a configuration's file.

Keys of the field (Kafka's, librdkafka's) contain dots, so a path is matched against the model greedily: where a mapping of
free keys is reached, the rest of the path is one key. In the environment `.` inside a key is written `_`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from headrace.config_file import Origin, Place, dotted, scalar
from headrace.config_keys import fields_of, nearest, without_none
from headrace.config_secrets import is_secret
from headrace.errors import ConfigError, Fault

PREFIX = "HEADRACE__"


def apply(
    model: type[BaseModel], tree: dict[str, Any], origin: Origin, overrides: Sequence[str], environment: Mapping[str, str]
) -> list[Fault]:
    """Change a tree as they say, `--set` last; what cannot be done is told."""
    faults: list[Fault] = []
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX):
            words = name[len(PREFIX) :].lower().split("__")
            _apply_one(model, tree, origin, words, value, name, faults)
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and key:
            _apply_one(model, tree, origin, key.split("."), value, f"--set {key}", faults)
        else:
            faults.append(Fault(f"--set {override}", "", "it has no `=`" if key else "it has no key", "write --set key=value"))
    return faults


def _apply_one(
    model: type[BaseModel],
    tree: dict[str, Any],
    origin: Origin,
    words: Sequence[str],
    text: str,
    where: str,
    faults: list[Fault],
) -> None:
    try:
        place = _resolve(model, words, from_environment=where.startswith(PREFIX), where=where)
        # A secret is the text as it is, whatever it is made of, and no error shows it.
        _put(tree, place, text if is_secret(str(place[-1])) else scalar(text, where), where)
    except ConfigError as error:
        faults += error.faults
    else:
        origin.override(place, where)


def _resolve(model: type[BaseModel], words: Sequence[str], *, from_environment: bool, where: str) -> Place:
    """Turn the words of an override into a path of keys and indexes, guided by the model."""
    path: list[str | int] = []
    kind: Any = model
    rest = list(words)
    while rest:
        kind = without_none(kind)
        if fields_of(kind):
            key, used, kind = _match_field(kind, rest, from_environment, where)
            path.append(key)
            rest = rest[used:]
        elif get_origin(kind) in (list, tuple, Sequence) and rest[0].isdecimal():
            path.append(int(rest.pop(0)))
            kind = get_args(kind)[0]
        elif get_origin(kind) in (list, tuple, Sequence):
            what = f"{dotted(tuple(path))} is a list, and {rest[0]} no place in it"
            raise ConfigError(Fault(where, "", what, f"write {dotted((*path, 0))} for its first"))
        elif get_origin(kind) in (dict, Mapping) or kind in (dict, Any):
            path.append("__".join(rest).replace("_", ".") if from_environment else ".".join(rest))
            rest = []
        else:
            above = dotted(tuple(path))
            raise ConfigError(Fault(where, "", f"there is nothing below {above}", f"set {above} itself"))
    return tuple(path)


def _match_field(model: type[BaseModel], rest: list[str], from_environment: bool, where: str) -> tuple[str, int, Any]:
    keys = {key: field.annotation for key, field in fields_of(model).items()}
    for used in range(len(rest), 0, -1):
        wanted = ".".join(rest[:used])
        for key, annotation in keys.items():
            same = key.lower().replace(".", "_") == wanted.lower().replace(".", "_") if from_environment else key == wanted
            if same:
                return key, used, annotation
    raise ConfigError(Fault(where, "", "unknown key", nearest(list(keys), ".".join(rest), rest[0])))


def _put(tree: dict[str, Any], path: Place, value: Any, where: str) -> None:
    at: Any = tree
    for step, below in itertools.pairwise(path):
        if isinstance(step, int) and isinstance(at, list) and step == len(at):
            at.append([] if isinstance(below, int) else {})
        elif isinstance(at, dict) and at.get(step) is None:
            at[step] = [] if isinstance(below, int) else {}
        at = _step(at, step, where)
    last = path[-1]
    if isinstance(last, int) and isinstance(at, list) and last == len(at):
        at.append(value)
        return
    if isinstance(at, list):
        _step(at, last, where)
    try:
        at[last] = value
    except TypeError as error:
        do = f"say {dotted(path[:-1])} whole, or in the file as a mapping"
        raise ConfigError(Fault(where, "", f"{dotted(path[:-1])} holds a single value, with nothing below it", do)) from error


def _step(at: Any, step: str | int, where: str) -> Any:
    try:
        return at[step]
    except IndexError as error:
        do = f"its next place is {len(at)}"
        raise ConfigError(Fault(where, "", f"{step} is past the end of its list", do)) from error
    except (KeyError, TypeError) as error:
        what = f"what is to hold {step} is no {'list' if isinstance(step, int) else 'mapping'}"
        raise ConfigError(Fault(where, "", what, "say that one whole, or mend the file")) from error
