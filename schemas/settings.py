"""Configurations and modes, of subjects, of contexts and of all; the narrowest that was set counts. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from headrace.schemas.compatibility import DEFAULT_LEVEL, LEVELS
from headrace.schemas.records import MODES
from headrace.schemas.subjects import joined, split

LEVEL: Final = "compatibilityLevel"
DEFAULT_MODE: Final = "READWRITE"
_FLAGS: Final = ("normalize", "validateFields", "validateRules")
_TEXTS: Final = ("alias", "compatibilityGroup", "compatibilityPolicy")
_OBJECTS: Final = ("defaultMetadata", "overrideMetadata", "defaultRuleSet", "overrideRuleSet")
# Of these `compatibilityLevel`, `compatibilityGroup` and `normalize` are acted on; the others are kept for clients.
MEMBERS: Final[Mapping[str, type]] = (
    {LEVEL: str} | dict.fromkeys(_FLAGS, bool) | dict.fromkeys(_TEXTS, str) | dict.fromkeys(_OBJECTS, dict)
)


class Settings:
    """What was set, by subject (a context is `:.context:`, all is None)."""

    def __init__(self) -> None:
        self._configs: dict[str | None, Mapping[str, Any]] = {}
        self._modes: dict[str | None, str] = {}

    def set_config(self, subject: str | None, config: Mapping[str, Any]) -> None:
        """Take a configuration; members that are none of ours do not count, and an empty one takes back."""
        known = {name: value for name, value in config.items() if name in MEMBERS and isinstance(value, MEMBERS[name])}
        if known.get(LEVEL, DEFAULT_LEVEL) not in LEVELS:
            del known[LEVEL]
        if known:
            self._configs[subject] = known
        else:
            self._configs.pop(subject, None)

    def set_mode(self, subject: str | None, mode: object) -> None:
        """Take a mode; what is none takes back."""
        if mode in MODES:
            self._modes[subject] = str(mode)
        else:
            self._modes.pop(subject, None)

    def config(self, subject: str | None) -> Mapping[str, Any]:
        """What was set for this one itself."""
        return self._configs.get(subject, {})

    def config_in_force(self, subject: str | None) -> dict[str, Any]:
        """What counts for a subject: each member as the narrowest says."""
        found: dict[str, Any] = {LEVEL: DEFAULT_LEVEL}
        for scope in reversed(_scopes(subject)):
            found |= self._configs.get(scope, {})
        return found

    def level(self, subject: str | None) -> str:
        """The compatibility level that a new version of a subject is held to."""
        return str(self.config_in_force(subject)[LEVEL])

    def mode(self, subject: str | None) -> str | None:
        """What was set for this one itself."""
        return self._modes.get(subject)

    def mode_in_force(self, subject: str | None) -> str:
        """What counts for a subject; READONLY_OVERRIDE of a context or of all goes before what is narrower."""
        scopes = [self._modes[scope] for scope in _scopes(subject) if scope in self._modes]
        return "READONLY_OVERRIDE" if "READONLY_OVERRIDE" in scopes else next(iter(scopes), DEFAULT_MODE)


def _scopes(subject: str | None) -> list[str | None]:
    """From the narrowest to the widest."""
    return [None] if subject is None else [subject, joined(split(subject)[0], ""), None]
