"""A state that is opened while its disk (a real one, of some kilobytes) has no room, and gets it a page at a time.

After each step, what kill -9 would leave then is opened on another disk: it is the very same agent, or, where the state was an
earlier generation of itself, never is.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME

from headrace.agents.announcing import Announcer
from headrace.agents.effects import Input, Lost, Now, Save
from headrace.agents.room import never, with_room
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.spool.spools import Spools, Wanted
from headrace.agents.state import AgentState
from headrace.agents.state_generations import FILE_NAME
from headrace.agents.state_tables import VERSION
from headrace.audit import AUDIT_TOPIC
from headrace.errors import CorruptError, NoRoomError, StorageError, UsageError, VersionError
from tests.integration.agents.file_systems import Mounting, fill

OLD, NEW, NEWER = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "123")
ROWS = tuple(
    StreamRow(f"{number:08}-2222-4222-8222-222222222222", "logs", 3, "h", "a", f"/{number}.log", "/a.log", 7, number, 5,
              position=40, size_seen=40, complete_ms=1_000)
    for number in range(60)
)  # fmt: skip
CHUNK = ChunkRow(ROWS[0].stream_id, 40, 60, 40, 40, 1_795_424_400_123, "{}", 64, "c0ffee")
PAGE_BYTES = 4096


def opened(directory: Path, new_agent_id: str, wait: Callable[[NoRoomError], bool] = never) -> AgentState:
    return AgentState(directory, machine_id="m", host="h", new_agent_id=new_agent_id, wait=wait)


class Disk:
    """A full disk with a state on it; each wait makes room for a page, after `left` was given what a crash would leave."""

    def __init__(self, place: Path, elsewhere: Path, left: Callable[[Path], None]) -> None:
        self._place, self._elsewhere, self._left = place, elsewhere, left
        self._filler = fill(place)
        self.waited = 0

    def wait(self, error: NoRoomError) -> bool:
        assert "make room" in str(error)
        self.waited += 1
        copy = self._elsewhere / str(self.waited)
        shutil.copytree(self._place, copy, ignore=shutil.ignore_patterns("filler"))
        self._left(copy)
        shutil.rmtree(copy)
        os.truncate(self._filler, self._filler.stat().st_size - PAGE_BYTES)
        return True


@pytest.fixture(autouse=True)
def _no_births(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not tell when files were made: a copy of a directory stands for what kill -9 leaves."""
    monkeypatch.setattr("headrace.agents.state.path_birth_ns", lambda _: 0)


@pytest.fixture
def place(tmp_path: Path, mounting: Mounting) -> Path:
    return mounting(tmp_path / "agent", "-t", "tmpfs", "-o", "size=1m", "tmpfs")


def crash(place: Path, work: Path) -> None:
    """Leave in the place what kill -9 leaves of a state with a copy at 40, and its newest transactions in the log."""
    work.mkdir()
    state = opened(work, OLD)
    state.apply([Save(ROWS, (CHUNK,))])
    state.close()
    state = opened(work, OLD)
    state.apply([Save((replace(ROWS[0], position=60),))])
    shutil.copytree(work, place, dirs_exist_ok=True)
    state.close()


def is_itself(directory: Path) -> None:
    state = opened(directory, NEWER)
    assert state.agent_id == OLD
    assert {row.position for row in state.streams()} == {40, 60}
    assert len(state.chunks()) == 1
    state.close()
    assert not list(directory.glob("agent.db.damaged*"))


def is_another(directory: Path) -> None:
    state = opened(directory, NEWER)
    assert state.agent_id != OLD
    assert len(list(state.streams())) == len(ROWS)
    assert not {row.stream_id for row in state.streams()} & {row.stream_id for row in ROWS}
    assert state.chunks() == []
    state.close()


def is_new(directory: Path) -> None:
    state = opened(directory, NEWER)
    assert (list(state.streams()), state.chunks()) == ([], [])
    state.close()


def test_fault_16_a_first_start_gets_by_with_a_page_at_a_time(place: Path, tmp_path: Path) -> None:
    disk = Disk(place, tmp_path, is_new)
    state = opened(place, OLD, disk.wait)
    assert (state.agent_id, disk.waited > 10) == (OLD, True)
    state.close()


def test_fault_16_what_kill_9_left_is_itself_whenever_it_is_killed_again(place: Path, tmp_path: Path) -> None:
    crash(place, tmp_path / "work")
    (place / f"{FILE_NAME}-shm").unlink(missing_ok=True)
    disk = Disk(place, tmp_path, is_itself)
    opened(place, NEW, disk.wait).close()
    assert disk.waited > 2
    is_itself(place)


def test_a_disk_on_which_no_more_files_can_be_made_is_waited_for_too(tmp_path: Path, mounting: Mounting) -> None:
    disk = mounting(tmp_path / "agent", "-t", "tmpfs", "-o", "size=2m,nr_inodes=20", "tmpfs")
    place = disk / "state"
    place.mkdir()
    others = [disk / str(number) for number in range(18)]
    for file in others:
        file.touch()
    waited: list[str] = []

    def wait(error: NoRoomError) -> bool:
        waited.append(str(error))
        others.pop().unlink()
        return True

    opened(place, OLD, wait).close()
    assert len(waited) > 1
    assert {said.partition("; ")[2] for said in waited} == {"no more files can be made there (no inode is free): remove some"}


def test_what_kill_9_left_is_itself_when_a_start_gives_up(place: Path, tmp_path: Path) -> None:
    """At the first refusal, at the second, …: what was opened is closed, which may fold the log in."""
    crash(place, tmp_path / "work")
    filler = fill(place)
    refused = 0
    while refused < 60:
        try:
            opened(place, NEW).close()
            break
        except NoRoomError:
            refused += 1
        os.truncate(filler, filler.stat().st_size - PAGE_BYTES)
        shutil.copytree(place, tmp_path / "left", ignore=shutil.ignore_patterns("filler"))
        is_itself(tmp_path / "left")
        shutil.rmtree(tmp_path / "left")
    assert 0 < refused < 60
    is_itself(place)


def lose_log(place: Path) -> None:
    (place / f"{FILE_NAME}-wal").unlink()


def damage(place: Path) -> None:
    """With no mark, as after a stop in order."""
    lose_log(place)
    (place / "agent.db.open").unlink()
    data = (place / FILE_NAME).read_bytes()
    (place / FILE_NAME).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("spoil", [lose_log, damage])
def test_fault_16_an_earlier_generation_never_is_itself_whenever_it_is_killed(
    place: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    crash(place, tmp_path / "work")
    spoil(place)
    disk = Disk(place, tmp_path, is_another)
    state = opened(place, NEW, disk.wait)
    assert state.agent_id == NEW
    state.close()
    assert disk.waited > 2
    assert opened(place, NEWER).agent_id == NEW, "it is renewed once"


def test_a_start_that_gives_up_leaves_neither_its_lock_nor_a_descriptor(place: Path) -> None:
    filler = fill(place)
    for _ in range(3):
        with pytest.raises(NoRoomError, match=r"0 bytes are free there: make room$"):
            opened(place, OLD)
        assert not [each for each in Path("/proc/self/fd").iterdir() if str(place) in str(each.resolve())]
    filler.unlink()
    opened(place, OLD).close()


def test_a_newer_state_is_refused_and_the_log_that_it_was_left_with_is_not_missed(tmp_path: Path) -> None:
    place = tmp_path / "agent"
    place.mkdir()
    crash(place, tmp_path / "work")
    shutil.copytree(place, tmp_path / "newer")
    newer = sqlite3.connect(tmp_path / "newer" / FILE_NAME)
    newer.execute(f"PRAGMA user_version={VERSION + 1}")
    shutil.copytree(tmp_path / "newer", tmp_path / "left")
    newer.close()
    with pytest.raises(VersionError):
        opened(tmp_path / "left", NEW)
    again = sqlite3.connect(tmp_path / "left" / FILE_NAME)
    again.execute(f"PRAGMA user_version={VERSION}")
    again.close()
    is_itself(tmp_path / "left")


def test_spools_that_found_no_room_hold_nothing_open(place: Path) -> None:
    wanted = {name: Wanted(name, Input("logs", "{}"), 1 << 20) for name in ("a", "b")}
    filler = fill(place)

    def spools() -> Spools:
        return Spools(place / "spool", wanted, position=lambda _: 0, least_end=lambda _: 0)

    tries = 0

    def more(error: NoRoomError) -> bool:
        nonlocal tries
        tries += 1
        assert not [each for each in Path("/proc/self/fd").iterdir() if str(place) in str(each.resolve())]
        os.truncate(filler, filler.stat().st_size - PAGE_BYTES)
        return True

    made = with_room(spools, place / "spool", more)
    assert len(made.seen()) == 2
    assert tries > 1
    made.close()


@pytest.mark.parametrize(
    ("number", "waits"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EACCES, 0), (errno.EIO, 0), (errno.EROFS, 0)]
)
def test_only_want_of_room_is_waited_for(tmp_path: Path, number: int, waits: int) -> None:
    refusals = [OSError(number, os.strerror(number))]

    def step() -> str:
        if not refusals:
            return "done"
        try:
            raise refusals.pop()
        except OSError as error:
            raise StorageError("refused") from error

    asked: list[NoRoomError] = []

    def wait(error: NoRoomError) -> bool:
        asked.append(error)
        return True

    if waits:
        assert with_room(step, tmp_path, wait) == "done"
        assert os.strerror(number) in str(asked[0])
    else:
        with pytest.raises(StorageError, match="refused"):
            with_room(step, tmp_path, wait)
    assert len(asked) == waits


def test_another_agents_lock_and_real_damage_end_a_start_on_a_full_disk_at_once(place: Path, tmp_path: Path) -> None:
    first = opened(place, OLD)
    filler = fill(place)
    with pytest.raises(UsageError, match="another agent uses it"):
        opened(place, NEW)
    filler.unlink()
    first.close()
    for name in (FILE_NAME, "agent.db.previous"):
        data = (place / name).read_bytes()
        (place / name).write_bytes(b"no database"[:10] * (len(data) // 10))
    fill(place)
    with pytest.raises(CorruptError, match="it is damaged"):
        opened(place, NEW)


def test_what_audit_has_heard_while_the_disk_was_full_is_said_again(place: Path) -> None:
    state = opened(place, OLD)
    state.apply([Lost(ROWS[0], 7, 1_795_424_400_123, 1_795_424_400_123)])
    announcer, said = Announcer({}, state, list, host="h", run="r"), Audit()
    announcer.prepare(said)  # type: ignore[arg-type]  # all of it that is asked
    filler = fill(place)
    for now_ms in (1, 2):
        announcer.announce(said, "active", None, Now(now_ms, now_ms))  # type: ignore[arg-type]
        announcer.settle(Now(now_ms, now_ms))  # the heartbeat follows
        announcer.settle(Now(now_ms, now_ms))
        filler.unlink(missing_ok=True)
    assert said.keys == [b"sent", b"agent"] * 2
    assert state.unsaid_windows(10) == []
    state.close()


class Audit:
    """A client of a broker that takes everything."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def list_topics(self, timeout: float) -> Any:
        assert timeout > 0
        return SimpleNamespace(topics={AUDIT_TOPIC: SimpleNamespace(partitions=[0])})

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, on_delivery: Callable[[None, Any], None]) -> None:
        assert (topic, partition, bool(value)) == (AUDIT_TOPIC, 0, True)
        self.keys.append(key.partition(b"/")[0])
        on_delivery(None, SimpleNamespace(timestamp=lambda: (TIMESTAMP_LOG_APPEND_TIME, 1)))
