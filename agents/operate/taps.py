"""What is sent, for whoever watches: handed over by the loop, which never waits for it, taken by the watcher's own thread.

A watcher gets at most so many bytes a second, and a chunk is thinned out, line by line, to what is left of them: what was left
out is counted. So watching costs the agent a bounded share of its time, whatever it ships and however slowly anybody looks.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Final

BYTES_PER_SECOND: Final = 4 << 20
_MOST_WAITING: Final = 64  # pieces that a slow watcher has not taken


@dataclass(frozen=True, slots=True)
class Piece:
    """Records of one chunk: `values` as they are sent under `schema` (Avro as JSON), `left_out` before and among them."""

    input: str
    topic: str
    schema: str
    values: Sequence[bytes]
    left_out: int


class Watcher:
    """One who looks. `offer` is the loop's, `take` the watcher's thread's.

    Args:
        monotonic_ms: the clock.
    """

    def __init__(self, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms = monotonic_ms
        self._pieces: deque[Piece] = deque()
        self._changed = Condition()
        self._allowed_bytes = float(BYTES_PER_SECOND)
        self._filled_ms = monotonic_ms()
        self._left_out = 0

    def offer(self, name: str, topic: str, schema: str, values: Sequence[bytes]) -> None:
        """A chunk's records, about to be sent."""
        now_ms = self._monotonic_ms()
        gained = BYTES_PER_SECOND * (now_ms - self._filled_ms) / 1000
        self._allowed_bytes = min(float(BYTES_PER_SECOND), self._allowed_bytes + gained)
        self._filled_ms = now_ms
        size = sum(map(len, values))
        if len(self._pieces) >= _MOST_WAITING or self._allowed_bytes < size / max(1, len(values)):
            self._left_out += len(values)
            return
        every = max(1, -int(-size // self._allowed_bytes))
        taken = values[::every]
        self._allowed_bytes -= sum(map(len, taken))
        left_out, self._left_out = self._left_out + len(values) - len(taken), 0
        with self._changed:
            self._pieces.append(Piece(name, topic, schema, taken, left_out))
            self._changed.notify()

    def take(self, timeout_s: float) -> Piece | None:
        """The next piece; None if there is none for so long."""
        with self._changed:
            if not self._pieces:
                self._changed.wait(timeout_s)
            return self._pieces.popleft() if self._pieces else None


class Taps:
    """Those who watch one agent."""

    def __init__(self, monotonic_ms: Callable[[], int]) -> None:
        self._monotonic_ms = monotonic_ms
        self._lock = Lock()
        self._watchers: tuple[Watcher, ...] = ()  # replaced as a whole: the loop reads it without the lock

    def offer(self, name: str, topic: str, schema: str, values: Sequence[bytes]) -> None:
        """A chunk's records, about to be sent."""
        for watcher in self._watchers:
            watcher.offer(name, topic, schema, values)

    def watch(self) -> Watcher:
        """One more; to be left again."""
        watcher = Watcher(self._monotonic_ms)
        with self._lock:
            self._watchers = (*self._watchers, watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """It looks no more."""
        with self._lock:
            self._watchers = tuple(each for each in self._watchers if each is not watcher)
