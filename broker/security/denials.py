"""What was refused for want of a right: counted, and told in the log, as Kafka's authorizer log tells it."""

import logging
from collections import Counter

from headrace.broker.security.access import Operation, Principal, ResourceType

logger = logging.getLogger(__name__)
_NAME_CHARACTERS = 300  # of a resource: clients choose names


class Denials:
    """Those of one broker."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()  # (operation, kind of resource)

    def note(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        """Somebody was refused that, whatever rule said so."""
        self.counts[operation.name, kind.name] += 1
        said = {
            "client": host,  # so that a flood of them is cut (logs.py)
            "principal": str(principal)[:_NAME_CHARACTERS],
            "operation": operation.name,
            "resource": f"{kind.name}:{name[:_NAME_CHARACTERS]}",
        }
        logger.info("denied", extra=said)
