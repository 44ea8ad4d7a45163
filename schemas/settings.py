"""Configurations and modes, of subjects, of contexts and of all. Pure.

As in Confluent's registry the narrowest configuration counts whole: a subject's, else its context's, else that of all contexts
(`:.__GLOBAL:`). That of the default context is the one without a name (`/config`), so it counts for no subject of another.
"""

from collections.abc import Mapping
from typing import Any, Final

from headrace.schemas.compatibility import DEFAULT_LEVEL, LEVELS, POLICIES
from headrace.schemas.records import LEVEL, MEMBERS, MODES
from headrace.schemas.subjects import DEFAULT_CONTEXT, GLOBAL_CONTEXT, joined, split

DEFAULT_MODE: Final = "READWRITE"
ALIAS: Final = "alias"
_EVERYWHERE: Final = joined(GLOBAL_CONTEXT, "")


class Settings:
    """What was set, by subject (a context is `:.context:`, the default one None)."""

    def __init__(self) -> None:
        self._configs: dict[str | None, Mapping[str, Any]] = {}
        self._modes: dict[str | None, str] = {}

    def set_config(self, subject: str | None, config: Mapping[str, Any]) -> None:
        """Take a configuration; members that are none of ours do not count, and an empty one takes back."""
        known = {name: value for name, value in config.items() if name in MEMBERS and isinstance(value, MEMBERS[name])}
        for name, allowed in ((LEVEL, LEVELS), ("compatibilityPolicy", POLICIES)):
            if known.get(name) not in allowed:
                known.pop(name, None)
        if known:
            self._configs[_scope(subject)] = known
        else:
            self._configs.pop(_scope(subject), None)

    def set_mode(self, subject: str | None, mode: object) -> None:
        """Take a mode; what is none takes back."""
        if mode in MODES:
            self._modes[_scope(subject)] = str(mode)
        else:
            self._modes.pop(_scope(subject), None)

    def config(self, subject: str | None) -> Mapping[str, Any]:
        """What was set for this one itself."""
        return self._configs.get(_scope(subject), {})

    def config_in_force(self, subject: str | None) -> dict[str, Any]:
        """What counts for a subject."""
        found = next((self._configs[scope] for scope in _scopes(subject) if scope in self._configs), {})
        return {LEVEL: DEFAULT_LEVEL, **found}

    def level(self, subject: str | None) -> str:
        """The compatibility level that a new version of a subject is held to."""
        return str(self.config_in_force(subject)[LEVEL])

    def aliased(self, subject: str) -> str | None:
        """The subject that this one's own configuration says it is another name of, as it is written there."""
        return self.config(subject).get(ALIAS) or None

    def aliases(self) -> dict[str, str]:
        """Every name that is an alias, with what it is one of."""
        return {
            name: str(config[ALIAS]) for name, config in sorted(self._configs.items(), key=str) if name and config.get(ALIAS)
        }

    def mode(self, subject: str | None) -> str | None:
        """What was set for this one itself."""
        return self._modes.get(_scope(subject))

    def mode_in_force(self, subject: str | None) -> str:
        """What counts for a subject; READONLY_OVERRIDE of all goes before what is narrower."""
        found = next((self._modes[scope] for scope in _scopes(subject) if scope in self._modes), DEFAULT_MODE)
        return self.override or found

    def modes_within(self, scope: str | None) -> list[str]:
        """The subjects of a context that have a mode of their own; `scope` is the context's, or a subject, which has none."""
        if scope is not None and split(scope)[1]:
            return []
        context = DEFAULT_CONTEXT if scope is None else split(scope)[0]
        return sorted(one for one in self._modes if one and split(one)[0] == context and split(one)[1])

    @property
    def override(self) -> str | None:
        """READONLY_OVERRIDE, where that was set for all."""
        override = "READONLY_OVERRIDE"
        return override if override in (self._modes.get(None), self._modes.get(_EVERYWHERE)) else None


def _scope(subject: str | None) -> str | None:
    """The default context by any of its names is one scope."""
    return None if subject == joined(DEFAULT_CONTEXT, "") else subject


def _scopes(subject: str | None) -> list[str | None]:
    """From the narrowest to the widest."""
    if subject is None:
        return [None, _EVERYWHERE]
    return [_scope(subject), _scope(joined(split(subject)[0], "")), _EVERYWHERE]
