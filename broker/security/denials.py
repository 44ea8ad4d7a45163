"""What was refused for want of a right: counted, and told in the log, as Kafka's authorizer log tells it.

A client can be refused as often as it asks, so there is a line a second, with how many were left out.
"""

import logging
from collections import Counter

from headrace.broker.security.access import Operation, Principal, ResourceType
from headrace.clock import Clock

logger = logging.getLogger(__name__)
_LOGGED_EVERY_MS = 1000
_NAME_CHARACTERS = 300  # of a resource: clients choose names


class Denials:
    """Those of one broker."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counts: Counter[tuple[str, str]] = Counter()  # (operation, kind of resource)
        self._logged_ms: int | None = None
        self._unlogged = 0

    def note(self, principal: Principal, host: str, operation: Operation, kind: ResourceType, name: str) -> None:
        """Somebody was refused that, whatever rule said so."""
        now_ms = self._clock.monotonic_ms()
        self.counts[operation.name, kind.name] += 1
        if self._logged_ms is not None and now_ms - self._logged_ms < _LOGGED_EVERY_MS:
            self._unlogged += 1
            return
        more = f" (and {self._unlogged} more since the last such line)" if self._unlogged else ""
        said = {
            "client": host,
            "principal": str(principal)[:_NAME_CHARACTERS],
            "operation": operation.name,
            "resource": f"{kind.name}:{name[:_NAME_CHARACTERS]}",
        }
        logger.info("denied%s", more, extra=said)
        self._logged_ms, self._unlogged = now_ms, 0
