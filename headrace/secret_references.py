"""References to secrets in a configuration: `${env:NAME}` and `${file:/path}`, as Kafka's config providers write them.

They are replaced when the configuration is read. A reference may stand anywhere in a text, more than one too. A file is taken
whole, without the line's end at its end. What is put in is remembered, so that no message shows it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import ConfigError

_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")
_MAX_BYTES = 1 << 20


@dataclass(slots=True)
class References:
    """Replaces the references of one configuration, and knows what was put in."""

    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict, repr=False)  # value → the reference that it was put in for

    def resolved(self, node: Any, where: str) -> Any:
        """A tree of mappings, lists and scalars with every reference in its texts replaced.

        Raises:
            ConfigError: a variable that is not set, or a file that cannot be read.
        """
        if isinstance(node, dict):
            return {key: self.resolved(value, where) for key, value in node.items()}
        if isinstance(node, list):
            return [self.resolved(value, where) for value in node]
        if isinstance(node, str):
            return _REFERENCE.sub(lambda match: self._value(match, where), node)
        return node

    def hidden(self, message: str) -> str:
        """A message with the references in place of their values."""
        for value in sorted(self.values, key=len, reverse=True):
            for shown in {value, repr(value)[1:-1]}:
                message = message.replace(shown, self.values[value])
        return message

    def _value(self, match: re.Match[str], where: str) -> str:
        kind, name = match.groups()
        value = self._variable(name, where) if kind == "env" else _content(name, where)
        if value:
            self.values[value] = match[0]
        return value

    def _variable(self, name: str, where: str) -> str:
        if name not in self.environment:
            raise ConfigError(f"{where}: ${{env:{name}}}: there is no such variable; set it")
        return self.environment[name]


def files_of(text: str) -> list[str]:
    """The files that a text's references name."""
    return [name for kind, name in _REFERENCE.findall(text) if kind == "file"]


def _content(name: str, where: str) -> str:
    try:
        with Path(name).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(
                f"{where}: ${{file:{name}}}: more than {_MAX_BYTES} bytes; name a file that holds the secret alone"
            )
        return content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"{where}: ${{file:{name}}}: {error.strerror or error}; name a readable file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: ${{file:{name}}}: not UTF-8 at byte {error.start}") from error
