"""The tailer's core among writers that write in pieces, rotators of every kind, and crashes between any two effects.

Held under every seed (audit.md, One row per line): every line that stays readable is delivered; an identity never has two
contents; positions advance over delivered chunks only, without holes, and each chunk is counted once; a claim of completeness
is true.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from headrace.agents.effects import Close, Input, Listing, Lost, Measure, Now, Open, Read, Save, Stat
from headrace.agents.events import encoder
from headrace.agents.events.containers import stderr_stream_id
from headrace.agents.events.pipeline import definition
from headrace.agents.flight import Completeness, Flight
from headrace.agents.rows import PASSED, StreamRow
from headrace.agents.start import BEGINNING
from headrace.agents.tail import archives, beginning, meeting, reading, strangers, stream
from headrace.agents.tail.archives import Archives
from headrace.agents.tail.beginning import Beginnings, Search
from headrace.agents.tail.meeting import Meeting
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.streams import Streams
from headrace.agents.tail.tailer import Tailer
from tests.sim.agent_life import CrashedError, Life
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.tailer.past import Past
from tests.sim.tailer.world import BASE_MS, Files, Inode

_UNPROVED = "sent and stream.row.detached and not stream.hold(handle, b'', b'')"
LEFT_OUT = b"left"  # lines that no pipeline sends begin so; short, as a finite run may cut one where the file ended before
_FILTER = {"filter": {"exclude": {"pattern": "^left"}}}
TRACES = definition(
    parse={"type": "plain"},
    multiline={"traces": ["java"], "timeout_ms": 1000, "max_lines": 50, "max_bytes": 4096},
    transforms=[_FILTER],
)
CONTAINERS = definition(
    parse={"type": "plain"},
    multiline={"traces": ["java"], "timeout_ms": 1000, "max_lines": 50, "max_bytes": 4096},
    container={"fields": {}, "timeout_ms": 1000, "max_bytes": 4096},
    transforms=[_FILTER],
)
PIPELINES = (
    definition(parse={"type": "auto"}, transforms=[_FILTER]),
    definition(parse={"type": "plain"}, transforms=[_FILTER, {"add": {"a": "b"}}]),
)


def to_deliver(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not line.startswith(LEFT_OUT)]


@dataclass(slots=True)
class Trace:
    """One event of several lines, which a writer may write piece by piece; `written` bytes of it are there."""

    inode: Inode
    data: bytes
    written: int = 0
    last_ms: int = 0
    paused: bool = False


class Simulation(Life):
    """One agent's life, several times, in one world.

    Args:
        pipelines: one of them is configured at a time; with TRACES alone, writers write events of several lines, too.
        calms: now and then nobody writes until the agent has come to rest; and few files may be open.
        starts: of these one is the input's `start`; there are files before it begins.
    """

    core: Tailer

    def __init__(
        self,
        rng: random.Random,
        pipelines: tuple[str, ...] = PIPELINES,
        *,
        calms: bool = False,
        starts: tuple[str, ...] = ("beginning",),
    ) -> None:
        super().__init__(rng)
        self.calms = calms
        self.files = Files(births=rng.random() < 0.5)
        self.all_names = rng.random() < 0.7
        self.pipelines = pipelines
        self.traces: dict[str, Trace] = {}  # by the writer's name, those that it is about to write
        self.whole: list[Trace] = []  # those that were written without a pause
        self.reload_rate = rng.choice((0.0, 0.0, 0.05, 0.2))
        self.orphans = rng.random() < 0.5  # whether no other input ships to the topic
        self.asked, self.excused_ms = True, 0  # whether an input asks for the files; what was written before may be missing
        chunk_bytes = rng.choice((24, 64, 512))
        self.limits = Limits(chunk_bytes, chunk_lines=rng.choice((1, 3, 50)), settled_streams=chunk_bytes % 3)
        self.crash_rate = rng.choice((0.0, 0.002, 0.02))
        self.once_rate = rng.choice((0.0, 0.0, 0.7))
        self.banner = rng.choice((b"", b"the first line of every file is the same\n"))
        self.names = ["a.log", "b.log"]
        self.owed: list[Inode] = []
        self.packing: list[tuple[str, Inode]] = []
        self.reused: list[Inode] = []
        self.writers: dict[str, Any] = {name: self.files.create(name, reuse=False) for name in self.names}
        old = self.files.create("a.log.0", reuse=False)
        self.files.append(old, b"never asked for\n")
        old.mtime_ms -= 3_600_000
        self.count = 0
        self.generation = 0
        self.read_from: list[Inode] = []  # files that this run has begun to ship
        self.shipping = False
        self.began_ms = 0  # when the agent's turn began
        self.acts_left = 0  # how much others may do within one turn of the agent
        self.lost = False
        self.past = Past(self) if starts != ("beginning",) else None
        self.begin_at = BEGINNING if self.past is None else self.past.start_of(rng.choice(starts))
        self.core = self.start()
        if calms:
            self.files.most_handles = rng.choice((3, 6, 1000))

    # ---- the world

    def tick(self, most_ms: int = 50) -> None:
        self.files.now_ms += self.rng.randint(1, most_ms)

    def now(self) -> Now:
        return Now(self.files.now_ms, BASE_MS + self.files.clock_ms)

    def text(self) -> bytes:
        self.count += 1
        size = self.rng.choice((0, 3, 20, 60, 120))
        if self.rng.random() < 0.1:
            return b'{"n": %d}\n' % self.count
        if self.rng.random() < 0.1:
            return LEFT_OUT + b"%d\n" % self.count
        body = bytes(self.rng.choice(b"abc \xc3\xa9\xff\r\0") for _ in range(size))
        return b"%d:" % self.count + body + (b"\n" if self.rng.random() < 0.75 else b"")

    def act(self) -> None:
        """One thing that some other process does."""
        self.tick()
        if self.healing:
            return
        name = self.rng.choice(self.names)
        inode = self.files.names.get(name)
        what = self.rng.random()
        if inode is None:
            self.create(name)
        elif what < 0.8 and self.pipelines == (TRACES,) and (name in self.traces or self.rng.random() < 0.2):
            self.write_trace(name)
        elif what < 0.8:
            self.files.append(self.writers[name], self.runtime(self.text()))
        elif what < 0.86:
            self.rotate(name)
        elif what < 0.92 and self.past is not None and not self.past.may_copy:
            self.tick(15_000)
        elif what < 0.92:
            self.copy_truncate(name)
        elif what < 0.935:
            self.files.unlink(name)
        elif what < 0.955:
            self.pack()
        elif what < 0.97:
            self.refill(inode, self.rng.randint(0, 4))
        else:
            self.tick(15_000)

    def runtime(self, text: bytes) -> bytes:
        """What a program wrote as its runtime writes it, to one of two streams, now and then in two pieces of a line."""
        if self.pipelines != (CONTAINERS,) or self.rng.random() < 0.05:
            return text
        head = b"2026-09-21T10:00:%02d.%03dZ " % divmod(self.files.now_ms % 60_000, 1000)
        stream = head + self.rng.choice((b"stdout ", b"stderr ")) + self.rng.choice((b"F ", b"F ", b"P "))
        if self.rng.random() < 0.3:
            return stream + b"\tat %d\n" % self.count
        return stream + text

    def write_trace(self, name: str) -> None:
        """Begin a trace, or go on with it; often all that is left of it is written at once."""
        inode = self.writers[name]
        trace = self.traces.get(name)
        if trace is None:
            self.count += 1
            frames = b"".join(b"\tat %d.%d\n" % (self.count, frame) for frame in range(3))
            trace = self.traces[name] = Trace(inode, b"E%d;\n" % self.count + frames)
            trace.paused = bool(inode.data) and not inode.data.endswith(b"\n")
        elif trace.inode is not inode or self.files.now_ms - trace.last_ms >= 1000 or self.finite:
            trace.paused = True
        left = len(trace.data) - trace.written
        piece = trace.data[trace.written :][: self.rng.choice((left, self.rng.randint(1, left)))]
        self.files.append(inode, piece)
        trace.written, trace.last_ms = trace.written + len(piece), self.files.now_ms
        if trace.written == len(trace.data):
            self.whole += [] if trace.paused else [self.traces[name]]
            del self.traces[name]

    def rotated_name(self, name: str) -> str:
        self.generation += 1
        return f"{name}.{self.generation}"

    def rotate(self, name: str) -> None:
        """Rename, and make a new file; the writer may go on in the old one for a while."""
        self.files.rename(name, self.rotated_name(name))
        if self.rng.random() < 0.5:
            self.count += 1
            self.files.append(self.writers[name], b"late %d\n" % self.count)
            self.traces.pop(name, None)
        if self.rng.random() < 0.8:
            self.create(name)

    def pack(self) -> None:
        """gzip begins with a rotated file, or ends with it (or never does)."""
        if self.reload_rate:  # what is packed while no input asks for its log is not promised (docs/NEXT.md)
            return
        if self.pipelines == (TRACES,):
            return  # where a cut archive ends is no end of an event
        if self.packing and self.rng.random() < 0.8:
            name, inode = self.packing.pop()
            owed = any(self.files.names[name] is each for each in self.owed)
            self.files.end_packing(name, inode)
            if owed and not any(inode is each for each in self.reused):
                self.owed.append(inode)
            return
        rotated = [name for name in self.files.names if name[6:].isdigit() and f"{name}.gz" not in self.files.names]
        if not rotated:
            return
        name, reuse = self.rng.choice(sorted(rotated)), self.rng.random() < 0.5
        inode = self.files.begin_packing(name, reuse=reuse)
        self.packing.append((name, inode))
        if reuse:
            self.reused.append(inode)
        if self.rng.random() < 0.5:
            self.tick()
            self.pack()
        if self.past is not None:
            self.past.copied = self.past.copied or (name, inode) in self.packing

    def copy_truncate(self, name: str) -> None:
        to = self.rotated_name(name)
        self.files.copy(name, to, reuse=self.rng.random() < 0.5)
        if self.past is not None:
            self.past.copied = True
        self.tick()
        self.refill(self.files.names[name], self.rng.choice((0, 1, 3, 6)))

    def refill(self, inode: Inode, texts: int) -> None:
        """Truncate in place, and write anew: a little, or at once more than there was."""
        size = len(inode.data)
        self.files.truncate(inode)
        if self.past is not None:
            self.past.begins.pop(id(inode), None)
        self.traces = {name: trace for name, trace in self.traces.items() if trace.inode is not inode}
        if not texts:
            return
        self.files.append(inode, self.banner + self.text() * texts)
        while self.rng.random() < 0.9 and len(inode.data) <= size:
            self.files.append(inode, self.text())

    def down(self) -> None:
        """No agent runs for a while."""
        for _ in range(self.rng.choice((0, 0, 3, 12))):
            self.act()

    def create(self, name: str) -> None:
        """A writer makes a log; the agent must ship it, whatever becomes of its name, if it knows a stream of that name.

        (One that got the inode of a file that was there at the last look may be missed.)
        """
        reuse = self.rng.random() < 0.6
        inode = self.writers[name] = self.files.create(name, reuse=reuse)
        self.files.append(inode, self.banner)
        if not reuse and self.asked and any(row.path == name for row in self.disk.streams.values()):
            self.owed.append(inode)

    # ---- the agent

    def reload(self) -> None:
        """The configuration is read again: other pipelines, and an input that comes or goes."""
        split_bytes = self.rng.choice((16, 40, 4096))
        self.input = Input("logs", self.rng.choice(self.pipelines), split_bytes=split_bytes, start=self.begin_at)
        self.asked = not self.asked
        self.excused_ms = self.files.now_ms
        self.owed.clear()

    def listed(self) -> Listing:
        known = self.core.known_paths
        asked = self.asked or self.healing
        return self.files.listing(self.now(), self.input, known, all_names=self.all_names, asked=asked, orphans=self.orphans)

    def start(self) -> Tailer:
        """The agent, from what is durable; at its first start it decides where files begin."""
        tailer = self.made()
        while self.past is not None and not self.disk.inputs:
            self.acts_left = 0
            known = {("logs", name) for name in self.files.names}
            listing = self.files.listing(self.now(), self.input, known, all_names=self.all_names)
            try:
                self.carry_out(tailer.beginnings.decide(listing, {("logs", "")}))
            except CrashedError:
                self.down()
                tailer = self.made()
        return tailer

    def made(self) -> Tailer:
        self.files.close_all()
        self.end()
        rng = self.rng
        # Some runs are finite: they take unterminated tails for lines, and the next run finds them longer.
        self.finite = not self.healing and rng.random() < self.once_rate
        self.read_from.clear()
        # The configuration may have changed meanwhile.
        pipeline, split_bytes = rng.choice(self.pipelines), rng.choice((16, 40, 4096))
        self.input = Input("logs", pipeline, split_bytes=split_bytes, start=self.begin_at)
        ready_ms = self.files.now_ms + rng.choice((0, 0, 0, 2000))
        run = self.run(ready=lambda _: self.healing or self.files.now_ms >= ready_ms, once=self.finite)
        return Tailer(self.disk.streams.values(), self.disk.chunks.values(), run, max_open=rng.choice((1, 3, 100)))

    def meanwhile(self) -> None:
        if self.acts_left and self.rng.random() < 0.2:
            self.acts_left -= 1
            self.act()

    def do(self, effect: Any) -> Any:
        match effect:
            case Read() if self.shipping:
                self.read_from.append(self.files.handles[effect.handle])
            case Close():
                self.check_close(effect.handle)
            case Lost():
                self.lost = True
        if isinstance(effect, Open | Measure | Stat | Read | Close):
            return self.files.do(effect)
        answer = super().do(effect)
        if isinstance(effect, Save) and effect.inputs and self.past is not None:
            self.past.decided()
        return answer

    def check_close(self, handle: int) -> None:
        """What no name leads to any more is let go once all its lines are delivered (a finite run stops at what it found)."""
        inode = self.files.handles[handle]
        if inode.links or self.finite or not self.asked or not any(inode is each for each in self.read_from):
            return
        if inode.removed_ms >= self.began_ms:  # since the agent looked: not to be known
            return
        delivered = self.broker.delivered_lines() | self.passed
        for line in to_deliver(bytes(inode.data).split(b"\n")[:-1]):
            assert line in delivered, f"a removed file was closed, and nobody delivered {line!r}"

    @property
    def passed(self) -> set[bytes]:
        """Lines that are not to be shipped."""
        return self.past.passed if self.past is not None else set()

    def calm(self) -> None:
        """Nobody writes for a while, and the agent comes to rest; then a file is written anew, or everybody goes on."""
        if self.healing or self.finite:
            return
        try:
            for _ in range(4):
                self.tick()
                self.acts_left, self.shipping, self.began_ms = 0, False, self.files.now_ms
                self.carry_out(self.core.look(self.listed()))
                self.shipping = True
                while self.carry_out(self.core.read(self.now())):
                    pass
                self.broker_turn()
        except CrashedError:
            self.core = self.start()
        if self.rng.random() < 0.5 and (inode := self.files.names.get(self.rng.choice(self.names))) is not None:
            self.tick()
            self.refill(inode, 4)
        self.check_claim()

    def turn(self) -> None:
        if self.rng.random() < 0.6:
            self.act()
        if self.calms and self.rng.random() < 0.1:
            self.calm()
        self.tick()
        if self.rng.random() < self.reload_rate:
            self.reload()
        what = self.rng.random()
        self.acts_left, self.shipping, self.began_ms = 20, False, self.files.now_ms
        try:
            if what < 0.3:
                self.carry_out(self.core.look(self.listed()))
            elif what < 0.75:
                self.shipping = True
                self.carry_out(self.core.read(self.now()))
            elif what < 0.95:
                self.broker_turn()
            else:
                self.disk.flush()
        except CrashedError:
            self.down()
            self.core = self.start()
        self.check_claim()

    def check_claim(self) -> None:
        """Every line that was readable at T in a file of ours is in the broker's log, unless its loss was said."""
        claim = self.core.complete_at()
        if claim is None or self.lost or not self.asked:
            return
        delivered = self.broker.delivered_lines() | self.passed
        for inode in self.files.kept:
            if not self.all_names and inode not in [self.files.names.get(name) for name in self.names]:
                continue
            for line in self.files.lines[id(inode)]:
                due = self.excused_ms < line.written_ms <= claim.monotonic_ms
                readable = due and line.destroyed_ms is None and to_deliver([line.text])
                assert not readable or line.text in delivered, f"claimed complete at {claim.monotonic_ms}, missing {line}"

    def heal(self) -> None:
        """Nobody writes and nothing crashes any more: everything must arrive."""
        self.healing = True
        if self.finite:
            self.core = self.start()
        for turn in range(2000):  # many where few files may be open
            claim = self.core.complete_at()
            tails = any(each.handle is not None and each.tail_bytes for each in self.core.streams if each.rotated)
            if turn >= 60 and not tails and claim is not None and claim.monotonic_ms > self.files.now_ms - 10_000:
                break
            self.files.now_ms += 2000
            self.carry_out(self.core.look(self.listed()))
            while self.carry_out(self.core.read(self.now())):
                self.broker_turn()
            self.broker_turn()
        self.disk.flush()

    def check_end(self) -> None:
        delivered = self.broker.delivered_lines()
        for name, inode in self.files.names.items():
            if not self.all_names and name not in self.names and inode not in self.owed:
                continue
            *whole, tail = bytes(inode.data).split(b"\n")
            for line in to_deliver(whole):
                assert line in delivered or line in self.passed, f"{name} holds {line!r}, and nobody delivered it"
            if tail and not inode.broken and name not in self.names and name[:5] in self.files.names:
                assert tail in delivered, f"{name} was rotated away with the tail {tail!r}, and nobody delivered it"
        if self.past is not None:
            self.past.check(delivered)
        if self.begin_at.from_beginning:
            self.check_old(b"never asked for" in delivered)
        for row in self.disk.streams.values():
            self.check_lines(row)
        if self.pipelines == (TRACES,):
            self.check_traces()
        assert not self.disk.chunks or any(row.detached for row in self.disk.streams.values())
        claim = self.core.complete_at()
        assert claim is not None, "nothing is claimed"
        assert claim.monotonic_ms > self.files.now_ms - 10_000, "nothing new is claimed though all is quiet"

    def check_old(self, is_shipped: bool) -> None:
        assert self.all_names == is_shipped, "an old rotated file is shipped if it is asked for"

    def check_traces(self) -> None:
        """What was written as one event, without a pause, is in one event, whatever came between its lines meanwhile."""
        events = {event.split(b"\n", 1)[0]: event for event in self.broker.delivered_events()}
        for trace in self.whole:
            whole = trace.data[:-1]
            event = events.get(whole.split(b"\n", 1)[0])
            if event is not None and whole.startswith(event) and whole != event:  # its later parts were destroyed
                assert whole[len(event) : len(event) + 1] != b"\n", f"{whole!r} in pieces: {event!r}"
            else:
                assert event in (None, whole), f"{whole!r} in pieces: {event!r}"

    def check_lines(self, row: StreamRow) -> None:
        """The records of a stream whose file is there are exactly the file's lines: as many begin, in order, byte for byte."""
        files = [inode for inode in self.files.names.values() if (1, inode.number) == row.key]
        if row.detached or not files or row.begin == PASSED:
            return
        if row.path not in self.files.names and any(each.left for each in self.core.streams if each.row == row):
            return  # rotated away while no input asked for it, and nothing bears its name now that one does
        if self.past is not None:
            assert row.begin == self.past.begins.get(id(files[0]), row.begin), f"{row.path}: begun elsewhere"
        found: list[bytes] = []
        for stream_id in (row.stream_id, stderr_stream_id(row.stream_id)):
            found += self.check_chain(stream_id, files[0], row.begin)
        data = bytes(files[0].data)
        assert row.position >= data.rfind(b"\n"), f"{row.path}: followed, and not to its end"
        lines = data[row.begin : row.position].split(b"\n")
        found = to_deliver([line for event in found for line in event.split(b"\n")])
        expected = to_deliver(lines if lines[-1] else lines[:-1])
        if self.pipelines == (CONTAINERS,):  # each of the two streams in its order
            found, expected = sorted(found), sorted(expected)
        assert found == expected, f"{row.path}: not the lines of the file"

    def check_chain(self, stream_id: str, file: Inode, begin: int) -> list[bytes]:
        """The events of one stream: each begins where a line does, and behind the one before without a hole."""
        found: list[bytes] = []
        ended = (begin, begin)  # where the record before ends, without its newline and with it
        last_part = 0
        for position, part, event in self.broker.of_stream(stream_id):
            data = event["message"].encode(event["encoding"])
            assert event["since"] in ended, "a hole before a record"
            between = self.pipelines == (CONTAINERS,) and part == last_part + 1  # of the event's lines are the other stream's
            goes_on = position == ended[0] or (between and event["since"] == ended[1])
            last_part = part
            ended = (position + len(data), position + len(data) + 1)
            if part and not goes_on:
                continue  # the rest of a line whose first piece, sent by a finite run, was one to be left out
            assert part == 0 or found, "a part without a beginning"
            assert part or not data.startswith(LEFT_OUT), "a line was sent that is to be left out (not one sent in pieces)"
            if part:
                found[-1] += data
            else:
                assert position == 0 or file.data[position - 1 : position] == b"\n", "a line begins in the middle of one"
                found.append(data)
        return found


@contextmanager
def fingerprints_of(head_bytes: int, guard_bytes: int) -> Iterator[None]:
    """Shorter fingerprints than the product's, so that small files have bytes that none of them covers."""
    with (
        mock.patch.multiple(reading, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes),
        mock.patch.multiple(stream, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes),
        mock.patch.object(meeting, "HEAD_BYTES", head_bytes),
        mock.patch.object(archives, "HEAD_BYTES", head_bytes),
        mock.patch.multiple(beginning, HEAD_BYTES=head_bytes, GUARD_BYTES=guard_bytes, SCANNED_BYTES=64, _BLOCK_BYTES=50),
    ):
        yield


def tailer_delivers_every_line(
    rng: random.Random,
    pipelines: tuple[str, ...] = PIPELINES,
    *,
    calms: bool = False,
    starts: tuple[str, ...] = ("beginning",),
) -> None:
    with fingerprints_of(rng.choice((32, 1024)), rng.choice((24, 256))):
        Simulation(rng, pipelines, calms=calms, starts=starts).live(150)


def test_every_readable_line_is_delivered_once_by_identity() -> None:
    run_seeds(tailer_delivers_every_line, count=150)


def tailer_proves_what_was_at_rest(rng: random.Random) -> None:
    with mock.patch.object(strangers, "MOST_OPENED", 2):
        tailer_delivers_every_line(rng, calms=True)


def test_files_that_come_to_rest_and_are_written_anew_are_delivered_once_by_identity() -> None:
    run_seeds(tailer_proves_what_was_at_rest, count=60)


@each_guard(
    (reading, "_wake", "(yield from verify(", "stream.hold(stream.handle, b'', b'') or not (yield from verify("),
    (Stream, "is_still", "self.seen is not seen", "self.seen is None"),
    (Tailer, "_follow", "stream.idle and not stream.tail_bytes", "not stream.tail_bytes"),
    (Tailer, "_follow", "and not stream.tail_bytes", ""),
    (Tailer, "_may_let_go", "at_end and stream.listed", "stream.listed"),
)
def test_a_guard_of_files_at_rest_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_proves_what_was_at_rest, count=300)


def tailer_begins_where_it_is_told(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, starts=("beginning", "end", "time"))


def test_what_is_there_when_an_input_begins_is_shipped_from_where_it_says_and_the_rest_from_the_beginning() -> None:
    run_seeds(tailer_begins_where_it_is_told, count=150)


@each_guard(
    (Beginnings, "decide", "yield Save(tuple(rows.values())", "yield Save(()"),
    (Beginnings, "_row", "if packed and earliest_ms is not None and written_ms >= earliest_ms:", "if packed:"),
    (beginning, "end_of_lines", "int(start + newline + 1)", "size"),
    (Search, "begin_of", "found[1] < earliest_us", "True"),
    (Search, "begin_of", "end if self.timed else 0", "end"),
    (Meeting, "own", "self._streams.place(stream)", "pass"),
    (Streams, "continue_in", "self.place(stream)", "pass"),
    (archives, "_mark", "stream.row.begin", "0"),
)
def test_a_guard_of_beginnings_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_begins_where_it_is_told, count=150)


def tailer_joins_what_containers_write(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, (CONTAINERS,))


def test_two_streams_of_a_container_in_one_file_are_delivered_once_by_identity() -> None:
    run_seeds(tailer_joins_what_containers_write, count=100)


@each_guard(
    (Stream, "shipped", "what.shipped_to, what.stderr_to", "what.shipped_to, self.read_to"),
    (Stream, "delivered", "stderr_to=done[-1].shipped.stderr_to", "stderr_to=after.position"),
    (encoder._Encoding, "_container_events", "event.stream != stream", "False"),
    (reading, "_next_events", "rule.whole_bytes(lines, 1 if grown else limits.chunk_lines)", "len(lines)"),
)
def test_a_guard_of_the_two_streams_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_joins_what_containers_write, count=100)


def tailer_keeps_events_whole(rng: random.Random) -> None:
    tailer_delivers_every_line(rng, (TRACES,))


def test_events_of_several_lines_are_whole_wherever_their_lines_were_there_in_time() -> None:
    run_seeds(tailer_keeps_events_whole, count=100)


@each_guard(
    (reading, "_next_events", "if _is_quiet(stream, now):", "if True:"),
    (reading, "_next_events", "if grown:", "if True:"),
    (reading, "_next_events", "rule.whole_bytes(lines, 1 if grown else limits.chunk_lines)", "len(lines)"),
)
def test_a_guard_of_whole_events_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_keeps_events_whole, count=300)


@each_guard(
    (reading, "_next_chunk", "if data[: len(guard)] != guard:", "if False:"),
    (reading, "_repeat", "digest(data) != chunk.content", "False"),
    (reading, "_planned", "shipped_to=stream.shipped_to", "shipped_to=stream.read_to"),
    (Stream, "delivered", "shipped_to=done[-1].shipped.shipped_to", "shipped_to=after.position"),
    (reading, "_repeat", "Planned(chunk, data", "Planned(replace(chunk, pipeline=stream.input.pipeline), data"),
    (Flight, "delivered", "while self.chunks and self.chunks[0].delivered:", "while self.chunks:"),
    (reading, "_next_chunk", "if stream.within_line:", "if False:"),
    (Completeness, "settle", "while self._marks and self._marks[0].position <= position:", "while self._marks:"),
    (Tailer, "look", "if not waiting:", "if True:"),
    (Archives, "_decide", "may_go_on and (yield from hold_if_proved(stream, handle))", _UNPROVED),
    (Archives, "_begin", "opened.trailer == (stream.crc, stream.read_to % _SIZE_MODULUS)", "opened.trailer"),
    (Tailer, "_absent", "and stream.idle and stream.ended", ""),
    (Tailer, "_leave", "stream.stat = None", "pass"),
    (Meeting, "stranger", "rotated_out = not seen.matched and", "rotated_out = False and"),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(tailer_delivers_every_line, count=300)
