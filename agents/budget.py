"""How much may be on its way, shared so that a partition that takes nothing leaves room for the others. Pure.

What is on its way costs memory, here and in the client library, so it has one bound for all. Were it first come, first
served, a topic that refuses everything would soon hold all of it. Therefore a partition goes on while it leaves as much free
as it has; one that has nothing on its way gets at least a little, in smaller chunks where little is free.
"""

from collections import Counter
from dataclasses import replace

from headrace.agents.rows import StreamRow
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.stream import RECORD_COST_BYTES

_LEAST_BYTES = 4096
Partition = tuple[str, int]


class Budget:
    """The costs (bytes) of what is on its way, by partition, within `limits.total_cost_bytes`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._chunk_cost_bytes = limits.chunk_bytes + limits.chunk_lines * RECORD_COST_BYTES
        self._used: Counter[Partition] = Counter()
        self.used_bytes = 0

    def take(self, row: StreamRow, cost_bytes: int) -> None:
        """A stream has so much more on its way; less where negative."""
        self._used[row.topic, row.partition] += cost_bytes
        self.used_bytes += cost_bytes

    def limits_for(self, row: StreamRow) -> Limits | None:
        """How much a stream may read and send next; None for nothing now."""
        used = self._used[row.topic, row.partition]
        free = self.limits.total_cost_bytes - self.used_bytes
        if free - self._chunk_cost_bytes >= used:
            return self.limits
        if used:
            return None
        share = max(0, free) / (2 * self._chunk_cost_bytes)
        return replace(
            self.limits,
            chunk_bytes=min(self.limits.chunk_bytes, max(_LEAST_BYTES, int(self.limits.chunk_bytes * share))),
            chunk_lines=max(1, int(self.limits.chunk_lines * share)),
        )
