"""The core that ships dropped files: which are finished, which is next, how far each is acknowledged. Pure steps (effects.py).

A file is its device, inode and birth time, as long as its size and mtime are what they were when it was begun. It is read
once, from its first byte to the last that it had then, by the tailer's own reading (a stream each; the last line needs no
newline). What audit.md promises holds as for logs: rows are durable before anything is sent, positions pass what is
acknowledged, a repeat is equal or is not made. A core of its own beside the tailer's, because nothing of a log's life is left
here (no rotation, no copies, no tails that wait), and what is new has no place there: an order, files that wait to be finished,
and an end.

Files are shipped in the order of their mtimes, then names; in a partition none is begun before all of the one before is sent.
A file that changes while it is shipped is stopped, alone; that is said, and counted (`lost_bytes_total{reason="changed"}`, and
dropped in the audit). Not detectable: a writer that goes on in a file that was renamed or deleted after it had rested for
`settle_ms`; on a file system without birth times, a file with inode, size, mtime and name of one just deleted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from headrace.agents.directory.arrivals import Arrival, Arrivals, begin
from headrace.agents.directory.file import LEFT, DroppedFile, FileKey, key_of
from headrace.agents.directory.folder import Found, Look
from headrace.agents.directory.opening import close, open_file
from headrace.agents.directory.resting import Resting
from headrace.agents.effects import Lost, Measure, Note, Now, Steps
from headrace.agents.rows import CHANGED, DAMAGED, DONE, SHIPPING, ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.identity import FileStat
from headrace.agents.tail.reading import Limits, Planned, Replaced, read_on
from headrace.agents.tail.sending import send_planned
from headrace.agents.tail.stream import Stream

MOST_BEGUN = 8  # files that are begun and not read to their ends: as many are open at most
MOST_FILES = 512  # files that are begun and not acknowledged: a stream costs about 9 KB
FILES_AT_ONCE = 256  # in a round


class Drops:
    """All directories of one agent.

    Args:
        rows, chunks: of dropped files, as they were durable when the agent ended.
    """

    def __init__(self, rows: Iterable[StreamRow], chunks: Iterable[ChunkRow], run: Run) -> None:
        self._run = run
        self._files: dict[FileKey, DroppedFile] = {}
        self._by_id: dict[str, DroppedFile] = {}
        self._arrivals = Arrivals(run)
        self._looked = False
        self._listed: Now | None = None  # the last look of which no folder was missed
        self._claim: Now | None = None
        self._done_bytes = 0
        resting = []
        for row in rows:
            assert row.dropped is not None
            key = (row.device, row.inode, row.birth_ns, row.topic)
            if row.dropped.state == SHIPPING:
                found = Found(
                    row.path, FileStat(row.device, row.inode, row.dropped.size, row.dropped.mtime_ns, 1, row.birth_ns), None
                )
                self._add(DroppedFile(key, found, Stream(row, None, complete=None, now=run.started, saved=True), None))
            else:
                resting.append((key, row))
        self._resting = Resting(resting, once=run.once)
        for chunk in sorted(chunks, key=lambda chunk: chunk.start):
            if chunk.stream_id in self._by_id:
                stream = self._by_id[chunk.stream_id].stream
                stream.replay = (*stream.replay, chunk)

    def _add(self, file: DroppedFile) -> None:
        self._files[file.key] = self._by_id[file.row.stream_id] = file

    def _remove(self, file: DroppedFile) -> None:
        del self._files[file.key], self._by_id[file.row.stream_id]

    # ---- what there is

    def look(self, look: Look) -> Steps[None]:
        """Take in what a look found: new files, those that changed, and those that are gone."""
        now = look.begun
        present: set[FileKey] = set()
        for found in look.files:
            key = key_of(found)
            if found.folder is not None and key not in present:
                present.add(key)
                yield from self._see(key, found, now)
        yield from self._absent(look, present)
        yield from self._arrivals.end_look(look, present)
        yield from self._resting.put_away(now)
        self._looked = True
        if not any(look.hidden.values()):
            self._listed = now

    def _see(self, key: FileKey, found: Found, now: Now) -> Steps[None]:
        """One file that an input asks for."""
        if key in self._files:
            yield from self._follow(self._files[key], found, now)
            return
        before = self._resting.doubts.get(key, self._listed)
        if key not in self._resting.rows or (yield from self._resting.look(key, found, now)):
            yield from self._arrivals.find(key, found, before, now)

    def _follow(self, file: DroppedFile, found: Found, now: Now) -> Steps[None]:
        """A file that is being shipped."""
        assert found.folder is not None
        file.folder, file.stat, file.path = found.folder, found.stat, found.path
        file.stream.input = found.folder.input
        if file.row.path != found.path:
            file.stream.row = replace(file.row, path=found.path)
        if file.ending == LEFT:
            file.ending = ""
        if not file.is_as_begun(found.stat):
            yield from self._changed(file, now)

    # ---- what is gone, or changes

    def _absent(self, look: Look, present: set[FileKey]) -> Steps[None]:
        """Files that were not found as what they are."""
        now, paths = look.begun, {found.path: found.stat for found in look.files}
        for file in [file for key, file in self._files.items() if key not in present]:
            if _is_at(file, paths.get(file.path)) or not look.asks_for(file.folder):
                file.folder, file.ending = None, file.ending or LEFT
            elif look.would_show(file.path) and not file.can_be_read_on:
                yield from self._gone(file, now)
        for key, arrival in self._arrivals.absent(look, present, paths):
            file = self._begin(key, arrival, now)
            yield from self._stop(file, "the file is gone before it was shipped", "destroyed", now)
        yield from self._resting.absent(look, present, paths)

    def _gone(self, file: DroppedFile, now: Now) -> Steps[None]:
        """A file is not there any more, and is not held open."""
        if file.stream.read_to >= file.row.size_seen and not file.stream.replay:
            file.read = True
            yield from close(file)
        else:
            yield from self._stop(file, "the file is gone, and was not shipped to its end", "destroyed", now)

    def _changed(self, file: DroppedFile, now: Now) -> Steps[None]:
        """A file changed while it is shipped. One of which nothing was sent yet has simply not been finished."""
        if file.read:
            self._resting.doubt(file.key, self._listed)
            return
        if file.stream.saved:
            file.ending = CHANGED
            return
        yield from close(file)
        self._remove(file)
        assert file.folder is not None
        self._arrivals.put_back(file.key, Found(file.path, file.stat, file.folder), file.before, now)

    def _stop(self, file: DroppedFile, why: str, reason: str, now: Now) -> Steps[None]:
        """No more of a file is shipped than what is on its way: said, and what is left of it counted."""
        yield from close(file)
        stream = file.stream
        left = max(1, max(stream.row.size_seen, 0 if file.packed else file.stat.size) - stream.read_to)
        file.becomes(CHANGED, file.stat if file.row.birth_ns else None)  # without a birth time it may be another file
        file.read, stream.saved = True, True
        stream.replay = ()
        yield Note(why, file.path, stream.row.stream_id)
        yield Lost(stream.row, left, stream.row.complete_ms, now.wall_ms, reason)

    # ---- what is read and sent

    def _begin(self, key: FileKey, arrival: Arrival, now: Now) -> DroppedFile:
        file = begin(key, arrival, self._run, now)
        self._add(file)
        return file

    def _in_turn(self, now: Now) -> Iterator[DroppedFile]:
        """Files to read on, in order: those that were begun, then others, begun one by one."""
        begun = sorted((file for file in self._files.values() if file.is_to_be_read), key=lambda file: file.order)
        begun.sort(key=lambda file: not file.stream.saved)  # what was begun is read on first
        yield from begun
        count = sum(file.is_to_be_read and (file.handle is not None or not file.stream.saved) for file in begun)
        while count < MOST_BEGUN and len(self._files) < MOST_FILES and (taken := self._arrivals.next()) is not None:
            file = self._begin(*taken, now)
            yield file
            count += file.is_to_be_read and file.key in self._files

    def read(self, now: Now) -> Steps[bool]:
        """One round: at most one chunk of every file, saved together, then sent.

        Returns whether anything was sent, looked through or put away, so that another round is worth it at once.
        """
        busy = yield from self._rest(now)
        planned: list[tuple[Stream, Planned]] = []
        stopped: set[tuple[str, int]] = set()  # partitions in which a file is not read to its end: none is begun behind it
        spent = 0
        for file in self._in_turn(now):
            if spent >= self._run.budget.limits.round_bytes or len(planned) >= FILES_AT_ONCE:
                break
            where = (file.row.topic, file.row.partition)
            if where in stopped or not self._run.ready(file.row.topic):
                continue
            limits = self._run.budget.limits_for(file.row)
            if limits is None or file.stream.flight.cost_bytes >= limits.stream_cost_bytes:
                stopped.add(where)
                continue
            scanned_to = file.stream.scan_to
            plan = yield from self._next(file, limits, now)
            if plan is not None:
                planned.append((file.stream, plan))
                spent += len(plan.data)
                self._run.budget.take(file.row, plan.cost_bytes)
            moves = plan is not None or file.stream.scan_to != scanned_to or file.is_looked_through
            busy = busy or moves
            if moves and not file.read:
                stopped.add(where)
        yield from send_planned(planned)
        return busy

    def _next(self, file: DroppedFile, limits: Limits, now: Now) -> Steps[Planned | None]:
        """What comes next in a file, if it can be read; a file that is at its end with it is let go."""
        stream = file.stream
        if file.ending and not stream.replay:
            yield from self._end(file, now)
            return None
        if stream.input is None and not stream.replay:
            return None  # no look has found it yet
        if file.handle is None and (stream.flight or not (yield from self._open(file, now))):
            return None
        if file.is_looked_through:
            assert file.handle is not None
            file.measured = yield Measure(file.handle, ())
            if file.is_looked_through:
                return None
        proved = stream.handle is not None or (yield from file.prove())
        if proved is None:
            return None
        outcome = (yield from read_on(stream, now, limits, once=True)) if proved else Replaced()
        if isinstance(outcome, Replaced):
            file.ending = CHANGED
            yield from self._end(file, now)
            return None
        if file.is_at_end(outcome):
            file.read = True
            yield from close(file)
        return outcome

    def _open(self, file: DroppedFile, now: Now) -> Steps[bool]:
        """Open a file; what cannot be opened, or is another one by now, waits for the next look."""
        denied = yield from open_file(file)
        if file.handle is None and not file.stream.saved:
            yield from self._changed(file, now)
        if denied:
            self._arrivals.unreadable.add(file.key)
            yield from self._arrivals.tell(file.key, f"cannot be read: {denied}", file.path)
        elif file.handle is not None:
            self._arrivals.unreadable.discard(file.key)
        return file.handle is not None

    def _end(self, file: DroppedFile, now: Now) -> Steps[None]:
        """No more is to be read of a file."""
        if file.ending == CHANGED:
            yield from self._stop(file, "changed after it was begun; the rest of it is not shipped", CHANGED, now)
        else:
            yield from close(file)  # its position is kept: if an input asks for it again, it goes on
            file.measured = None

    def delivered(self, stream_id: str, start: int, result: object) -> Steps[None]:
        """All records of a chunk are acknowledged, or durable among the rejected; `result` is handed on to Advance."""
        stream = self._by_id[stream_id].stream
        before = stream.flight.cost_bytes
        advance = stream.delivered(start, result)
        self._run.budget.take(stream.row, stream.flight.cost_bytes - before)
        if advance is not None:
            yield advance

    def _rest(self, now: Now) -> Steps[bool]:
        """Files that are acknowledged to their ends come to rest, and are put away; whether there is more to put away."""
        files = [file for file in self._files.values() if file.acknowledged]
        for file in files:
            found = file.measured
            if file.dropped.state == SHIPPING and found is not None and found.broken:
                file.becomes(DAMAGED)
                yield Note(f"{found.broken}: {found.lost_bytes} bytes cannot be read", file.path, file.row.stream_id)
                yield Lost(file.row, found.lost_bytes, file.row.complete_ms, now.wall_ms, found.broken)
            elif file.dropped.state == SHIPPING:
                file.becomes(DONE)
            self._done_bytes += file.row.position
            self._remove(file)
        yield from self._resting.rest(files)
        return (yield from self._resting.put_away(now))

    # ---- what is known

    def complete_at(self) -> Now | None:
        """The latest moment of which it is known that every line of every file that was there then is acknowledged."""
        latest = self._listed
        unfinished = [arrival.before for arrival in self._arrivals.waited_for]
        unfinished += self._resting.doubts.values()
        unfinished += [file.before for file in self._files.values() if file.ending != LEFT or file.stream.flight]
        for before in unfinished:
            if latest is None or before is None:
                return self._claim
            latest = min(latest, before, key=lambda moment: moment.monotonic_ms)
        if latest is not None and (self._claim is None or latest.monotonic_ms > self._claim.monotonic_ms):
            self._claim = latest
        return self._claim

    def has(self, stream_id: str) -> bool:
        """Whether it is a dropped file's stream, and not all of it is acknowledged."""
        return stream_id in self._by_id

    @property
    def files(self) -> Iterable[DroppedFile]:
        """Those that were begun and are not acknowledged."""
        return self._files.values()

    @property
    def arrivals(self) -> Iterable[Arrival]:
        """Those that wait."""
        return self._arrivals.by_key.values()

    @property
    def resting(self) -> Resting:
        """Those that are done with, or were stopped."""
        return self._resting

    @property
    def known_paths(self) -> list[str]:
        """The names of files that are shipped, or wait for it."""
        return [file.path for file in self._files.values()] + [each.found.path for each in self.arrivals]

    @property
    def position_bytes(self) -> tuple[int, int]:
        """(acknowledged, known) bytes of the files that this run has found."""
        done = self._done_bytes + sum(file.row.position for file in self._files.values())
        waiting = sum(arrival.found.stat.size for arrival in self.arrivals)
        return done, done + waiting + sum(file.behind_bytes for file in self._files.values())

    @property
    def ended(self) -> bool:
        """In a finite run: whether all that was found is shipped, and put away."""
        waits = self._arrivals.waited_for or any(file.ending != LEFT for file in self._files.values())
        return self._looked and not waits and not self._resting.is_waited_for


def _is_at(file: DroppedFile, stat: FileStat | None) -> bool:
    """Whether a file is at its name, though no input asks for it."""
    return stat is not None and (*stat.key, stat.birth_ns) == file.key[:3]
