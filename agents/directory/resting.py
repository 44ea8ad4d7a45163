"""Files that are done with, or were stopped: put away as their input says, and remembered while they are there. Pure steps.

A file is put away only after it is durable that all of it is acknowledged, and forgotten only after that it is gone is durable.
So whatever ends the agent between two steps, the file is neither shipped again nor left: either its row says that it is done
and it is put away, or it is gone and its row goes.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from headrace.agents.directory.file import DroppedFile, FileKey
from headrace.agents.directory.folder import KEEP, Ending, Found, Look
from headrace.agents.effects import Close, Forget, Lost, Note, Now, Open, Opened, PutAway, Read, Save, Steps, SyncFolder
from headrace.agents.rows import CHANGED, DAMAGED, DONE, Dropped, StreamRow
from headrace.agents.tail.identity import FileStat, is_gzip_name
from headrace.agents.tail.proof import copies
from headrace.agents.tail.stream import Stream

RETRY_MS = 10_000  # after a folder has refused a rename or deletion
_AT_ONCE = 1000
SAME, GROWN, OTHER, UNREADABLE = "same", "grown", "other", "unreadable"


class Resting:
    """Of one agent.

    Args:
        once: a finite run: what a folder refuses is not tried again.
    """

    def __init__(self, rows: Iterable[tuple[FileKey, StreamRow]], *, once: bool) -> None:
        self._once = once
        self.rows: dict[FileKey, StreamRow] = dict(rows)
        self.inputs: dict[FileKey, str] = {}  # the names of those that they were found by last
        self._due: dict[FileKey, Found] = {}  # to be put away
        # Files that may be others now, each with the last look in which it was what it was.
        self.doubts: dict[FileKey, Now | None] = {}
        self._refused_until_ms: dict[str, int] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether something is to be put away."""
        return any(_place(found) not in self._refused_until_ms for found in self._due.values())

    def doubt(self, key: FileKey, before: Now | None) -> None:
        """A file was found changed, all of which was sent: once it is at rest, a look will say what it is.

        Args:
            before: the look before this one.
        """
        self.doubts.setdefault(key, before)

    def rest(self, files: Sequence[DroppedFile]) -> Steps[None]:
        """All of these is acknowledged, or was stopped."""
        if files:
            yield Save(tuple(file.row for file in files))
        for file in files:
            self.rows[file.key] = file.row
            if file.folder is not None and file.is_as_begun(file.stat):  # otherwise the next look says what it is
                self._take(file.key, Found(file.path, file.stat, file.folder))

    def _take(self, key: FileKey, found: Found) -> None:
        self.doubts.pop(key, None)
        row, folder = self.rows[key], found.folder
        assert row.dropped is not None
        assert folder is not None
        self.inputs[key] = folder.input.name
        if row.path != found.path:
            self.rows[key] = replace(row, path=found.path)
        if row.dropped.state == DONE and folder.when_done != KEEP:
            self._due[key] = found
        else:
            self._due.pop(key, None)

    def look(self, key: FileKey, found: Found, now: Now) -> Steps[bool]:
        """A file at rest is there. Returns whether it is at rest no more: it was written anew, and is another one."""
        row = self.rows[key]
        assert row.dropped is not None
        state = row.dropped.state
        if (found.stat.size, found.stat.mtime_ns) == (row.dropped.size, row.dropped.mtime_ns):
            self._take(key, found)
            return False
        if state == CHANGED and row.birth_ns:
            self.doubts.pop(key, None)
            return False  # it is the same one, and that it changes was told
        what = yield from self._judge(row, found, now)
        if what == UNREADABLE:
            return False
        if what == OTHER:
            yield Note("written anew after it was shipped: it is a new file", found.path, row.stream_id)
            yield from self._drop((key,))
            return True
        grown = state == DONE and what == GROWN
        row = replace(row, dropped=Dropped(found.stat.size, found.stat.mtime_ns, CHANGED if grown else state))
        self.rows[key] = row
        if grown:
            yield Note("changed after it was shipped; what came later is not", found.path, row.stream_id)
            yield Lost(row, max(1, found.stat.size - row.position), row.complete_ms, now.wall_ms, CHANGED)
        else:
            yield Save((row,))
        self._take(key, found)
        return False

    def _judge(self, row: StreamRow, found: Found, now: Now) -> Steps[str]:
        """What a file is that changed after all of it was shipped, or after it was stopped."""
        assert row.dropped is not None
        assert found.folder is not None
        if row.dropped.state == DAMAGED or not row.position or found.stat.size < row.dropped.size:
            return OTHER
        opened = yield Open(found.path, found.folder.input.decompress and is_gzip_name(found.path))
        if not isinstance(opened, Opened):
            return UNREADABLE
        stream = Stream(row, None, complete=None, now=now, saved=True)
        what = OTHER
        if (yield from copies(stream, opened.handle, row.position)):
            what = GROWN if (yield Read(opened.handle, row.position, 1)) else SAME
        yield Close(opened.handle)
        return what

    def absent(self, look: Look, present: set[FileKey], paths: dict[str, FileStat]) -> Steps[None]:
        """Forget the files that are gone."""
        gone = [
            key
            for key, row in self.rows.items()
            if key not in present and look.would_show(row.path) and not _is_there(row, paths.get(row.path))
        ]
        yield from self._forget(gone)

    def put_away(self, now: Now) -> Steps[bool]:
        """Rename or delete what is due, at most so much at once; returns whether there is more."""
        self._refused_until_ms = {
            place: until_ms for place, until_ms in self._refused_until_ms.items() if self._once or now.monotonic_ms < until_ms
        }
        due = [(key, found) for key, found in self._due.items() if _place(found) not in self._refused_until_ms]
        gone: list[FileKey] = []
        for key, found in due[:_AT_ONCE]:
            how, place = found.folder, _place(found)
            assert how is not None
            if place in self._refused_until_ms:
                continue
            ending = yield PutAway(found.path, found.stat, how.when_done, how.suffix, self.rows[key].stream_id)
            if ending is Ending.REFUSED:
                self._refused_until_ms[place] = now.monotonic_ms + RETRY_MS
                continue
            del self._due[key]  # where it has changed, the next look says what it is
            if ending is Ending.DONE:
                gone.append(key)
        yield from self._forget(gone)
        return len(due) > _AT_ONCE

    def _forget(self, keys: Sequence[FileKey]) -> Steps[None]:
        """Forget files that are gone, once that is durable; where a folder cannot be synced, the next look tries again."""
        synced: dict[str, bool] = {}
        for place in sorted({os.path.dirname(self.rows[key].path) for key in keys}):
            synced[place] = yield SyncFolder(place)
        yield from self._drop([key for key in keys if synced[os.path.dirname(self.rows[key].path)]])

    def _drop(self, keys: Sequence[FileKey]) -> Steps[None]:
        for key in keys:
            row = self.rows.pop(key)
            self.inputs.pop(key, None)
            self.doubts.pop(key, None)
            self._due.pop(key, None)
            yield Forget(row.stream_id)


def _place(found: Found) -> str:
    return os.path.dirname(found.path)


def _is_there(row: StreamRow, stat: FileStat | None) -> bool:
    """Whether a row's file is at its name, though no input asks for it as that."""
    return stat is not None and stat.key == row.key and stat.birth_ns == row.birth_ns
