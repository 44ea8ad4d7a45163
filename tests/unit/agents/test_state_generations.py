"""Fault 2 of twenty: a torn, empty, missing or older state is got over from an earlier one, never from byte 0 silently."""

import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.agents.effects import Save
from headrace.agents.operate.state_file import StateFile
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.state import AgentState
from headrace.agents.state_generations import FILE_NAME, PREVIOUS_NAME
from headrace.agents.tail.files import path_birth_ns
from headrace.errors import CorruptError, UsageError

OLD, NEW = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
ROW = StreamRow("s-1", "logs", 3, "h", "a", "/a.log", "/a.log", 7, 99, 5, position=40, size_seen=40, complete_ms=1_000)
CHUNK = ChunkRow("s-1", 40, 60, 40, 40, 1_795_424_400_123, "{}", 64, "c0ffee")


def opened(directory: Path, new_agent_id: str) -> AgentState:
    return AgentState(directory, machine_id="m", host="h", new_agent_id=new_agent_id)


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A directory as kill -9 leaves it: a copy at position 40, and a state at 60 that is in the write-ahead log only."""
    work = tmp_path / "work"
    work.mkdir()
    state = opened(work, OLD)
    state.apply([Save((ROW,), (CHUNK,))])
    state.keep_generation()
    state.apply([Save((replace(ROW, position=60),))])
    return killed(state, work)


@pytest.fixture
def crashed_again(tmp_path: Path) -> Path:
    """As `crashed`, of a state that was closed in order once: all but its last transactions are in the file itself."""
    work = tmp_path / "work"
    work.mkdir()
    state = opened(work, OLD)
    state.apply([Save((ROW,), (CHUNK,))])
    state.close()
    state = opened(work, OLD)
    state.apply([Save((replace(ROW, position=60),))])
    return killed(state, work)


def killed(state: AgentState, directory: Path) -> Path:
    """The directory as it is while the state is open, in the same files."""
    left = {file.name: file.read_bytes() for file in directory.iterdir()}
    state.close()
    for name, data in left.items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_bytes(data)
    return directory


def test_neither_the_state_nor_its_copies_can_be_read_by_others(crashed: Path) -> None:
    empty(crashed)
    opened(crashed, NEW).close()
    assert {file.stat().st_mode & 0o077 for file in crashed.glob("agent.db*")} == {0}


def test_what_kill_9_leaves_is_the_newest_generation(crashed: Path) -> None:
    for _ in range(2):
        state = opened(crashed, NEW)
        assert (state.agent_id, [row.position for row in state.streams()], len(state.chunks())) == (OLD, [60], 1)
        state.close()


def truncate(directory: Path) -> None:
    (directory / f"{FILE_NAME}-wal").unlink()
    data = (directory / PREVIOUS_NAME).read_bytes()
    (directory / FILE_NAME).write_bytes(data[:5000])


def garble(directory: Path) -> None:
    (directory / f"{FILE_NAME}-wal").unlink()
    (directory / FILE_NAME).write_bytes(b"no database" * 1000)


def garble_inside(directory: Path) -> None:
    (directory / f"{FILE_NAME}-wal").unlink()
    data = bytearray((directory / FILE_NAME).read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (directory / FILE_NAME).write_bytes(bytes(data))


def empty(directory: Path) -> None:
    (directory / FILE_NAME).write_bytes(b"")


def remove(directory: Path) -> None:
    (directory / FILE_NAME).unlink()


def lose_log(directory: Path) -> None:
    (directory / f"{FILE_NAME}-wal").unlink()


def empty_log(directory: Path) -> None:
    (directory / f"{FILE_NAME}-wal").write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, garble, garble_inside, empty, remove])
def test_fault_02_a_damaged_state_goes_on_from_its_copy_as_another_agent(crashed: Path, damage: object) -> None:
    assert callable(damage)
    damage(crashed)
    state = opened(crashed, NEW)
    (row,) = state.streams()
    assert (state.agent_id, row.position, row.key, state.chunks()) == (NEW, 40, ROW.key, [])
    assert row.stream_id != ROW.stream_id
    assert state.unsaid_windows(10) == []
    state.close()
    again = opened(crashed, OLD)
    assert (again.agent_id, list(again.streams())) == (NEW, [row])
    again.close()


@pytest.mark.parametrize("damage", [lose_log, empty_log])
def test_fault_02_without_its_log_a_state_is_an_older_one_and_goes_on_under_new_identities(
    crashed: Path, damage: object
) -> None:
    assert callable(damage)
    damage(crashed)
    state = opened(crashed, NEW)
    assert state.agent_id == NEW
    assert not state.chunks()
    assert not {row.stream_id for row in state.streams()} & {"s-1"}
    state.close()


@pytest.mark.parametrize("damage", [lose_log, empty_log])
def test_fault_02_a_sound_file_whose_log_is_lost_is_known_to_be_older(crashed_again: Path, damage: object) -> None:
    assert callable(damage)
    damage(crashed_again)
    state = opened(crashed_again, NEW)
    (row,) = state.streams()
    assert (state.agent_id, row.position, state.chunks()) == (NEW, 40, [])
    assert row.stream_id != "s-1"
    state.close()


def test_fault_02_a_directory_that_is_put_back_from_a_backup_goes_on_as_another_agent(tmp_path: Path) -> None:
    work, backup = tmp_path / "work", tmp_path / "backup"
    work.mkdir()
    state = opened(work, OLD)
    state.apply([Save((replace(ROW, position=60),), (CHUNK,))])
    state.close()
    if not path_birth_ns(str(work / FILE_NAME)):
        pytest.skip("the file system does not tell when a file was made")
    shutil.copytree(work, backup)
    shutil.rmtree(work)
    shutil.copytree(backup, work)
    for _ in range(2):
        state = opened(work, NEW)
        (row,) = state.streams()
        assert (state.agent_id, row.position, state.chunks()) == (NEW, 60, [])
        assert row.stream_id != ROW.stream_id
        state.close()


def test_a_directory_that_is_moved_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    opened(tmp_path / "work", OLD).close()
    (tmp_path / "work").rename(tmp_path / "moved")
    state = opened(tmp_path / "moved", NEW)
    assert state.agent_id == OLD
    state.close()


def test_a_file_that_was_closed_in_order_needs_no_log(crashed_again: Path) -> None:
    opened(crashed_again, NEW).close()
    assert not (crashed_again / f"{FILE_NAME}-wal").exists()
    state = opened(crashed_again, NEW)
    assert (state.agent_id, [row.position for row in state.streams()]) == (OLD, [60])
    state.close()


@pytest.mark.parametrize("left", ["crashed", "crashed_again"])
def test_what_is_changed_of_what_kill_9_left_stays_the_same_agents(left: str, request: pytest.FixtureRequest) -> None:
    """`state forget` and `rejected replay`: they fold the log in, also where they fail."""
    directory: Path = request.getfixturevalue(left)
    with pytest.raises(ZeroDivisionError), StateFile(directory).changing() as db:
        raise ZeroDivisionError(db)
    StateFile(directory).forget(["s-2"])
    state = opened(directory, NEW)
    assert (state.agent_id, [row.position for row in state.streams()]) == (OLD, [60])
    state.close()


@pytest.mark.parametrize("damage", [lose_log, empty_log])
def test_an_earlier_generation_is_changed_by_nobody_before_it_is_known_as_one(crashed_again: Path, damage: object) -> None:
    assert callable(damage)
    damage(crashed_again)
    with pytest.raises(UsageError, match="its write-ahead log is gone; start its agent once"):
        StateFile(crashed_again).forget(["s-1"])
    state = opened(crashed_again, NEW)
    assert state.agent_id == NEW
    state.close()


def test_a_copy_is_made_at_the_start_and_at_the_end_and_is_one_file(crashed: Path, tmp_path: Path) -> None:
    def copied() -> list[int]:
        db = sqlite3.connect(tmp_path / "copy")
        try:
            return [row[0] for row in db.execute("SELECT position FROM streams")]
        finally:
            db.close()

    state = opened(crashed, NEW)
    shutil.copy(crashed / PREVIOUS_NAME, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes()[18:20] == b"\1\1", "it has no log beside it"
    assert copied() == [60]
    state.apply([Save((replace(ROW, position=70),))])
    state.close()
    shutil.copy(crashed / PREVIOUS_NAME, tmp_path / "copy")
    assert copied() == [70]


def test_a_copy_takes_its_name_when_it_is_on_the_disk(crashed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways: the copy of a state, and the state that is made from a copy; and then its name is on the disk."""
    done: list[tuple[str, str]] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        real_fsync(descriptor)

    def rename(old: Path, new: Path) -> None:
        done.append(("rename", Path(new).name))
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    empty(crashed)
    opened(crashed, NEW).close()
    for name in (FILE_NAME, PREVIOUS_NAME):
        at = done.index(("rename", name))
        assert done[at - 1] == ("sync", f"{name}.tmp")
        assert done[at + 1] == ("sync", crashed.name)


def test_fault_02_damaged_with_its_copy_it_is_refused_and_both_are_named(crashed: Path) -> None:
    garble(crashed)
    (crashed / PREVIOUS_NAME).write_bytes(b"x" * 5000)
    with pytest.raises(CorruptError, match=r"agent\.db: it is damaged .*agent\.db\.previous: it is damaged .*begin anew"):
        opened(crashed, NEW)
    assert (crashed / FILE_NAME).read_bytes().startswith(b"no database")


def test_fault_02_damaged_before_there_was_a_copy_it_is_refused(crashed: Path) -> None:
    garble(crashed)
    (crashed / PREVIOUS_NAME).unlink()
    with pytest.raises(CorruptError, match=r"there is no agent\.db\.previous"):
        opened(crashed, NEW)


def test_a_state_that_was_never_made_to_the_end_is_made(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"")
    state = opened(tmp_path, NEW)
    assert (state.agent_id, list(state.streams())) == (NEW, [])
    state.close()


def test_a_torn_copy_is_left_by_nobody_who_dies_while_it_is_made(crashed: Path) -> None:
    (crashed / f"{PREVIOUS_NAME}.tmp").write_bytes(b"half" * 4096)
    empty(crashed)
    before = (crashed / PREVIOUS_NAME).stat().st_ino
    state = opened(crashed, NEW)
    assert [row.position for row in state.streams()] == [40]
    assert (crashed / PREVIOUS_NAME).stat().st_ino != before, "and the next one is made"
    state.close()
