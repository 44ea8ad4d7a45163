"""Records of an offset range, claimed so that a runner may split the range at any moment. Pure.

The *last* offset of what has been fetched is claimed, and what lies beyond the range is left out if that is refused. Who claims
the first and then yields all that was fetched repeats records: the runner may have given the rest to another in between
(research/sinks.md, Appendix C: 685,356 repeats in 300 simulated runs).

Offsets in the range need not have records: compaction and transactions leave holes, also at its end.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class Record(Protocol):
    """What we ask of one."""

    def offset(self) -> int: ...


class Batch(Protocol):
    """Records in offset order, at least one; all their offsets are at most `last_offset`."""

    @property
    def last_offset(self) -> int: ...

    def records(self) -> Sequence[Record]:
        """All of them."""
        ...

    def before(self, end: int) -> "Batch | None":
        """Those with offsets below `end`; None if there are none."""
        ...


def claimed(tracker: Any, fetch: Callable[[int, int], Any]) -> Iterator[Any]:
    """The batches of a tracker's range, each of which is this worker's alone.

    Args:
        tracker: Beam's, of an offset range.
        fetch: gives the first records in [position, stop), as a Batch; None: there are none.
    """
    position = tracker.current_restriction().start
    while True:
        stop = tracker.current_restriction().stop
        batch = fetch(position, stop) if position < stop else None
        if batch is None:
            tracker.try_claim(max(stop, position))  # is refused, and says that the range has been dealt with to its end
            return
        is_whole = tracker.try_claim(batch.last_offset)
        mine = batch if is_whole else batch.before(tracker.current_restriction().stop)
        if mine is not None:
            yield mine
        if not is_whole:
            return
        position = batch.last_offset + 1
