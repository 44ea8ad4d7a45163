"""All streams of one agent, by id and by file: begun, continued in a copy, let go, and in the end forgotten. Pure steps.

A stream whose own file is truncated, replaced or gone is detached: only a copy that proves to hold its bytes may continue it.
"""

from collections.abc import Iterable
from dataclasses import replace

from headrace.agents.effects import Close, Forget, Input, Linked, Listing, Lost, Note, Now, Recall, Save, Seen, Steps
from headrace.agents.rows import UNPLACED, ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.asleep import Sleeper, sleeper_of, sleeper_of_row
from headrace.agents.tail.identity import FileKey, FileStat, rotated_from, stem_of
from headrace.agents.tail.names import Held, Name, Names
from headrace.agents.tail.stream import Stream

LOSS_AFTER_MS = 60_000  # how long a copy of a file that is gone is waited for, at least, before its unread bytes are lost
FORGET_AFTER_MS = 7 * 24 * 3_600_000  # as long as the loader remembers a stream (audit.md)


class Streams:
    """The streams, and the files that are theirs. One that sleeps is in `asleep` and under its names only.

    Args:
        rows, chunks: what was durable when the agent ended.
    """

    def __init__(self, rows: Iterable[StreamRow], chunks: Iterable[ChunkRow], run: Run) -> None:
        self._run = run
        self.by_id: dict[str, Stream] = {}
        self.by_key: dict[FileKey, Stream] = {}
        self.asleep: dict[FileKey, Sleeper] = {}
        self._names = Names()  # but for those that begin in this look
        self._unnamed: list[tuple[Name, Held]] = []
        self._new_names: set[Name] = set()  # since the last look
        self._linked: dict[str, Stream] = {}  # by id, those whose files links led to
        self._listing: Listing | None = None
        self._listed_names: set[Name] | None = None  # of the listing, made when it is asked for
        self._looked: Now | None = None  # the last look that is over
        self._put_off: set[FileKey] = set()  # files of which the look could not decide yet what they are
        self._put_off_before: set[FileKey] = set()  # the last one
        self._undecided: set[str] = set()  # topics with rotated ones among them
        self.detached_count = 0  # since the start: whoever waits for a stream to lose its file looks again when it grows
        chunks = sorted(chunks, key=lambda chunk: chunk.start)
        under_way = {chunk.stream_id for chunk in chunks}
        for row in rows:
            self.remember(row, run.started, asleep=row.stream_id not in under_way)
            self._name_new()
            self._new_names.clear()
        for chunk in chunks:
            if chunk.stream_id in self.by_id:
                self.by_id[chunk.stream_id].replay += (chunk,)

    def remember(self, row: StreamRow, now: Now, *, asleep: bool = True) -> None:
        """Take in a stream that is durable; unless something of it is on its way, it may sleep until its file is met."""
        sleeper = sleeper_of_row(row, now) if asleep else None
        if sleeper is not None and self.asleep.setdefault(sleeper.key, sleeper) is sleeper:
            self._unnamed.append(((row.topic, row.path), sleeper))
            return
        stream = self.by_id[row.stream_id] = Stream(row, None, complete=None, now=now, saved=True)
        self._name(stream)
        if not row.detached:
            self.by_key[(row.topic, *row.key)] = stream

    def rest(self, stream: Stream, now: Now) -> None:
        """A settled stream may sleep, if it has nothing that only it knows."""
        sleeper = sleeper_of(stream, now)
        if sleeper is None:
            return
        del self.by_id[stream.row.stream_id], self.by_key[sleeper.key]
        self.asleep[sleeper.key] = sleeper
        self._rename(stream, stream, sleeper)

    def wake(self, sleeper: Sleeper, now: Now) -> Steps[Stream]:
        """Something has happened, or may have, to the file of a stream that sleeps."""
        row = yield Recall(sleeper.stream_id)
        stream = sleeper.wake(row, self._looked, now)
        del self.asleep[sleeper.key]
        self.by_id[row.stream_id] = self.by_key[sleeper.key] = stream
        self._rename(stream, sleeper, stream)
        if sleeper.seen is not None:  # its topic was known when it was met
            self.place(stream)
            stream.rotated = self.is_rotated(stream, stream.path)
        return stream

    def _rename(self, stream: Stream, before: Held, after: Held) -> None:
        path = stream.path if stream.path == stream.row.path else stream.row.path  # the listing's text: one is enough
        name = (stream.row.topic, path)
        self._names.put(name, tuple(after if each is before else each for each in self._names.of(name)))

    def begin_look(self, listing: Listing) -> Steps[None]:
        """Take in the names of a listing and of the streams."""
        self._name_new()
        self._listing, self._listed_names = listing, None
        self._put_off, self._put_off_before = set(), self._put_off
        self._undecided.clear()
        if self._looked is None:
            yield from self._renumber(listing)

    def put_off(self, seen: Seen, key: FileKey) -> None:
        """A file waits: if it may be the copy in which a stream goes on, nothing of its topic counts as lost yet."""
        self._put_off.add(key)
        if rotated_from(seen.path):
            self._undecided.add(seen.input.topic)

    def waits(self, stream: Stream, key: FileKey) -> bool:
        """Whether it is not known yet if the file in a stream's place is its own; that is not the one that is looked at now."""
        own = (stream.row.topic, *stream.row.key)
        return own != key and not stream.row.detached and (own in self._put_off or own in self._put_off_before)

    def any_unmet(self, topic: str) -> bool:
        """Whether the file of some stream of a topic was not looked into yet since the start."""
        return any(sleeper.seen is None and sleeper.key[0] == topic for sleeper in self.asleep.values())

    def returned(self, topic: str, path: str, stat: FileStat) -> list[Stream]:
        """The streams whose own file, which was gone, this one may be: it is back, as after an outage of its file system."""
        same = (stat.inode, stat.birth_ns)
        named = [each for each in reversed(self._names.of((topic, path))) if isinstance(each, Stream) and each.row.detached]
        return [stream for stream in named if stat.birth_ns and (stream.row.inode, stream.row.birth_ns) == same]

    def is_still(self, seen: Seen, now: Now) -> bool:
        """Whether a look at `now` finds a file as the last one did, and all of it was acknowledged then."""
        sleeper, stream = self.asleep.get(seen.key), self.by_key.get(seen.key)
        if sleeper is not None:
            return sleeper.is_still(seen)
        return stream is not None and stream.is_still(seen, now)

    def end_look(self, listing: Listing) -> None:
        """A look is over: what it did not wake is as it was."""
        self._looked = listing.begun
        self._new_names.clear()

    def _renumber(self, listing: Listing) -> Steps[None]:
        """At the first look: a device may have got another number since, as those of overlays, NFS and others do at a mount.

        A file of the same name and inode is looked into as the stream's own, which its birth, head and guard have to prove.
        """
        present = {seen.key for seen in listing.files}
        for seen in listing.files:
            for stream in self._names.of((seen.input.topic, seen.path)):
                if isinstance(stream, Sleeper):
                    if stream.key in present or stream.key[2] != seen.stat.inode:
                        continue
                    stream = yield from self.wake(stream, listing.begun)
                row, before = stream.row, (stream.row.topic, *stream.row.key)
                known = row.birth_ns and not row.detached and row.inode == seen.stat.inode
                if known and before not in present:
                    stream.row = replace(row, device=seen.stat.device)
                    self.by_key.pop(before, None)
                    self.by_key[row.topic, *stream.row.key] = stream

    @property
    def names(self) -> Names:
        """(topic, path) of all streams."""
        self._name_new()
        return self._names

    def _name_new(self) -> None:
        for name, stream in self._unnamed:
            if name not in self._names:
                self._new_names.add(name)
            self._names.put(name, (*self._names.of(name), stream))
        self._unnamed.clear()

    def was_known(self, name: Name) -> bool:
        """Whether a name was that of a stream before the last look was over."""
        return name in self._names and name not in self._new_names

    def _name(self, stream: Stream) -> None:
        """From the next look on a stream is known by its path, and by where a link led to."""
        self._unnamed.append(((stream.row.topic, stream.row.path), stream))
        self._name_target(stream)

    def _name_target(self, stream: Stream) -> None:
        if stream.row.target:
            self._linked[stream.row.stream_id] = stream
            self._unnamed.append(((stream.row.topic, stream.row.target), stream))

    def lies(self, stream: Stream, target: str) -> None:
        """Where a stream's file lies, now that it was opened by its path; it is durable with the next chunk."""
        if target != stream.row.target:
            stream.row = replace(stream.row, target=target)
            self._name_target(stream)

    @property
    def position_bytes(self) -> tuple[int, int]:
        """(acknowledged, known) bytes of all files that are there."""
        there = [stream for stream in self.by_id.values() if not stream.row.detached and not stream.left]
        known = sum(max(stream.row.size_seen, stream.row.position) for stream in there)
        asleep = sum(sleeper.position for sleeper in self.asleep.values())
        return asleep + sum(stream.row.position + stream.skip for stream in there), asleep + known

    @property
    def linked(self) -> list[Linked]:
        """The files that links led to."""
        rows = [stream.row for stream in self._linked.values()]
        return [Linked(row.topic, row.path, row.target, None if row.detached else row.key) for row in rows]

    def _is_known(self, name: Name) -> bool:
        """Whether (topic, path) is that of a stream or of a listed file."""
        if name in self._names:
            return True
        if self._listed_names is None:
            self._listed_names = {(seen.input.topic, seen.path) for seen in self._listing.files} if self._listing else set()
        return name in self._listed_names

    def origins(self, topic: str, path: str, now: Now) -> Steps[list[Stream]]:
        """The streams whose names `path` may be a rotation of, the longest name first."""
        found: list[Stream] = []
        for base in rotated_from(path):
            for each in self._names.of((topic, base)):
                awake = (yield from self.wake(each, now)) if isinstance(each, Sleeper) else each
                found.append(awake)
        return found

    def is_rotated(self, stream: Stream, path: str) -> bool:
        """Whether a stream's file bears another name than at first, or the name of another file plus a rotation suffix."""
        topic = stream.row.topic
        return path != stream.row.path or any(self._is_known((topic, base)) for base in rotated_from(path))

    def begin(self, source: Input, path: str, handle: int, stat: FileStat, complete: Now | None, now: Now) -> Stream:
        """A new stream, from the file's first byte. It is durable with its first chunk."""
        row = self.row_of(source, path, stat, complete.wall_ms if complete else now.wall_ms)
        stream = Stream(row, source, complete=complete, now=now, saved=False)
        self.place(stream)
        stream.rotated = self.is_rotated(stream, path)
        stream.hold(handle, b"", b"")
        self.by_id[row.stream_id] = self.by_key[(source.topic, *stat.key)] = stream
        self._name(stream)
        return stream

    def place(self, stream: Stream) -> None:
        """Choose a stream's partition, once, when its topic is known; it is durable with the next chunk."""
        if stream.row.partition == UNPLACED:
            stream.row = replace(stream.row, partition=self._run.place(stream.row.topic, stream.row.stream_id))

    def row_of(self, source: Input, path: str, stat: FileStat, complete_ms: int) -> StreamRow:
        """The row of a new stream, from the file's first byte."""
        return StreamRow(
            stream_id=self._run.mint(),
            topic=source.topic,
            partition=UNPLACED,
            host=self._run.host,
            service=source.service or stem_of(path.removesuffix(".gz")),
            source=path,
            path=path,
            device=stat.device,
            inode=stat.inode,
            birth_ns=stat.birth_ns,
            complete_ms=complete_ms,
            target=stat.target,
        )

    def continue_in(self, stream: Stream, seen: Seen, stat: FileStat, why: str = "goes on in a copy") -> Steps[None]:
        """A copy holds all that was read of a stream whose own file is gone: it is the stream's file from now on."""
        stream.row = replace(
            stream.row, device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns, size_seen=stat.size, detached=False
        )
        self.by_key[(seen.input.topic, *stat.key)] = stream
        self.place(stream)
        stream.loss_settled = False
        stream.limit = None  # where the file ended that is gone is no end of this one
        if stream.saved:
            yield Save((stream.row,))
        yield Note(why, seen.path, stream.row.stream_id)

    def detach(self, stream: Stream, now: Now, why: str) -> Steps[None]:
        """The stream's own file is truncated, replaced or gone: only a copy may continue it."""
        stream.stir()
        handle = stream.release()
        if handle is not None:
            yield Close(handle)
        if self.by_key.get((stream.row.topic, *stream.row.key)) is stream:
            del self.by_key[(stream.row.topic, *stream.row.key)]
        stream.row = replace(stream.row, detached=True)
        stream.detached_ms = now.monotonic_ms
        self.detached_count += 1
        if stream.saved:
            yield Save((stream.row,))
        if why:
            yield Note(why, stream.path, stream.row.stream_id)

    def lose(self, stream: Stream, size_bytes: int, now: Now, reason: str) -> Steps[None]:
        """So many bytes of a stream cannot be read: said once, durably, and not looked for any more."""
        stream.row = replace(stream.row, size_seen=0)
        stream.saved = True
        yield Lost(stream.row, size_bytes, stream.row.complete_ms, now.wall_ms, reason)

    def settle(self, stream: Stream, now: Now) -> Steps[None]:
        """A detached stream: say what is lost once no copy has turned up, and forget it in the end."""
        waited = self._run.once or now.monotonic_ms - stream.detached_ms >= LOSS_AFTER_MS
        waited = waited and stream.row.topic not in self._undecided
        if stream.destroyed_bytes and not stream.loss_settled and waited and not stream.flight:
            yield from self.lose(stream, stream.destroyed_bytes, now, "destroyed")
        stream.loss_settled = stream.loss_settled or waited
        if not stream.saved and stream.loss_settled and not stream.flight:
            self._forget(stream)
        elif stream.loss_settled and now.wall_ms - stream.row.complete_ms >= FORGET_AFTER_MS and not stream.flight:
            self._forget(stream)
            yield Forget(stream.row.stream_id)

    def _forget(self, stream: Stream) -> None:
        del self.by_id[stream.row.stream_id]
        self._linked.pop(stream.row.stream_id, None)
        for path in (stream.row.path, stream.row.target):
            name = (stream.row.topic, path)
            self._names.put(name, tuple(each for each in self._names.of(name) if each is not stream))
