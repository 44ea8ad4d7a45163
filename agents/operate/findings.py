"""What `headrace agent validate` finds: where it is in the configuration, what it is, and what to do."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from headrace.config_file import Origin, Place
from headrace.errors import ConfigError, Fault, HeadraceError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """An error keeps the agent from shipping something; a warning is worth a look; a note is told only to be known.

    `where` is a dotted key until it is located, then `file:line: key`; `key` is empty where none is meant.
    """

    severity: Severity
    where: str
    what: str
    do: str
    key: str = ""

    @classmethod
    def of_error(cls, where: str, error: HeadraceError, otherwise: str) -> "Finding":
        """What an error says; `otherwise` is to be done where it does not say what."""
        told = Fault.told("", "", str(error))
        return cls("error", where, told.what, told.do or otherwise)

    def located(self, origin: Origin, topics: dict[str, Place]) -> "Finding":
        """With the line; `topics` are the keys that name them."""
        word, _, topic = self.where.partition(" ")
        if word == "topic":  # which is no key
            return replace(self, where=f"{origin.of(topics[topic])}: {self.where}") if topic in topics else self
        return replace(self, where=f"{origin.of(tuple(self.where.split('.')))}: {self.where}", key=self.where)

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def of_faults(error: ConfigError) -> list[Finding]:
    """All that is wrong with a configuration that cannot be read."""
    return [Finding("error", each.place, each.what, each.do, each.key) for each in error.faults]
