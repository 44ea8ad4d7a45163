"""What `headrace agent validate` finds: where it is in the configuration, what it is, and what to do."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """An error keeps the agent from shipping something; a warning is worth a look; a note is told only to be known."""

    severity: Severity
    where: str
    what: str
    do: str = ""

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
