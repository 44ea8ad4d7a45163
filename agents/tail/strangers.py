"""Files that are listed and no stream's own yet: opened, waited for until they are quiet, or left alone. Pure steps."""

from dataclasses import dataclass, replace
from typing import Any

from headrace.agents.effects import Close, Note, Now, Open, Opened, Seen, Steps
from headrace.agents.tail.identity import FileKey
from headrace.agents.tail.reading import QUIET_MS
from headrace.agents.tail.streams import Streams

MOST_OPENED = 500  # in one look: about 50 ms; what is left has its turn in the next, after a round of shipping
LONGEST_WAIT_MS = 60_000  # how long a rotated-name copy may go on changing before it is taken for a log of its own


@dataclass(frozen=True, slots=True)
class _Waiting:
    """How a file was found: its size and time, since when it has been so, and when it was first met (monotonic ms)."""

    size: int
    mtime_ns: int
    since_ms: int
    first_ms: int


class Strangers:
    """What is remembered of them from look to look.

    Args:
        max_open: how many files that are found by a name may be held open.
    """

    def __init__(self, streams: Streams, max_open: int) -> None:
        self._streams, self._max_open = streams, max_open
        self.most = max_open  # that may be open in this look: fewer where the system refuses more
        self._open_count = self._opened = 0
        self.turned_away = 0  # in this look, because too many files are open
        self.has_more = False  # there are some for which this look had no time
        self.unopened: dict[FileKey, Seen] = {}  # in this look, for either reason
        self._told = False
        self._waiting: dict[FileKey, _Waiting] = {}
        self._before: dict[FileKey, _Waiting] = {}
        self._refused: dict[FileKey, tuple[Any, ...]] = {}  # as they were when that was found
        self.unreadable: set[FileKey] = set()

    def begin_look(self) -> None:
        """Who is not met in this look is forgotten."""
        self._before, self._waiting = self._waiting, {}
        awake = sum(stream.handle is not None and stream.listed for stream in self._streams.by_id.values())
        self._open_count = awake + sum(sleeper.handle is not None for sleeper in self._streams.asleep.values())
        self.most, self._opened, self.turned_away, self.has_more = self._max_open, 0, 0, False
        self.unopened = {}

    def end_look(self, present: set[FileKey]) -> None:
        """Forget who is not there any more."""
        self._refused = {key: at for key, at in self._refused.items() if key in present}
        self.unreadable &= present

    def refuse(self, seen: Seen, key: FileKey) -> bool:
        """Leave a file alone until it changes, or a stream loses its file and may go on in this one.

        Returns whether that is news: it was not left alone before as it is now.
        """
        before, self._refused[key] = self._refused.get(key), self._grounds(seen)
        return before is None or before[:2] != (seen.stat.size, seen.stat.mtime_ns)

    def is_refused(self, seen: Seen, key: FileKey) -> bool:
        """Whether a file is left alone."""
        return self._refused.get(key) == self._grounds(seen)

    def _grounds(self, seen: Seen) -> tuple[Any, ...]:
        """What a refusal rests on: another configuration may ask for it, a stream that lost its own file may go on in it."""
        return seen.stat.size, seen.stat.mtime_ns, seen.matched, seen.explicit, self._streams.detached_count

    def unchanged_ms(self, seen: Seen, key: FileKey, now: Now) -> int:
        """For how long a file has not changed, as far as is known."""
        waiting = self._wait(seen, key, now)
        return max(now.wall_ms - seen.stat.mtime_ns // 1_000_000, now.monotonic_ms - waiting.since_ms)

    def is_quiet(self, seen: Seen, key: FileKey, now: Now) -> bool:
        """Whether a file has not changed for a while, or has been changing for so long that it is nobody's copy."""
        first_ms = self._wait(seen, key, now).first_ms
        return self.unchanged_ms(seen, key, now) >= QUIET_MS or now.monotonic_ms - first_ms >= LONGEST_WAIT_MS

    def _wait(self, seen: Seen, key: FileKey, now: Now) -> _Waiting:
        before = self._before.get(key)
        at = now.monotonic_ms
        same = before is not None and (before.size, before.mtime_ns) == (seen.stat.size, seen.stat.mtime_ns)
        since_ms = before.since_ms if before is not None and same else at
        waiting = _Waiting(seen.stat.size, seen.stat.mtime_ns, since_ms, at if before is None else before.first_ms)
        self._waiting[key] = waiting
        return waiting

    def open(self, seen: Seen, *, packed: bool = False) -> Steps[Opened | None]:
        """Open a listed file; None where it is another one meanwhile, or cannot be opened (said once), or too many are open."""
        key = seen.key
        if not (yield from self.may_open(seen)):
            return None
        self._opened += 1
        opened = yield Open(seen.path, packed)
        if isinstance(opened, Opened):
            if opened.stat.key == seen.stat.key:
                self.unreadable.discard(key)
                self._open_count += 1
                return replace(opened, stat=replace(opened.stat, device=seen.stat.device, inode=seen.stat.inode))  # one object
            yield Close(opened.handle)
        elif opened.exhausted:
            self.most = self._open_count
            yield from self._turn_away(seen, key)
            return None
        elif key not in self.unreadable:
            if opened.denied:
                self.unreadable.add(key)
            yield Note(f"cannot be read: {opened.reason}", seen.path)
        return None

    def may_open(self, seen: Seen) -> Steps[bool]:
        """Whether there are time and room in this look to open a file; otherwise it has its turn later."""
        if self._open_count >= self.most:
            yield from self._turn_away(seen, seen.key)
            return False
        if self._opened >= MOST_OPENED:
            self.has_more = True
            self.unopened[seen.key] = seen
            return False
        return True

    def _turn_away(self, seen: Seen, key: FileKey) -> Steps[None]:
        """No more files can be open: the quietest are closed at the end of this look, and this one is asked again."""
        self.turned_away += 1
        self.unopened[key] = seen
        if not self._told:
            self._told = True
            yield Note("no more files may be open at once (LimitNOFILE): quiet ones are closed until they have news", seen.path)
