"""Which schema a topic's records have, as configured, and as a pipeline's definition says it. Pure.

The definition names the registry that gave the schema its id: a chunk that is sent again after the configuration names another
registry bears the id that it had.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.typed import TYPED_JSON

ENVELOPE: Final = "envelope"
OWN: Final = "own"
BUILT_IN: Final = {ENVELOPE: ENVELOPE_JSON, **TYPED_JSON}


@dataclass(frozen=True, slots=True)
class TopicSchema:
    """A schema, and the registry that has it. `type` is a name of BUILT_IN, or OWN, and `avro` the text of the user's own."""

    type: str
    registry: str
    avro: str = ""

    @property
    def text(self) -> str:
        """What is registered."""
        return self.avro if self.type == OWN else BUILT_IN[self.type]

    @property
    def step(self) -> dict[str, Any]:
        """As a step of a pipeline's definition."""
        return {name: value for name, value in asdict(self).items() if value}
