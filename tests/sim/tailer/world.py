"""A file system and a disk for the agent's state, both simulated, for the agent's cores to meet.

Times are ms on the world's one monotonic clock; the wall clock is that plus a base. A file keeps, for the oracle, when each
of its bytes was written. Everything random is drawn by the scenario.
"""

import zlib
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.agents.effects import (
    Advance,
    Close,
    Effect,
    Forget,
    Input,
    Listing,
    Lost,
    Measure,
    Measured,
    NotOpened,
    Now,
    Open,
    Opened,
    Read,
    Recall,
    Save,
    Seen,
    Stat,
)  # fmt: skip
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.tail.identity import FileStat, rotated_from

BASE_MS = 1_790_000_000_000


@dataclass(slots=True)
class Inode:
    """A file's content and stat."""

    number: int
    birth_ns: int
    data: bytearray = field(default_factory=bytearray)
    mtime_ms: int = 0
    links: int = 1
    removed_ms: int = 0
    packed: bool = False  # a gzip file: `data` is what it holds
    broken: str = ""


@dataclass(slots=True)
class Line:
    """A complete line as the oracle knows it: when its newline was written, when its bytes were destroyed in this file."""

    text: bytes
    written_ms: int
    destroyed_ms: int | None = None


class Files:
    """Names, inodes and open handles."""

    def __init__(self, *, births: bool) -> None:
        self.now_ms = 1000
        self.skew_ms = 0  # by how much the wall clock is wrong
        self.device = 1
        self._births = births
        self.names: dict[str, Inode] = {}
        self.free: list[int] = []
        self._next_inode = 100
        self.handles: dict[int, Inode] = {}
        self._next_handle = 1
        self.lines: dict[int, list[Line]] = {}  # by id of the inode object
        self._begun: dict[int, bytes] = {}
        self._measured: dict[int, int] = {}  # by handle that was opened as a packed file's
        self.most_handles = 1000
        self._listed: dict[str, Seen] = {}
        self.kept: list[Inode] = []  # so that ids stay unique

    @property
    def clock_ms(self) -> int:
        """What the wall clock says, since BASE_MS; files bear it."""
        return self.now_ms + self.skew_ms

    def create(self, name: str, *, reuse: bool) -> Inode:
        if reuse and self.free:
            number = self.free.pop()
        else:
            number, self._next_inode = self._next_inode, self._next_inode + 1
        inode = Inode(number, (BASE_MS + self.clock_ms) * 1_000_000 if self._births else 0, mtime_ms=self.clock_ms)
        self.kept.append(inode)
        self.lines[id(inode)], self._begun[id(inode)] = [], b""
        self.names[name] = inode
        return inode

    def append(self, inode: Inode, data: bytes) -> None:
        inode.data += data
        inode.mtime_ms = self.clock_ms
        *whole, rest = (self._begun[id(inode)] + data).split(b"\n")
        self.lines[id(inode)] += [Line(text, self.now_ms) for text in whole]
        self._begun[id(inode)] = rest

    def truncate(self, inode: Inode) -> None:
        inode.data.clear()
        inode.mtime_ms = self.clock_ms
        self._destroy(inode)

    def _destroy(self, inode: Inode) -> None:
        for line in self.lines[id(inode)]:
            line.destroyed_ms = self.now_ms if line.destroyed_ms is None else line.destroyed_ms
        self._begun[id(inode)] = b""

    def copy(self, name: str, to: str, *, reuse: bool) -> None:
        inode = self.create(to, reuse=reuse)
        self.append(inode, bytes(self.names[name].data))

    def begin_packing(self, name: str, *, reuse: bool) -> Inode:
        """gzip has begun: some of a file is in an archive that is not whole."""
        inode = self.create(f"{name}.gz", reuse=reuse)
        inode.packed, inode.broken = True, "truncated"
        data = self.names[name].data
        self.append(inode, bytes(data[: len(data) // 2]))
        return inode

    def end_packing(self, name: str, inode: Inode) -> None:
        """gzip has ended: the archive is whole and as old as the file was, and the file is gone."""
        data, mtime_ms = self.names[name].data, self.names[name].mtime_ms
        self.append(inode, bytes(data[len(inode.data) :]))
        inode.broken, inode.mtime_ms = "", mtime_ms
        self.unlink(name)

    def rename(self, name: str, to: str) -> None:
        if to in self.names:
            self.unlink(to)
        self.names[to] = self.names.pop(name)

    def unlink(self, name: str) -> None:
        inode = self.names.pop(name)
        inode.links -= 1
        inode.removed_ms = self.now_ms
        self._reap(inode)

    def _reap(self, inode: Inode) -> None:
        if not inode.links and inode not in self.handles.values():
            self._destroy(inode)
            self.free.append(inode.number)

    def listed_anew(self) -> None:
        """The next listing is of other objects, as after a reload."""
        self._listed.clear()

    def stat(self, inode: Inode) -> FileStat:
        size = len(inode.data) // 2 + 20 if inode.packed else len(inode.data)
        return FileStat(self.device, inode.number, size, (BASE_MS + inode.mtime_ms) * 1_000_000, inode.links, inode.birth_ns)

    def do(self, effect: Effect) -> Any:
        match effect:
            case Open():
                if effect.path not in self.names:
                    return NotOpened("no such file", denied=False)
                if len(self.handles) >= self.most_handles:
                    return NotOpened("too many open files", denied=False, exhausted=True)
                handle, self._next_handle = self._next_handle, self._next_handle + 1
                inode = self.handles[handle] = self.names[effect.path]
                if not effect.packed or not inode.packed:
                    return Opened(handle, self.stat(inode))
                self._measured[handle] = 0
                trailer = (1, 1) if inode.broken else (zlib.crc32(inode.data), len(inode.data))
                return Opened(handle, self.stat(inode), trailer)
            case Measure():
                return self._measure(effect)
            case Stat():
                stat = self.stat(self.handles[effect.handle])
                return replace(stat, size=self._measured.get(effect.handle, stat.size), birth_ns=0)
            case Read():
                packed = self.handles[effect.handle].packed
                assert packed == (effect.handle in self._measured), "an archive is not read as lines"
                return bytes(self.handles[effect.handle].data[effect.offset : effect.offset + effect.length])
            case Close():
                self._measured.pop(effect.handle, None)
                self._reap(self.handles.pop(effect.handle))
        return None

    def _measure(self, effect: Measure) -> Measured:
        inode = self.handles[effect.handle]
        size = self._measured[effect.handle] = min(len(inode.data), self._measured[effect.handle] + 100)
        crcs = {(start, end): zlib.crc32(inode.data[start:end]) for start, end in effect.marks}
        done = size == len(inode.data)
        return Measured(done, size, crcs, inode.broken if done else "", 1 if done and inode.broken else 0)

    def close_all(self) -> None:
        """The process that held the handles is gone."""
        inodes = list(self.handles.values())
        self.handles.clear()
        self._measured.clear()
        for inode in inodes:
            self._reap(inode)

    def listing(
        self,
        now: Now,
        source: Input,
        known: set[tuple[str, str]],
        *,
        all_names: bool,
        asked: bool = True,
        orphans: bool = False,
    ) -> Listing:
        """What `Listings` finds, unchanged files as the same objects.

        Not `asked`: no input asks for these files, and with `orphans` none ships to their topic.
        """
        paths = {path for _, path in known}
        found: list[Seen] = []
        for name, inode in sorted(self.names.items()):
            matched = asked and (all_names or name.endswith(".log"))
            orphan = not asked and orphans
            beside = not orphan and paths.intersection(rotated_from(name))
            if matched or name in paths or beside:
                seen = Seen(name, replace(self.stat(inode), birth_ns=0), source, matched=matched)
                last = self._listed.get(name, seen)
                found.append(last if last == seen else seen)
        self._listed = {seen.path: seen for seen in found}
        return Listing(now, tuple(found), frozenset() if orphans and not asked else frozenset({source.topic}))


@dataclass(slots=True)
class Disk:
    """The agent's durable rows, with the transactions that are not durable yet."""

    streams: dict[str, StreamRow] = field(default_factory=dict)
    chunks: dict[tuple[str, int], ChunkRow] = field(default_factory=dict)
    inputs: set[tuple[str, str]] = field(default_factory=set)
    counted: list[tuple[str, int]] = field(default_factory=list)
    pending: list[Effect] = field(default_factory=list)

    def recall(self, effect: Recall) -> StreamRow:
        self.flush()
        return self.streams[effect.stream_id]

    def flush(self) -> None:
        for effect in self.pending:
            match effect:
                case Save():
                    self.streams |= {row.stream_id: row for row in effect.streams}
                    self.chunks |= {(row.stream_id, row.start): row for row in effect.chunks}
                    self.inputs.update(effect.inputs)
                case Advance():
                    before = self.streams[effect.stream.stream_id].position
                    for chunk in effect.chunks:
                        assert chunk.since == before, "a position advanced over a hole"
                        before = chunk.end
                        del self.chunks[chunk.stream_id, chunk.start]
                        self.counted.append((chunk.stream_id, chunk.start))
                    assert effect.stream.position == before, "a position is not the end of its chunks"
                    self.streams[effect.stream.stream_id] = effect.stream
                case Lost():
                    self.streams[effect.stream.stream_id] = effect.stream
                case Forget():
                    self.streams.pop(effect.stream_id, None)
                    self.chunks = {key: chunk for key, chunk in self.chunks.items() if key[0] != effect.stream_id}
        self.pending.clear()
