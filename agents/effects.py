"""What the cores that read files and spools ask of their shell, and what they are told: plain data.

A step of a core is a generator: it yields effects, the shell carries each out and sends its answer back. A core never
touches a file, a clock or a socket, so the simulator can stop it dead between any two effects.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from headrace.agents.events.pipeline import AUTO
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.spool.frames import Records
from headrace.agents.start import BEGINNING, Start
from headrace.agents.tail.identity import FileStat

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks (headrace.clock): monotonic and wall, ms."""

    monotonic_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Input:
    """How lines of some files are shipped; `pipeline` is a definition. `service` None: the stem of the file's name.

    `name` is the input's, for people. `decompress`: of a gzip file, what it holds is shipped, not the bytes that it is.
    `held_bytes`, `held_ms`: how much of deleted files is held open, all together, and for how long each; None: without end.
    `start`: what of the files that are there when the input begins is shipped.
    """

    topic: str
    pipeline: str = AUTO
    service: str | None = None
    split_bytes: int = 512 * 1024
    name: str = ""
    decompress: bool = True
    held_bytes: int | None = None
    held_ms: int | None = None
    start: Start = BEGINNING


@dataclass(frozen=True, slots=True)
class Seen:
    """One file of a listing.

    `matched` says that an input asks for it; otherwise it is a known file that no input asks for any more, or lies beside a
    known file, under its name plus a rotation suffix. `explicit` says that it was named without a wildcard.
    """

    path: str
    stat: FileStat
    input: Input
    matched: bool = True
    explicit: bool = False
    key: tuple[str, int, int] = field(init=False, repr=False, compare=False)  # topic, device, inode: one object, kept by many

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.input.topic, *self.stat.key))


@dataclass(frozen=True, slots=True)
class Linked:
    """A stream's file that a link led to: where it lay then, and which it is (None: it is gone, and a copy may lie there)."""

    topic: str
    path: str
    target: str
    key: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Listing:
    """All files that the inputs match, as found by a listing begun at `begun`; `topics` are those that inputs ship to."""

    begun: Now
    files: tuple[Seen, ...]
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file: its handle, and its stat by that handle with the birth time.

    `trailer` is given for a packed file: the CRC-32 and the size (modulo 2³²) that the last of its members says of itself.
    """

    handle: int
    stat: FileStat
    trailer: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NotOpened:
    """It cannot be opened: `denied` says that it is not for us to read; otherwise it may have got another name meanwhile.

    `exhausted` says that no more files can be open than are now.
    """

    reason: str
    denied: bool
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    """Open a regular file for reading. Answer: Opened or NotOpened.

    With `packed`, what is read by the handle, and the size that Stat gives, are those of what the gzip file holds.
    """

    path: str
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """Look through some of what a packed file holds, from its beginning on. Answer: Measured.

    `marks` are ranges of it whose CRC-32 is asked for; the same in every call.
    """

    handle: int
    marks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a packed file's content once it is `done`: its size, and the CRC-32 of each mark.

    `broken` says why the content ends early ("truncated", "corrupt"), and `lost_bytes` how much of the file could not be read
    then.
    """

    done: bool
    size: int
    crcs: Mapping[tuple[int, int], int]
    broken: str = ""
    lost_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Stat:
    """Answer: FileStat of an open file, or None where the system fails."""

    handle: int


@dataclass(frozen=True, slots=True)
class Read:
    """Answer: up to `length` bytes at `offset`, fewer only at the file's end; None where the system fails."""

    handle: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a file."""

    handle: int


@dataclass(frozen=True, slots=True)
class Save:
    """Make rows durable, all or none, before the next effect is carried out; `inputs` (topic, name) have begun."""

    streams: tuple[StreamRow, ...]
    chunks: tuple[ChunkRow, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """Send a chunk's records. Answer: Shipped. `delivered` is told once each is acknowledged or durable among the rejected.

    `input` is the name of the input that it was read for.
    """

    stream: StreamRow
    chunk: ChunkRow
    data: bytes
    input: str = ""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Where the last record of the stream ends, now that a chunk is encoded, and how many lines a rate limit let pass.

    In a container's log `shipped_to` is stdout's, and `stderr_to` stderr's.
    """

    shipped_to: int
    allowed: int = 0
    stderr_to: int = 0


@dataclass(frozen=True, slots=True)
class ReadSpool:
    """Read records of a spool from number `start` on. Answer: Records, a Hole, or None at its end or where the disk fails."""

    path: str
    start: int
    most_lines: int
    most_bytes: int
    most_beside_bytes: int
    most_ms: int


@dataclass(frozen=True, slots=True)
class SendRecords:
    """Send a chunk of a spool, as `Send` does one of a file, and with the same answer."""

    stream: StreamRow
    chunk: ChunkRow
    records: Records
    input: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """Answer: a stream's row, with all that was to be made durable before."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Make the answers of users' functions durable, before a chunk's first record is sent; they go with the chunk's row."""

    stream_id: str
    start: int
    answers: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Advance:
    """In one transaction: the stream's row, with its new position; its chunks up to there gone; their results counted.

    It may become durable later than effects that follow it, never in part.
    """

    stream: StreamRow
    chunks: tuple[ChunkRow, ...]
    results: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes known to have been in a file cannot be read any more, since a moment between two looks at wall times in ms."""

    stream: StreamRow
    size_bytes: int
    from_ms: int
    to_ms: int
    reason: str = "destroyed"


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete a stream's rows: nothing has been seen of it for longer than anybody remembers it."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class PutAway:
    """Rename (`suffix` says to what) or delete a file that is acknowledged to its end, if it still is as `stat` says.

    Answer: an Ending (directory/folder.py). The rows that say that it is done are durable before.
    """

    path: str
    stat: FileStat
    when_done: str
    suffix: str
    stream_id: str


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """Make durable what was renamed and deleted in a folder. Answer: whether it is; a folder that is gone is."""

    path: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the agent's own log."""

    message: str
    path: str
    stream_id: str = ""


Effect = (
    Open | Measure | Stat | Read | Close | Save | Recall | Send | ReadSpool | SendRecords | Advance | Lost | Forget | PutAway
    | SyncFolder | Note
)  # fmt: skip
Steps = Generator[Effect, Any, T]


def carry_out(steps: Steps[T], do: Callable[[Effect], Any]) -> T:
    """Carry out a step's effects with `do`, in order, sending each answer back; return the step's value."""
    answer: Any = None
    try:
        while True:
            answer = do(steps.send(answer))
    except StopIteration as end:
        value: T = end.value
        return value
