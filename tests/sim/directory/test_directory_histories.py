"""Single histories of dropped files, step by step: cases that a seed rarely meets."""

from typing import Any

import pytest

from headrace.agents.directory.drops import Drops
from headrace.agents.directory.folder import DELETE, KEEP, Ending, Folder, Found, Look
from headrace.agents.directory.hands import is_same
from headrace.agents.effects import Input, NotOpened, Open, PutAway, SyncFolder
from headrace.agents.run import Run
from headrace.agents.tail.reading import Limits
from tests.sim.agent_desk import AgentDesk
from tests.sim.tailer.world import Files, Inode

PLACE, SETTLE_MS = "/in", 1000


class Desk(AgentDesk):
    """One agent on a simulated folder."""

    core: Drops

    def __init__(self, when_done: str = KEEP, *, births: bool = True, limits: Limits | None = None) -> None:
        self.when_done = when_done
        self.refused: set[str] = set()
        self.denied: set[str] = set()
        super().__init__(Files(births=births), limits)

    def made(self, run: Run) -> Drops:
        self.answered = len(self.sent)
        return Drops(self.disk.streams.values(), self.disk.chunks.values(), run)

    def drop(self, name: str, data: bytes, *, mtime_ms: int | None = None, reuse: bool = False) -> Inode:
        inode = self.files.create(f"{PLACE}/{name}", reuse=reuse)
        self.files.append(inode, data)
        inode.mtime_ms = inode.mtime_ms if mtime_ms is None else mtime_ms
        return inode

    def do(self, effect: Any) -> Any:
        match effect:
            case PutAway():
                inode = self.files.names.get(effect.path)
                if effect.path in self.refused:
                    return Ending.REFUSED
                if inode is None or not is_same(self.files.stat(inode), effect.stat):
                    return Ending.CHANGED
                self.files.unlink(effect.path)
                return Ending.DONE
            case Open() if effect.path in self.denied:
                return NotOpened("Permission denied", denied=True)
            case SyncFolder():
                return True
        return super().do(effect)

    def turn(self, *, later_ms: int = SETTLE_MS, acknowledge: bool = True) -> None:
        """A look and a round of reading, some time later; what was sent before is acknowledged."""
        self.files.now_ms += later_ms
        folder = Folder(PLACE, Input("in"), when_done=self.when_done, settle_ms=SETTLE_MS)
        found = [Found(name, self.files.stat(inode), folder) for name, inode in self.files.names.items()]
        self.carry_out(self.core.look(Look(self.now(), tuple(found), {PLACE: False})))
        self.carry_out(self.core.read(self.now()))
        if acknowledge:
            self.acknowledge()
            self.carry_out(self.core.read(self.now()))
        self.disk.flush()

    def acknowledge(self) -> None:
        """All that was sent."""
        for send in self.sent[self.answered :]:
            self.carry_out(self.core.delivered(send.stream.stream_id, send.chunk.start, None))
        self.answered = len(self.sent)

    @property
    def shipped(self) -> list[bytes]:
        return [send.data for send in self.sent]

    @property
    def states(self) -> dict[str, str]:
        return {row.path: row.dropped.state for row in self.disk.streams.values() if row.dropped is not None}


def test_files_are_shipped_in_the_order_of_their_times_then_their_names() -> None:
    desk = Desk()
    for name, mtime_ms in (("b", 30), ("a", 30), ("d", 10), ("c", 20)):
        desk.drop(name, name.encode(), mtime_ms=mtime_ms)
    desk.turn()
    assert desk.shipped == []  # it has not been seen for long enough that they rest
    desk.turn()
    assert desk.shipped == [b"d", b"c", b"a", b"b"]


def test_a_file_that_is_written_to_waits_until_it_is_left_alone() -> None:
    desk = Desk(DELETE)
    inode = desk.drop("a", b"one\n")
    for _ in range(5):
        desk.turn(later_ms=SETTLE_MS // 2)
        desk.files.append(inode, b"more\n")
    assert desk.shipped == []
    assert desk.core.complete_at() is None
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"one\n" + b"more\n" * 5]
    assert desk.core.complete_at() == desk.now()
    assert not desk.files.names


def test_an_empty_file_is_left_alone() -> None:
    desk = Desk(DELETE)
    inode = desk.files.create(f"{PLACE}/a", reuse=False)
    for _ in range(5):
        desk.turn()
    assert desk.files.names
    assert desk.core.complete_at() == desk.now()
    desk.files.append(inode, b"one\n")
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"one\n"]
    assert not desk.files.names


def test_other_content_under_the_position_stops_the_file_and_is_counted() -> None:
    desk = Desk(DELETE, limits=Limits(chunk_lines=1, stream_cost_bytes=1))
    inode = desk.drop("a", b"one\ntwo\nthree\n")
    for _ in range(2):
        desk.turn(acknowledge=False)
    desk.acknowledge()
    assert desk.shipped == [b"one\n"]
    desk.start()
    inode.data[0:3] = b"eno"  # size and time are what they were
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"one\n"]
    assert desk.lost == [(len(b"two\nthree\n"), "changed")]
    assert desk.states == {"/in/a": "changed"}
    desk.start()
    for _ in range(3):
        desk.turn()
    assert len(desk.lost) == 1
    assert desk.files.names
    assert desk.core.complete_at() == desk.now()


def test_a_kept_file_that_grows_is_stopped_and_one_that_is_written_anew_is_another() -> None:
    desk = Desk()
    grown, anew, touched = desk.drop("a", b"one\n"), desk.drop("b", b"two\n"), desk.drop("c", b"three\n")
    for _ in range(3):
        desk.turn()
    desk.files.append(grown, b"more\n")
    desk.files.truncate(anew)
    desk.files.append(anew, b"twice\n")
    touched.mtime_ms += 500
    for _ in range(4):
        desk.turn()
    assert desk.shipped == [b"one\n", b"two\n", b"three\n", b"twice\n"]
    assert desk.lost == [(len(b"more\n"), "changed")]
    assert desk.states == {"/in/a": "changed", "/in/b": "done", "/in/c": "done"}


@pytest.mark.parametrize("births", [True, False])
def test_a_new_file_with_the_name_and_the_inode_of_an_old_one_is_a_new_file(births: bool) -> None:
    desk = Desk(births=births)
    old = desk.drop("a", b"one\n")
    for _ in range(3):
        desk.turn()
    desk.files.unlink(f"{PLACE}/a")
    new = desk.drop("a", b"other\n", reuse=True)
    assert new.number == old.number
    for _ in range(4):
        desk.turn()
    assert desk.shipped == [b"one\n", b"other\n"]
    assert desk.lost == []


def test_what_a_folder_refuses_is_tried_again_and_not_shipped_again() -> None:
    desk = Desk(DELETE)
    desk.drop("a", b"one\n")
    desk.refused.add("/in/a")
    for _ in range(3):
        desk.turn()
    desk.start()
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"one\n"]
    desk.refused.clear()
    desk.turn(later_ms=20_000)
    assert not desk.files.names
    assert desk.states == {}


def test_a_finished_file_that_goes_before_its_turn_is_counted() -> None:
    desk = Desk(limits=Limits(round_bytes=1))
    desk.drop("a", b"one\n")
    desk.drop("b", b"two\n")
    desk.turn()
    desk.turn(acknowledge=False)
    assert desk.shipped == [b"one\n"]
    desk.files.unlink(f"{PLACE}/b")
    for _ in range(3):
        desk.turn()
    assert desk.lost == [(len(b"two\n"), "destroyed")]
    assert desk.core.complete_at() == desk.now()


def test_a_file_that_may_not_be_read_stops_no_other_and_is_shipped_once_it_may() -> None:
    desk = Desk()
    desk.drop("a", b"one\n")
    desk.drop("b", b"two\n")
    desk.denied.add("/in/a")
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"two\n"]
    assert [note for note in desk.notes if "cannot be read" in note] == ["cannot be read: Permission denied"]
    desk.denied.clear()
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"two\n", b"one\n"]


def test_a_file_that_is_renamed_while_it_is_shipped_goes_on() -> None:
    desk = Desk(DELETE, limits=Limits(chunk_lines=1, stream_cost_bytes=1))
    desk.drop("a", b"one\ntwo\n")
    for _ in range(2):
        desk.turn(acknowledge=False)
    desk.acknowledge()
    desk.start()
    desk.files.rename(f"{PLACE}/a", f"{PLACE}/z")
    for _ in range(3):
        desk.turn()
    assert desk.shipped == [b"one\n", b"two\n"]
    assert len({send.stream.stream_id for send in desk.sent}) == 1
    assert not desk.files.names
