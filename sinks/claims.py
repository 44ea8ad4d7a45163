"""What a group has given us to read, and what must be done, in order, when it gives and takes. Pure.

A claim is a belief: the group may have taken a partition without our knowing. Whoever is wrong loses its put in the table log,
and nothing else hangs on it (ADR 0037).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.sinks.topics import Where


@dataclass(frozen=True, slots=True)
class HandOver:
    """Commit or drop what is open of each table concerned (`Tenure.share`); `new` partitions have become ours."""

    new: frozenset[Where] = frozenset()


@dataclass(frozen=True, slots=True)
class Answer:
    """Tell the group that it may go on: from now on others may have what is not ours any more."""


Reaction = tuple[HandOver | Answer, ...]
"""To be carried out in this order."""


class Claims:
    """The partitions that are ours, as far as we know."""

    def __init__(self) -> None:
        self._held: set[Where] = set()
        self.has_all = False
        """Whether everything is ours, since nobody else is known who might read it."""

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, topic: str, partition: int) -> bool:
        """Whether a partition is ours to read."""
        return self.has_all or (topic, partition) in self._held

    def on_assign(self, partitions: Iterable[Where]) -> Reaction:
        """The group gives these, in addition; with its first word, what was ours for want of others is so no more."""
        new = frozenset(partitions)
        self._held |= new
        self.has_all = False
        return HandOver(new), Answer()

    def on_revoke(self, partitions: Iterable[Where]) -> Reaction:
        """The group takes these, or has taken them already: a member that was expelled hears of it late, or never."""
        self._held -= set(partitions)
        return HandOver(), Answer()
