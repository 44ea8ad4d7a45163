"""The memory of large requests on its way back to the system: in pieces, in turns like everybody's (`turns.py`)."""

from collections import deque
from collections.abc import Callable

from headrace.broker.network.turns import Share, Turns
from headrace.broker.wire.pages import Pages

_MOST_WAITING = 2  # nobody's bound counts them any more


class Returning:
    """Stands in the line as a client does, so that who asks little goes before it; too much goes back at once."""

    def __init__(self, turns: Turns, now_ns: Callable[[], int], soon: Callable[[Callable[[], None]], object]) -> None:
        """`soon` calls on the loop, from any thread."""
        self.share = Share()
        self.is_in_line = False
        self._turns, self._now_ns, self._soon = turns, now_ns, soon
        self._waiting: deque[Pages] = deque()
        self._position = 0  # what of the first is given back

    def take(self, pages: Pages) -> None:
        """Pages that nobody looks at any more; on any thread, and before the loop goes on: many may be let go in one turn."""
        if len(self._waiting) < _MOST_WAITING:  # else they are nobody's from here on, and gone
            self._waiting.append(pages)
            self._soon(self._ask)

    def _ask(self) -> None:
        self._turns.ask(self)

    def take_turn(self, until_ns: int, *, is_alone: bool) -> bool:  # noqa: ARG002 - as the line calls it
        """Give back what there is time for; whether more is left."""
        while self._waiting:
            first = self._waiting[0]
            self._position = first.give_back(self._position)
            if self._position == len(first):
                self._waiting.popleft()
                self._position = 0
            if self._now_ns() >= until_ns:
                break
        return bool(self._waiting)
