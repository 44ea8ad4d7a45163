"""Dropped files that wait: until they are finished, and then for their turn. Pure steps.

A file is begun when it has not changed for its input's `settle_ms`, as the agent itself has seen: times of files are kept by
copies and set by anybody.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import PurePath

from headrace.agents.directory.file import DroppedFile, FileKey
from headrace.agents.directory.folder import Found, Look
from headrace.agents.effects import Note, Now, Steps
from headrace.agents.rows import Dropped, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.identity import FileStat, is_unreadable_name
from headrace.agents.tail.stream import Stream


@dataclass(slots=True)
class Arrival:
    """A file of which nothing was read: the last look in which it was not there, and when it was seen to change last."""

    found: Found
    before: Now | None
    since_ms: int

    def looked(self, found: Found, now: Now) -> bool:
        """It was found again; returns whether it has changed."""
        changed = (found.stat.size, found.stat.mtime_ns) != (self.found.stat.size, self.found.stat.mtime_ns)
        if changed:
            self.since_ms = now.monotonic_ms
        self.found = found
        return changed

    def is_settled(self, now: Now) -> bool:
        """Whether it is finished, as far as can be seen."""
        assert self.found.folder is not None
        return now.monotonic_ms - self.since_ms >= self.found.folder.settle_ms

    @property
    def order(self) -> tuple[int, str]:
        """In which order files are shipped."""
        return self.found.stat.mtime_ns, self.found.path


def begin(key: FileKey, arrival: Arrival, run: Run, now: Now) -> DroppedFile:
    """A new stream, from a file's first byte. It is durable with its first chunk."""
    found, stream_id = arrival.found, run.mint()
    assert found.folder is not None
    source, stat = found.folder.input, found.stat
    row = StreamRow(
        stream_id=stream_id,
        topic=source.topic,
        partition=run.place(source.topic, stream_id),
        host=run.host,
        service=source.service or PurePath(found.path.removesuffix(".gz")).stem,
        source=found.path,
        path=found.path,
        device=stat.device,
        inode=stat.inode,
        birth_ns=stat.birth_ns,
        size_seen=stat.size,
        complete_ms=(arrival.before or now).wall_ms,
        dropped=Dropped(stat.size, stat.mtime_ns),
    )
    return DroppedFile(key, found, Stream(row, source, complete=None, now=now, saved=False), arrival.before)


class Arrivals:
    """Of one agent. In a finite run only what the first look finds is shipped, and what is being written is left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.by_key: dict[FileKey, Arrival] = {}
        self._queue: deque[FileKey] = deque()  # those that are finished, in order
        self.unreadable: set[FileKey] = set()
        self._told: dict[FileKey | str, str] = {}
        self._looked = False

    def find(self, key: FileKey, found: Found, listed: Now | None, now: Now) -> Steps[None]:
        """A file of which nothing was read. An empty one is not finished: who made it may not have written yet.

        Args:
            listed: the last complete look.
        """
        arrival = self.by_key.get(key)
        if not found.stat.size:
            self.by_key.pop(key, None)
        elif is_unreadable_name(found.path):
            yield from self.tell(key, "looks compressed in a way that is not read here, and is not shipped", found.path)
        elif arrival is None and not (self._run.once and self._looked):
            self.by_key[key] = Arrival(found, listed, now.monotonic_ms)
        elif arrival is not None and arrival.looked(found, now) and self._run.once:
            del self.by_key[key]
            yield Note("is being written; a finite run leaves it", found.path)

    def put_back(self, key: FileKey, found: Found, before: Now | None, now: Now) -> None:
        """Nothing was sent of a file that was begun, and it has changed: it is not finished."""
        self.by_key[key] = Arrival(found, before, now.monotonic_ms)

    def absent(self, look: Look, present: set[FileKey], paths: dict[str, FileStat]) -> list[tuple[FileKey, Arrival]]:
        """Take out those that were not found; returns those that were finished, and are gone."""
        destroyed = []
        for key, arrival in [(key, arrival) for key, arrival in self.by_key.items() if key not in present]:
            path, finished = arrival.found.path, arrival.is_settled(look.begun)
            if path in paths or not look.asks_for(arrival.found.folder) or (look.would_show(path) and not finished):
                del self.by_key[key]
            elif look.would_show(path) and self._run.ready(key[-1]):
                del self.by_key[key]
                destroyed.append((key, arrival))
        return destroyed

    def end_look(self, look: Look, present: set[FileKey]) -> Steps[None]:
        """Put those that are finished in order; say which folders cannot be looked into."""
        waiting = [(arrival.order, key) for key, arrival in self.by_key.items() if arrival.is_settled(look.begun)]
        self._queue = deque(key for _, key in sorted(waiting))
        self.unreadable &= present
        self._told = {about: what for about, what in self._told.items() if isinstance(about, str) or about in present}
        self._looked = True
        for place, reason in look.hidden.items():
            yield from self.tell(place, f"cannot be looked into: {reason or 'it is not there'}; what is in it waits", place)
        for folder in [about for about in self._told if isinstance(about, str) and about in look.listed]:
            del self._told[folder]
            yield Note("can be looked into again", folder)

    def next(self) -> tuple[FileKey, Arrival] | None:
        """Take out the next one in order whose topic can be sent to."""
        while self._queue:
            key = self._queue.popleft()
            if key in self.by_key and self._run.ready(key[-1]):
                return key, self.by_key.pop(key)
        return None

    def tell(self, about: FileKey | str, what: str, path: str) -> Steps[None]:
        """Say something of a file or a folder once."""
        if self._told.get(about) != what:
            self._told[about] = what
            yield Note(what, path)

    @property
    def waited_for(self) -> list[Arrival]:
        """Those that can be shipped, as far as is known."""
        return [arrival for key, arrival in self.by_key.items() if key not in self.unreadable]
