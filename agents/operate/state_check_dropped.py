"""What an agent would do with its dropped files if it started now: the core's own first look, on paper (state_check.py)."""

from collections.abc import Sequence

from headrace.agents.directory.drops import Drops
from headrace.agents.directory.file import LEFT, DroppedFile
from headrace.agents.directory.folder import Folder
from headrace.agents.directory.hands import look_into
from headrace.agents.directory.opening import open_file
from headrace.agents.effects import Measure, Now, Steps, carry_out
from headrace.agents.operate.state_check import Paper, Verdict
from headrace.agents.operate.trial import trial_run
from headrace.agents.rows import CHANGED, DONE, ChunkRow, StreamRow
from headrace.agents.tail.files import OpenFiles
from headrace.agents.tail.reading import Limits, Replaced, read_on


def dropped_verdicts(
    rows: Sequence[StreamRow], chunks: Sequence[ChunkRow], folders: Sequence[Folder], now: Now
) -> list[Verdict]:
    """What a start would make of each dropped file that is remembered, and of each that is there.

    Args:
        rows: of dropped files only.
        folders: the inputs'.
    """
    files = OpenFiles()
    before = {row.stream_id: row for row in rows}
    paper = Paper(files, before)
    core = Drops(rows, chunks, trial_run(now, once=False))
    try:
        carry_out(core.look(look_into(folders, core.known_paths, now)), paper.do)
        found = [_of_shipping(file, paper, now) for file in core.files if file.row.stream_id in before]
        found += [_of_resting(row, before[row.stream_id], paper) for row in core.resting.rows.values()]
        told = {each.stream_id for each in found}
        found += [_verdict("gone", row, paper) for row in rows if row.stream_id not in told]
        return found + [
            Verdict("new", each.found.path, each.found.folder.input.topic, "", 0, each.found.stat.size, 0)
            for each in core.arrivals
            if each.found.folder is not None
        ]
    finally:
        paper.close()


def _of_shipping(file: DroppedFile, paper: Paper, now: Now) -> Verdict:
    """A file of which not all was acknowledged."""
    if file.read:
        return _verdict("gone", file.row, paper, wrong=file.dropped.state == CHANGED)
    if file.ending == LEFT and not file.stream.replay:
        return _verdict("left", file.row, paper)
    if file.stream.input is None or not carry_out(_opened(file), paper.do):
        return _verdict("unreadable", file.row, paper)
    same = file.ending != CHANGED and carry_out(file.prove(), paper.do)
    if not same:
        return _verdict("changed", file.row, paper, wrong=True)
    if not file.stream.replay:
        return _verdict("goes on", file.row, paper)
    replaced = isinstance(carry_out(read_on(file.stream, now, Limits(), once=True), paper.do), Replaced)
    return _verdict("changed" if replaced else "repeats", file.row, paper, wrong=replaced)


def _opened(file: DroppedFile) -> Steps[bool]:
    """Open a file, and look through it where it is an archive."""
    yield from open_file(file)
    while file.is_looked_through:
        assert file.handle is not None
        file.measured = yield Measure(file.handle, ())
    return file.handle is not None


def _of_resting(row: StreamRow, before: StreamRow, paper: Paper) -> Verdict:
    """A file that was done with, or stopped."""
    assert row.dropped is not None
    assert before.dropped is not None
    return _verdict(row.dropped.state, row, paper, wrong=row.dropped.state != before.dropped.state)


def _verdict(state: str, row: StreamRow, paper: Paper, *, wrong: bool = False) -> Verdict:
    size = row.position if state == DONE else row.size_seen
    why = paper.notes.get(row.stream_id, "")
    return Verdict(state, row.path, row.topic, row.stream_id, row.position, size, row.complete_ms, wrong, why)
