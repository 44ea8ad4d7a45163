"""Whose work is done next: the client that has had least of the loop's time, so that nobody pays for another's flood.

All requests are handled on one loop, so what a client takes of it the others wait for. A connection works for a quantum at a
time, then goes to the back of the line, and the loop looks at its sockets again before the next one. The line is served by
what each *client* has had (start-time fair queueing): one that asks little is served before those that ask much, however many
they are, and waits for one quantum. A client is an address with a principal and a client id, as for quotas: a hundred
connections of one are one share. While nobody waits, work is done at once, with no line and no delay.

Pure but for the two things that are handed in: the clock, and the loop's `call_soon`.
"""

import heapq
from collections import deque
from collections.abc import Callable
from typing import Protocol

QUANTUM_NS = 200_000  # of one connection; the longest request may make it longer
CREDIT_NS = 5 * QUANTUM_NS  # so far behind the line may a client be that was idle: who asks little never waits for all
_ROUND_NS = 200_000  # of all, before the loop looks at its sockets again
_NOTICE_NS = 100_000  # less than this is no reason to look


class Worker(Protocol):
    """A connection, as the line sees it."""

    share: "Share"
    is_in_line: bool

    def take_turn(self, until_ns: int, *, is_alone: bool) -> bool:
        """Work until that time of the clock, or until nothing is left; whether more is left. `is_alone`: nobody else waits."""
        ...


class Share:
    """One client's share of the loop."""

    __slots__ = ("__weakref__", "used_ns", "waiting")

    def __init__(self) -> None:
        self.used_ns = 0  # of virtual time: whoever was idle is moved up to the line, less its credit
        self.waiting: deque[Worker] = deque()


class Turns:
    """The line."""

    def __init__(self, now_ns: Callable[[], int], soon: Callable[[Callable[[], None]], object]) -> None:
        self._now_ns, self._soon = now_ns, soon
        self._line: list[tuple[int, int, Share]] = []  # a heap: what it has had, and when it came
        self._came = 0
        self._floor_ns = 0  # what those have had, at least, who are in the line all the time
        self._spent_ns = 0  # since the loop last looked at its sockets
        self._called = False

    def ask(self, worker: Worker) -> bool:
        """There is work for `worker`: it is done at once if nobody waits, else in its turn; whether it has had a turn."""
        if worker.is_in_line:
            return False
        if self._line or self._spent_ns >= _ROUND_NS:
            self._stand(worker)
            return False
        worker.share.used_ns = max(worker.share.used_ns, self._floor_ns - CREDIT_NS)
        self._floor_ns = max(self._floor_ns, worker.share.used_ns)
        self._serve(worker)
        return True

    def count(self, worker: Worker, used_ns: int) -> None:
        """Something was done for `worker` out of its turn, which took so long."""
        worker.share.used_ns += used_ns
        self._spent_ns += used_ns

    def _serve(self, worker: Worker) -> None:
        began_ns = self._now_ns()
        more = worker.take_turn(began_ns + QUANTUM_NS, is_alone=not self._line)
        self.count(worker, self._now_ns() - began_ns)
        if more:
            self._stand(worker)
        elif self._spent_ns >= _NOTICE_NS:
            self._call()

    def _stand(self, worker: Worker) -> None:
        share = worker.share
        worker.is_in_line = True
        share.waiting.append(worker)
        if len(share.waiting) == 1:
            share.used_ns = max(share.used_ns, self._floor_ns - CREDIT_NS)
            self._enter(share)
        self._call()

    def _enter(self, share: Share) -> None:
        self._came += 1
        heapq.heappush(self._line, (share.used_ns, self._came, share))

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._soon(self._round)

    def _round(self) -> None:
        self._called = False
        self._spent_ns = 0
        while self._line and self._spent_ns < _ROUND_NS:
            used_ns, _, share = heapq.heappop(self._line)
            self._floor_ns = max(self._floor_ns, used_ns)
            worker = share.waiting.popleft()
            worker.is_in_line = False
            waiting = bool(share.waiting)
            self._serve(worker)  # may put it behind the others of its share
            if waiting:
                self._enter(share)
        if self._line:
            self._call()
