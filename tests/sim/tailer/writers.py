"""What others do with logs: programs that write in pieces, container runtimes, rotators and packers of every kind."""

import random
from dataclasses import dataclass

from headrace.agents.effects import Now
from headrace.agents.events.pipeline import definition
from tests.sim.agent_life import Life
from tests.sim.tailer.past import Past
from tests.sim.tailer.world import BASE_MS, Files, Inode

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


class Writers(Life):
    """The world of a tailing agent; what its agent and the rates of its accidents are, the simulation says.

    Args:
        pipelines: one of them is configured at a time; with TRACES alone, writers write events of several lines, too.
    """

    files: Files
    writers: dict[str, Inode]  # what each of them has open
    past: Past | None  # of before the input began
    reload_rate: float
    banner: bytes
    asked: bool  # whether an input asks for the files
    finite: bool  # whether the agent runs to their ends only

    def __init__(self, rng: random.Random, pipelines: tuple[str, ...]) -> None:
        super().__init__(rng)
        self.pipelines = pipelines
        self.traces: dict[str, Trace] = {}  # by the writer's name, those that it is about to write
        self.whole: list[Trace] = []  # those that were written without a pause
        self.names = ["a.log", "b.log"]
        self.owed: list[Inode] = []  # files that have to be shipped, whatever they are called by now
        self.packing: list[tuple[str, Inode]] = []
        self.reused: list[Inode] = []  # archives that got the inode of a file that was there before
        self.count = 0
        self.generation = 0

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
