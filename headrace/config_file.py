"""A configuration's file: YAML, and in which line each of its keys stands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import ConfigError, Fault

_ADDRESS = re.compile(r"[\s,]\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]:\d")  # [::1]:9092, which YAML takes for a list
Place = tuple[str | int, ...]
"""Where a value is: keys, and indexes of lists."""


def dotted(place: Place) -> str:
    """A place as `--set` takes it."""
    return ".".join(map(str, place))


@dataclass(slots=True)
class Origin:
    """Where each key of a configuration was said: a line of its file, a variable, or `--set`."""

    file: Path
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)
    overridden: dict[tuple[str, ...], str] = field(default_factory=dict)

    def override(self, place: Place, where: str) -> None:
        """Note that a variable or `--set` says it."""
        self.overridden[tuple(map(str, place))] = where

    def of(self, place: Place) -> str:
        """Where it is said; for what is not, where that is said which it would be in."""
        path = tuple(map(str, place))
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return self.overridden[path[:end]]
        return f"{self.file}:{self.line(place)}"

    def line(self, place: Place) -> int:
        """The line of the file that says it, or what it would be in; 1 where there is none."""
        path = tuple(map(str, place))
        return next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), 1)

    def fault(self, place: Place, what: str, do: str) -> Fault:
        """Something wrong there."""
        return Fault(self.of(place), dotted(place), what, do)


class _Loader(yaml.SafeLoader):
    """YAML's own, but that a value which is none of its kind (the 40th of March) is an error of YAML, with its line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            told = f"{node.value} is none ({error}); mend it, or quote it"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from error


def read(file: Path) -> tuple[dict[str, Any], Origin, list[Fault]]:
    """What a file holds, where, and what is wrong with it and yet leaves it readable: keys that are there twice.

    Raises:
        ConfigError: it cannot be read, or is no mapping in YAML.
    """
    text = _text(file)
    origin, faults = Origin(file), list[Fault]()
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            _collect(node, (), origin, faults)
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        told = Fault.told(where, "", f"not YAML: {_problem(error)}")
        raise ConfigError(Fault(told.where, "", told.what, told.do or _yaml_advice(text, mark))) from error
    except RecursionError as error:
        raise ConfigError(Fault(str(file), "", "nested too deeply, or an anchor holds itself", "write it flat")) from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        what = f"a configuration is a mapping of sections, this is a {type(tree).__name__}"
        raise ConfigError(Fault(f"{file}:1", "", what, "begin with a section's name and a colon, as `kafka:`"))
    return tree, origin, faults


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(Fault(str(file), "", f"not UTF-8 at byte {error.start}", "save it as UTF-8")) from error
    except OSError as error:
        do = "name a readable configuration file"
        raise ConfigError(Fault(str(file), "", error.strerror or str(error), do)) from error


def _problem(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or " ".join(str(error).split())


def _yaml_advice(text: str, mark: yaml.Mark | None) -> str:
    bad = "".join(text.splitlines()[mark.line : mark.line + 1]) if mark is not None else ""
    if mark is not None and "\t" in bad[: mark.column + 1]:
        return "indent with spaces, not with tabs"
    if _ADDRESS.search(bad):
        return "quote an address in brackets"
    return "look at this line and the one before: indentation, a colon, a quote or bracket that is not closed"


def scalar(text: str, where: str) -> Any:
    """The value of an override, which is YAML too.

    Raises:
        ConfigError: it is none.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(Fault(where, "", f"{text!r} is not YAML", "quote it")) from error


def _collect(node: yaml.Node, path: tuple[str, ...], origin: Origin, faults: list[Fault]) -> None:
    origin.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below, line = (*path, str(key.value)), key.start_mark.line + 1
            if below in origin.lines:
                what = f"it is there already, in line {origin.lines[below]}"
                faults.append(Fault(f"{origin.file}:{line}", dotted(below), what, "keep one"))
                continue
            origin.lines[below] = line
            _collect(value, below, origin, faults)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _collect(value, (*path, str(index)), origin, faults)


def at(tree: Any, place: Place) -> Any:
    """What a tree of mappings and lists holds there; None where nothing is."""
    for step in place:
        if isinstance(tree, Mapping):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree
