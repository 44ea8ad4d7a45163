"""What an agent would do with its state if it started now: the core's own first look, carried out on paper.

Files are really opened and read; what would be saved, sent or forgotten is only told. So this cannot differ from what a start
does.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.agents.directory.folder import Ending
from headrace.agents.effects import (
    Close,
    Effect,
    Measure,
    Note,
    Now,
    Open,
    Opened,
    PutAway,
    Read,
    Recall,
    Stat,
    SyncFolder,
    carry_out,
)
from headrace.agents.operate.trial import trial_run
from headrace.agents.rows import PASSED, ChunkRow, StreamRow
from headrace.agents.tail.files import Globs, OpenFiles
from headrace.agents.tail.letting_go import GONE
from headrace.agents.tail.listing import Listings
from headrace.agents.tail.reading import Limits, Replaced, read_on
from headrace.agents.tail.strangers import MOST_OPENED
from headrace.agents.tail.stream import Stream
from headrace.agents.tail.tailer import Tailer

_MOST_OPEN = 1 << 20  # all that there are


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one stream, or of a file that is none yet.

    `state` is one of: goes on, repeats (what was on its way is sent again, equal byte for byte), new, changed (the file is not
    what it was), gone, waits (for the copy of a file that is gone), left (no input asks for it), passed over (an archive that
    was there when its input began), unreadable; of a dropped file also done and damaged. `wrong` says that bytes known to be
    unread are not there any more; `why` is what the agent would say.
    """

    state: str
    path: str
    topic: str
    stream_id: str
    position: int
    size: int
    complete_ms: int
    wrong: bool = False
    why: str = ""

    @property
    def behind(self) -> int:
        return max(0, self.size - self.position)


def verdicts(rows: Sequence[StreamRow], chunks: Sequence[ChunkRow], globs: Sequence[Globs], now: Now) -> list[Verdict]:
    """What a start would make of each stream and each file.

    Args:
        globs: the inputs' files.
    """
    files = OpenFiles()
    known = {row.stream_id: row for row in rows}
    hands = Paper(files, known)
    tailer = Tailer(
        [row for row in rows if not row.is_spooled and row.dropped is None],
        chunks,
        trial_run(now, once=False),
        max_open=_MOST_OPEN,
    )
    try:
        listing = Listings(globs).take(tailer.known_paths, tailer.linked, now)
        for _ in range(0, len(listing.files) + 1, MOST_OPENED):  # by one look
            carry_out(tailer.look(listing), hands.do)
        return [_verdict(stream, known.get(stream.row.stream_id), hands, now) for stream in list(tailer.streams)]
    finally:
        hands.close()


def _verdict(stream: Stream, before: StreamRow | None, hands: "Paper", now: Now) -> Verdict:
    row = stream.row
    size = row.size_seen
    if stream.handle is not None:
        stat = carry_out(_stat(stream.handle), hands.do)
        size = stat.size if stat is not None else size

    why = hands.notes.get(row.stream_id, "")

    def verdict(state: str, *, wrong: bool = False) -> Verdict:
        told = why or hands.notes.get(stream.path, "")
        return Verdict(state, stream.path, row.topic, row.stream_id, row.position, size, row.complete_ms, wrong, told)

    if before is None:
        return verdict("new")
    if row.begin == PASSED and not row.detached:
        return verdict("passed over")
    if stream.left:
        return verdict("left")
    if row.detached and before.detached:
        return verdict("waits")
    if row.detached:
        return verdict("gone" if why == GONE else "changed", wrong=row.size_seen > row.position)
    if stream.handle is None:
        return verdict("unreadable")
    if stream.replay and isinstance(carry_out(read_on(stream, now, Limits(), once=False), hands.do), Replaced):
        return verdict("changed", wrong=True)
    return verdict("repeats" if stream.replay else "goes on")


def _stat(handle: int) -> Generator[Effect, Any, Any]:
    return (yield Stat(handle))


class Paper:
    """Reads for real, and writes nothing."""

    def __init__(self, files: OpenFiles, known: Mapping[str, StreamRow]) -> None:
        self._files, self._known = files, known
        self._open: set[int] = set()
        self.notes: dict[str, str] = {}  # by stream, or by file where there is none

    def do(self, effect: Effect) -> Any:
        match effect:
            case Open():
                opened = self._files.open(effect.path, packed=effect.packed)
                if isinstance(opened, Opened):
                    self._open.add(opened.handle)
                return opened
            case Read():
                return self._files.read(effect.handle, effect.offset, effect.length)
            case Stat():
                return self._files.stat(effect.handle)
            case Recall():
                return self._known[effect.stream_id]
            case Measure():
                return self._files.measure(effect.handle, effect.marks)
            case PutAway():
                return Ending.CHANGED
            case SyncFolder():
                return True
            case Note():
                self.notes[effect.stream_id or effect.path] = effect.message
            case Close():
                self._open.discard(effect.handle)
                self._files.close(effect.handle)
        return None

    def close(self) -> None:
        for handle in self._open:
            self._files.close(handle)
