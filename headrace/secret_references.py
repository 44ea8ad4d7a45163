"""References to secrets in a configuration: `${env:NAME}` and `${file:/path}`, as Kafka's config providers write them.

They are replaced when the configuration is read. A reference may stand anywhere in a text, more than one too. A file is taken
whole, without the line's end at its end. What is put in is remembered, so that no message shows it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace.config_file import Place, dotted
from headrace.errors import ConfigError, Fault

_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_MAX_BYTES = 1 << 20


@dataclass(slots=True)
class References:
    """Replaces the references of one configuration, and knows what was put in and what was not there to be."""

    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict, repr=False)  # value → the reference that it was put in for
    missing: dict[Place, tuple[str, str]] = field(default_factory=dict)  # of a place: what is wrong, what to do

    def resolved(self, node: Any, place: Place = ()) -> Any:
        """A tree of mappings, lists and scalars with every reference in its texts replaced; what is not there stays a
        reference, and is `missing`."""
        if isinstance(node, dict):
            return {key: self.resolved(value, (*place, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolved(value, (*place, index)) for index, value in enumerate(node)]
        if isinstance(node, str):
            return _REFERENCE.sub(lambda match: self._value(match, place), node)
        return node

    def required(self, node: Any, where: str) -> Any:
        """The same, of what stands in no configuration.

        Raises:
            ConfigError: a variable that is not set, or a file that cannot be read.
        """
        found = self.resolved(node)
        if self.missing:
            raise ConfigError(*(Fault(where, dotted(place), what, do) for place, (what, do) in self.missing.items()))
        return found

    def hidden(self, fault: Fault) -> Fault:
        """A fault with the references in place of their values."""
        return replace(fault, what=self._hidden(fault.what), do=self._hidden(fault.do))

    def _hidden(self, message: str) -> str:
        for value in sorted(self.values, key=len, reverse=True):
            for shown in {value, repr(value)[1:-1]}:
                message = message.replace(shown, self.values[value])
        return message

    def _value(self, match: re.Match[str], place: Place) -> str:
        kind, name = match.groups()
        value = self.environment.get(name) if kind == "env" else self._content(name, place)
        if kind == "env" and value is None:
            self.missing[place] = f"{match[0]}: there is no such variable", "set it in the environment"
        if value is None:
            return match[0]
        if value:
            self.values[value] = match[0]
        return value

    def _content(self, name: str, place: Place) -> str | None:
        try:
            with Path(name).open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
            if len(content) <= _MAX_BYTES:
                return content.decode().removesuffix("\n").removesuffix("\r")
            told = f"more than {_MAX_BYTES} bytes", "name a file that holds the secret alone"
        except OSError as error:
            told = error.strerror or str(error), "name a readable file"
        except UnicodeDecodeError as error:
            told = f"not UTF-8 at byte {error.start}", "name a file of text"
        self.missing[place] = f"${{file:{name}}}: {told[0]}", told[1]
        return None


def files_of(text: str) -> list[str]:
    """The files that a text's references name."""
    return [name for kind, name in _REFERENCE.findall(text) if kind == "file"]
