"""The end of a run with `--once`: everything up to its goals has landed, or is left."""

import logging
from collections.abc import Mapping

from headrace.sinks.goals import Goals, Reach
from headrace.sinks.lag.standings import Standings
from headrace.sinks.landing import Landing
from headrace.sinks.opening import Opening
from headrace.sinks.topics import Topic, Where

logger = logging.getLogger(__name__)


class Ending:
    """Says when it is there; without `--once`, never."""

    def __init__(self, landing: Landing, opening: Opening, standings: Standings) -> None:
        self._landing, self._opening, self._standings = landing, opening, standings
        self._goals = Goals(landing.clock.monotonic_ms())

    def look(self, topics: Mapping[str, Topic]) -> None:
        """Ask for the ends of all partitions, unless they are known."""
        if self._goals.ends is not None:
            return
        if not topics:
            logger.warning("kafka has no topic that is to land", extra={"topics": self._landing.lookout.topics.patterns})
        every = [(name, partition) for name, topic in topics.items() for partition in topic.partitions]
        ends = {where: end for where, (_, end) in self._landing.lookout.topics.bounds(every).items()}
        for where in self._goals.heard(every, ends, self._landing.clock.monotonic_ms()):
            self._landing.leave_partition(where)
        self._standings.goals = self._goals.ends

    def is_over(self) -> bool:
        """Whether everything up to the goals has landed; what is read and not landed yet is committed first."""
        if self._goals.ends is None or any(map(self._is_ahead, self._goals.ends)):
            return False
        tables = self._landing.tables.values()
        for table in tables:
            self._landing.finish(table)
        return all(table.is_open or table.has_ended for table in tables)

    def _is_ahead(self, where: Where) -> bool:
        table = self._landing.tables.get(where[0])
        if table is None or table.has_ended:
            return False
        at = table.loader.next_offset(where[1]) if table.reads(where[1]) else None
        reach = self._goals.reach(where, at, self._opening.silent_since_ms.get(where), self._landing.clock.monotonic_ms())
        if reach is Reach.SILENT:
            self._landing.leave_partition(where)
        return reach is Reach.AHEAD
