"""The tailer's core: which stream each file is, what is read next, what may be sent, and how far all is acknowledged.

Pure: no I/O, no clock, no randomness; steps yield effects (effects.py). It holds what audit.md promises:

- a stream's row and a chunk's row are durable (Save) before the first record is sent (Send);
- positions advance over a contiguous run of delivered chunks only;
- a file is a stream's own only where its bytes prove it; a new file continues a stream only if it bears the stream's name
  plus a rotation suffix, holds all its bytes up to the position, and the stream's own file is gone or truncated. In doubt a
  file is a new stream: a repeat under a new identity rather than a loss;
- a file that was rotated away is followed to its end until it is quiet and acknowledged, whatever its name is now;
- `complete_at` is true: every complete line that was readable then is acknowledged.

Not detectable: a truncated file filled again with the very same bytes up to the position; a file made and destroyed, or
rotated out of the globs, between two looks; bytes that a writer appends to a rotated, unlisted file after the holding time.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from headrace.agents.budget import Budget
from headrace.agents.effects import (
    Close,
    Forget,
    Input,
    Listing,
    Lost,
    Note,
    Now,
    Open,
    Opened,
    Read,
    Save,
    Seen,
    Send,
    Stat,
    Steps,
)
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.tail.identity import HEAD_BYTES, FileStat, digest, is_compressed_name, rotated_from
from headrace.agents.tail.reading import QUIET_MS, Limits, Planned, Replaced, copies, read_on, row_with_chunk, verify
from headrace.agents.tail.stream import Stream

LONGEST_WAIT_MS = 60_000  # how long a rotated-name copy may go on changing before it is taken for a log of its own
HOLD_UNLINKED_MS = 60_000  # how long a quiet, removed file is held open for a writer that has it open too
HOLD_RENAMED_MS = 300_000  # the same for one that was renamed out of sight; it costs no disk space
LOSS_AFTER_MS = 60_000  # how long the copy of a truncated file is waited for before its unread bytes count as lost
COMPARED_BYTES = 64 * 1024  # how much of a file's end tells whether it is a copy of a log that is still written
FORGET_AFTER_MS = 7 * 24 * 3_600_000  # as long as the loader remembers a stream (audit.md)
IDLE_MS = 10_000  # a file that did not change for so long is looked at by the listing only

GONE = "the file is gone"
FileKey = tuple[str, int, int]  # topic, device, inode


class Tailer:
    """All streams of one agent.

    Args:
        rows, chunks: what was durable when the agent ended.
        host: the name that new streams' events carry.
        mint: makes a new stream id. place: chooses the partition of a new stream (topic, stream id), asked once per stream.
        ready: whether a topic can be sent to; the files of one that cannot yet wait, and nothing is claimed meanwhile.
        once: a finite run: unterminated tails are lines, nothing is waited for.
        max_open: how many files are held open at most, but for those that can no longer be found by a name.
        budget: shared with everything else that is read.
        now: the moment of the start.
    """

    def __init__(
        self,
        rows: Iterable[StreamRow],
        chunks: Iterable[ChunkRow],
        *,
        host: str,
        mint: Callable[[], str],
        place: Callable[[str, str], int],
        ready: Callable[[str], bool],
        once: bool,
        max_open: int,
        limits: Limits,
        budget: Budget,
        now: Now,
    ) -> None:
        self._host, self._mint, self._place, self._ready = host, mint, place, ready
        self._once, self._max_open, self._limits = once, max_open, limits
        self._streams: dict[str, Stream] = {}
        self._by_key: dict[FileKey, Stream] = {}
        self._met: dict[FileKey, tuple[int, int, int, int]] = {}  # waiting files: size, mtime, since when so, first met (ms)
        self._refused: dict[FileKey, tuple[int, int]] = {}  # files that are nobody's: size, mtime
        self._unreadable: set[FileKey] = set()
        self._looked: set[str] = set()  # topics whose files were looked at since the start
        self._last_keys: set[FileKey] = set()  # the files that the last look took in, and the names it knew
        self._last_names: set[tuple[str, str]] = set()
        self._unseen: set[FileKey] = set()  # files that were made and rotated away between two looks, as it seems
        self._known_names: set[tuple[str, str]] = set()
        self._started_ms = now.wall_ms
        self._turn = 0
        self._budget = budget
        self._listed: Now | None = None  # the last listing of which every file was taken in
        self._claim: Now | None = None
        for row in rows:
            stream = Stream(row, None, complete=None, now=now, saved=True)
            self._streams[row.stream_id] = stream
            if not row.detached:
                self._by_key[(row.topic, *row.key)] = stream
        for chunk in sorted(chunks, key=lambda chunk: chunk.start):
            if chunk.stream_id in self._streams:
                self._streams[chunk.stream_id].replay.append(chunk)

    # ---- what there is

    def look(self, listing: Listing) -> Steps[None]:
        """Match a listing with the streams: new files, renamed ones, copies, files rotated away or removed."""
        now = listing.begun
        names = self._names()
        self._known_names = names.keys() | {(seen.input.topic, seen.path) for seen in listing.files}
        present: set[FileKey] = set()
        taken: set[FileKey] = set()
        met, self._met = self._met, {}
        for seen in listing.files:
            key = (seen.input.topic, *seen.stat.key)
            if key in present:
                continue  # the same file by another name
            present.add(key)
            if not self._ready(seen.input.topic):
                continue
            stream = self._by_key.get(key)
            if stream is None:
                taken_in = yield from self._meet(seen, key, met.get(key), names, now)
            elif stream.handle is None:
                taken_in = yield from self._resume(stream, seen, key, met.get(key), names, now)
            else:
                taken_in = self._follow(stream, seen, now)
            if taken_in:
                taken.add(key)
        for stream in list(self._streams.values()):
            if stream.row.detached or (stream.row.topic, *stream.row.key) not in present:
                yield from self._absent(stream, now)
        self._last_keys, self._last_names = taken, set(names)
        self._looked.update(topic for topic, _, _ in taken)
        self._unseen &= present
        self._refused = {key: at for key, at in self._refused.items() if key in present}
        self._unreadable &= present
        yield from self._shed()
        if taken == present:
            self._listed = now

    def _names(self) -> dict[tuple[str, str], list[Stream]]:
        names: dict[tuple[str, str], list[Stream]] = {}
        for stream in self._streams.values():
            names.setdefault((stream.row.topic, stream.row.path), []).append(stream)
        return names

    def _is_rotated(self, stream: Stream, path: str) -> bool:
        """Whether a stream's file bears another name than at first, or the name of another file plus a rotation suffix."""
        topic = stream.row.topic
        return path != stream.row.path or any((topic, base) in self._known_names for base in rotated_from(path))

    def _follow(self, stream: Stream, seen: Seen, now: Now) -> bool:
        """A file that is held open is listed, under its own name or another."""
        stream.input, stream.listed = seen.input, True
        stream.path, stream.matched = seen.path, seen.matched
        stream.rotated = self._is_rotated(stream, seen.path)
        stat = stream.stat
        if stat is None or (stat.size, stat.mtime_ns) != (seen.stat.size, seen.stat.mtime_ns):
            stream.changed_ms = now.monotonic_ms
        elif stream.scan_to == seen.stat.size:
            stream.looked(now, seen.stat.size)
            stream.reached(stream.scan_to)
        return True

    def _resume(
        self,
        stream: Stream,
        seen: Seen,
        key: FileKey,
        met: tuple[int, int, int, int] | None,
        names: dict[tuple[str, str], list[Stream]],
        now: Now,
    ) -> Steps[bool]:
        """A stream's file is there and not open: after a start, or because too many were open."""
        stream.left = not seen.matched and seen.path == stream.row.path
        if stream.left:
            return True  # no input asks for it any more; if one does again, it goes on
        before = stream.stat
        tail_due = stream.tail_bytes and self._is_rotated(stream, seen.path)
        unchanged = before is not None and (before.size, before.mtime_ns) == (seen.stat.size, seen.stat.mtime_ns)
        if unchanged and stream.idle and not tail_due:
            return self._follow(stream, seen, now)
        opened = yield from self._open(seen)
        if opened is None:
            return key in self._unreadable
        if (yield from verify(stream, opened.handle, opened.stat)):
            return self._follow(stream, seen, now)
        yield Close(opened.handle)
        yield from self._detach(stream, now, "the file does not hold the stream's bytes any more")
        return (yield from self._meet(seen, key, met, names, now))

    def _open(self, seen: Seen) -> Steps[Opened | None]:
        """Open a listed file; None where it is another one meanwhile, or cannot be opened (said once)."""
        key = (seen.input.topic, *seen.stat.key)
        opened = yield Open(seen.path)
        if isinstance(opened, Opened):
            if opened.stat.key == seen.stat.key:
                self._unreadable.discard(key)
                return opened
            yield Close(opened.handle)
        elif key not in self._unreadable:
            if opened.denied:
                self._unreadable.add(key)
            yield Note(f"cannot be read: {opened.reason}", seen.path)
        return None

    def _meet(
        self,
        seen: Seen,
        key: FileKey,
        met: tuple[int, int, int, int] | None,
        names: dict[tuple[str, str], list[Stream]],
        now: Now,
    ) -> Steps[bool]:
        """A file that is no stream's own. Returns whether it is decided what it is."""
        if self._refused.get(key) == (seen.stat.size, seen.stat.mtime_ns):
            return True
        origins = [stream for base in rotated_from(seen.path) for stream in names.get((seen.input.topic, base), ())]
        if not seen.matched and not origins:
            return True
        if is_compressed_name(seen.path) and not seen.explicit:
            self._refused[key] = (seen.stat.size, seen.stat.mtime_ns)
            yield Note("looks compressed and is not shipped; exclude it, or name it without a wildcard", seen.path)
            return True
        opened = yield from self._open(seen)
        if opened is None:
            return key in self._unreadable
        rotated_out = not seen.matched and self._is_unseen(key, opened.stat, origins)
        waits = bool(origins) and not self._once and not self._quiet(seen, key, met, now)
        if waits and (yield from self._may_be_copy(opened, origins)):
            yield Close(opened.handle)
            return not seen.matched
        for stream in reversed(origins):
            if stream.row.detached and (yield from copies(stream, opened.handle, opened.stat.size)):
                yield from self._continue(stream, seen, opened, now)
                return True
        if seen.matched:
            self._begin(seen.input, seen.path, opened.handle, opened.stat, self._listed, now)
        elif rotated_out and not (yield from self._is_copy(opened, origins)):
            # Under the name that it was written under, as if it had been seen in time.
            self._begin(seen.input, origins[0].row.path, opened.handle, opened.stat, self._listed, now)
            begun = self._by_key[key]
            yield Save((begun.row,))  # at once: its name does not bring it back
            begun.saved = True
        else:
            self._refused[key] = (seen.stat.size, seen.stat.mtime_ns)
            yield Close(opened.handle)
        return True

    def _is_unseen(self, key: FileKey, stat: FileStat, origins: list[Stream]) -> bool:
        """Whether a file beside ours was made since the last look; unless it is a copy, it was rotated away between two looks.

        At the first look for such files: one that was written to since this agent started, or, where an agent knew the log
        before, since its last durable look (or a little before: it may have waited then).
        """
        written_ms = stat.mtime_ns // 1_000_000
        if key[0] not in self._looked:
            unseen = written_ms > max(stream.row.complete_ms for stream in origins) - LONGEST_WAIT_MS
        elif any((stream.row.topic, stream.row.path) in self._last_names for stream in origins):
            unseen = key not in self._last_keys
        else:
            unseen = written_ms >= self._started_ms
        if unseen:
            self._unseen.add(key)
        return key in self._unseen

    def _quiet(self, seen: Seen, key: FileKey, met: tuple[int, int, int, int] | None, now: Now) -> bool:
        """Whether a file has not changed for a while, or has been changing for so long that it is nobody's copy."""
        at = now.monotonic_ms
        same = met is not None and met[:2] == (seen.stat.size, seen.stat.mtime_ns)
        since, first = (met[2] if same else at, met[3]) if met is not None else (at, at)
        self._met[key] = (seen.stat.size, seen.stat.mtime_ns, since, first)
        old = now.wall_ms - seen.stat.mtime_ns // 1_000_000 >= QUIET_MS
        return old or at - since >= QUIET_MS or at - first >= LONGEST_WAIT_MS

    def _may_be_copy(self, opened: Opened, origins: list[Stream]) -> Steps[bool]:
        """Whether a file begins as one of the streams does (an empty one may be a copy that was only just begun)."""
        head = yield Read(opened.handle, 0, HEAD_BYTES)
        if not head:
            return True
        return any(
            digest(head[: stream.row.head_bytes]) == stream.row.head or stream.head.startswith(head)
            for stream in origins
            if stream.row.head_bytes
        )

    def _is_copy(self, opened: Opened, origins: list[Stream]) -> Steps[bool]:
        """Whether a file ends with what an open log holds in the same place; of an empty one nothing is to be shipped yet."""
        start = max(0, opened.stat.size - COMPARED_BYTES)
        end = yield Read(opened.handle, start, opened.stat.size - start)
        for stream in origins:
            if end and stream.handle is not None and (yield Read(stream.handle, start, len(end))) == end:
                return True
        return not end

    def _begin(self, source: Input, path: str, handle: int, stat: FileStat, complete: Now | None, now: Now) -> None:
        """A new stream, from the file's first byte. It is durable with its first chunk."""
        stream_id = self._mint()
        row = StreamRow(
            stream_id=stream_id,
            topic=source.topic,
            partition=self._place(source.topic, stream_id),
            host=self._host,
            service=source.service or PurePath(path).stem,
            source=path,
            path=path,
            device=stat.device,
            inode=stat.inode,
            birth_ns=stat.birth_ns,
            complete_ms=complete.wall_ms if complete else now.wall_ms,
        )
        stream = Stream(row, source, complete=complete, now=now, saved=False)
        stream.rotated = self._is_rotated(stream, path)
        stream.hold(handle, b"", b"")
        self._streams[stream_id] = self._by_key[(source.topic, *stat.key)] = stream

    def _continue(self, stream: Stream, seen: Seen, opened: Opened, now: Now) -> Steps[None]:
        """A copy holds all that was read of a stream whose own file is gone: read on there."""
        stat = opened.stat
        stream.row = replace(
            stream.row, device=stat.device, inode=stat.inode, birth_ns=stat.birth_ns, size_seen=stat.size, detached=False
        )
        self._by_key[(seen.input.topic, *stat.key)] = stream
        stream.loss_settled = False
        self._follow(stream, seen, now)
        if stream.saved:
            yield Save((stream.row,))
        yield Note("goes on in a copy", seen.path, stream.row.stream_id)

    # ---- what is gone

    def _absent(self, stream: Stream, now: Now) -> Steps[None]:
        """A stream whose own file is not listed."""
        stream.listed, stream.rotated = False, True
        if stream.row.detached:
            yield from self._settle(stream, now)
        elif stream.handle is None:
            yield from self._detach(stream, now, GONE)
        elif stream.stat is not None and stream.idle and stream.ended:
            hold_ms = HOLD_RENAMED_MS if stream.stat.links else HOLD_UNLINKED_MS
            if self._once or now.monotonic_ms - stream.changed_ms >= hold_ms:
                yield from self._detach(stream, now, "")

    def _detach(self, stream: Stream, now: Now, why: str) -> Steps[None]:
        """The stream's own file is truncated, replaced or gone: only a copy may continue it."""
        handle = stream.release()
        if handle is not None:
            yield Close(handle)
        if self._by_key.get((stream.row.topic, *stream.row.key)) is stream:
            del self._by_key[(stream.row.topic, *stream.row.key)]
        stream.row = replace(stream.row, detached=True)
        stream.detached_ms = now.monotonic_ms
        if stream.saved:
            yield Save((stream.row,))
        if why:
            yield Note(why, stream.path, stream.row.stream_id)

    def _settle(self, stream: Stream, now: Now) -> Steps[None]:
        """A detached stream: say what is lost once no copy has turned up, and forget it in the end."""
        waited = self._once or now.monotonic_ms - stream.detached_ms >= LOSS_AFTER_MS
        if stream.destroyed_bytes and not stream.loss_settled and waited and not stream.flight:
            yield Lost(stream.row, stream.destroyed_bytes, stream.row.complete_ms, now.wall_ms)
            stream.row = replace(stream.row, size_seen=0)
        stream.loss_settled = stream.loss_settled or waited
        if not stream.saved and stream.loss_settled and not stream.flight:
            del self._streams[stream.row.stream_id]
        elif stream.loss_settled and now.wall_ms - stream.row.complete_ms >= FORGET_AFTER_MS and not stream.flight:
            del self._streams[stream.row.stream_id]
            yield Forget(stream.row.stream_id)

    def _shed(self) -> Steps[None]:
        """Close the files that were quiet for longest, where too many are open; each can be found by its name again."""
        held = [stream for stream in self._streams.values() if stream.handle is not None]
        if len(held) <= self._max_open:
            return
        for stream in sorted(held, key=lambda stream: stream.changed_ms):
            if len(held) <= self._max_open:
                return
            at_end = stream.stat is not None and stream.scan_to >= stream.stat.size and stream.idle
            if at_end and stream.listed and not (stream.rotated and stream.tail_bytes):
                handle = stream.release()
                assert handle is not None
                yield Close(handle)
                held.pop()

    # ---- what is read and sent

    def read(self, now: Now) -> Steps[bool]:
        """One round: at most one chunk of every stream that may have news, saved together, then sent.

        Returns whether anything was sent, so that another round is worth it at once.
        """
        planned: list[tuple[Stream, Planned]] = []
        spent = 0
        order = [stream for stream in self._streams.values() if stream.handle is not None]
        turn = self._turn % len(order) if order else 0
        turned_away: int | None = None
        for index, stream in enumerate(order[turn:] + order[:turn]):
            if spent >= self._limits.round_bytes:
                turned_away = index if turned_away is None else turned_away
                break
            if not self._due(stream, now):
                continue
            limits = self._budget.limits_for(stream.row)
            if limits is None or stream.flight.cost_bytes >= limits.stream_cost_bytes:
                turned_away = index if turned_away is None else turned_away
                continue
            outcome = yield from read_on(stream, now, limits, once=self._once)
            if isinstance(outcome, Replaced):
                yield from self._replace(stream, now)
            elif outcome is not None:
                planned.append((stream, outcome))
                spent += len(outcome.data)
                self._budget.take(stream.row, outcome.cost_bytes)
        self._turn = turn + (turned_away or 0)  # whoever found no room is asked first
        if not planned:
            return False
        fresh = [(stream, plan) for stream, plan in planned if not plan.repeat]
        if fresh:
            rows = tuple(row_with_chunk(stream, plan) for stream, plan in fresh)
            yield Save(rows, tuple(plan.chunk for _, plan in fresh))
            for (stream, _), row in zip(fresh, rows, strict=True):
                stream.row, stream.saved = row, True
        for stream, plan in planned:
            if plan.repeat:
                stream.replay.popleft()
            stream.sent(plan.chunk, plan.data, plan.after, plan.cost_bytes)
            stream.reached(stream.read_to)
            stream.shipped((yield Send(stream.row, plan.chunk, plan.data, stream.input.name if stream.input else "")))
        return True

    def _due(self, stream: Stream, now: Now) -> bool:
        stat = stream.stat
        if stat is None or stream.replay or not stream.listed or now.monotonic_ms - stream.changed_ms < IDLE_MS:
            return True
        return stream.scan_to < stat.size or (stream.rotated and stream.tail_bytes > 0)

    def _replace(self, stream: Stream, now: Now) -> Steps[None]:
        """The file was truncated, or filled again, in place: what it holds now is a new stream."""
        handle, source = stream.release(), stream.input
        assert handle is not None
        assert source is not None
        yield from self._detach(stream, now, "truncated or written anew")
        stat = yield Stat(handle)
        if stat is None:
            yield Close(handle)
            return
        name = stream.path if stream.matched else stream.row.path  # a name that an input asks for, so that it is found again
        self._begin(source, name, handle, stat, stream.complete, now)

    def delivered(self, stream_id: str, start: int, result: Any) -> Steps[None]:
        """All records of a chunk are acknowledged, or durable among the rejected; `result` is handed on to Advance."""
        stream = self._streams[stream_id]
        before = stream.flight.cost_bytes
        advance = stream.delivered(start, result)
        self._budget.take(stream.row, stream.flight.cost_bytes - before)
        if advance is not None:
            yield advance

    # ---- what is known

    def complete_at(self) -> Now | None:
        """The latest moment of which it is known that every complete line readable then is acknowledged; None: of none yet."""
        latest = self._listed
        for stream in self._streams.values():
            if latest is None:
                return self._claim
            if stream.left:
                continue
            if stream.row.detached and not stream.flight and (stream.loss_settled or not stream.destroyed_bytes):
                continue
            if stream.complete is None or stream.complete.monotonic_ms < latest.monotonic_ms:
                latest = stream.complete
        if latest is not None and (self._claim is None or latest.monotonic_ms > self._claim.monotonic_ms):
            self._claim = latest
        return self._claim

    @property
    def known_paths(self) -> set[tuple[str, str]]:
        """(topic, path) of all streams: what lies beside them under a rotated name may be theirs."""
        return {(stream.row.topic, stream.row.path) for stream in self._streams.values()}

    @property
    def ended(self) -> bool:
        """In a finite run: whether all that was found is read and acknowledged."""
        return self._listed is not None and all(stream.ended for stream in self._streams.values())

    @property
    def position_bytes(self) -> tuple[int, int]:
        """(acknowledged, known) bytes of all files that are there."""
        there = [stream for stream in self._streams.values() if not stream.row.detached and not stream.left]
        known = sum(max(stream.row.size_seen, stream.row.position) for stream in there)
        return sum(stream.row.position + stream.skip for stream in there), known

    @property
    def streams(self) -> Iterable[Stream]:
        """All of them, to be looked at."""
        return self._streams.values()
