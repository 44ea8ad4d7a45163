"""The real disk and the simulated one keep the same contract; what a crash leaves is the simulated one's own part."""

import os
import random
import socket
from pathlib import Path

import pytest

from headrace.broker.log.disk import Disk, ReadOnlyDisk, RealDisk, read_whole, write_whole
from tests.sim.log.disk import PowerCutError, SimDisk


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return RealDisk() if request.param == "real" else SimDisk(random.Random(3))


@pytest.fixture
def root(tmp_path: Path, disk: Disk) -> str:
    path = f"{tmp_path}/deep/down"
    disk.make_directory(path)
    disk.make_directory(path)
    return path


def test_a_file_is_read_where_it_was_written(disk: Disk, root: str) -> None:
    file = disk.open(f"{root}/a", create=True)
    file.pwrite([b"abc", bytearray(b"defg"), memoryview(b"hi")], 2)
    assert file.pread(4, 3) == b"bcde"
    assert file.pread(100, 9) == b"hi"
    assert file.pread(10, 50) == b""
    assert file.size() == 11


def test_truncate_cuts_and_opening_again_sees_it(disk: Disk, root: str) -> None:
    file = disk.open(f"{root}/a", create=True)
    file.pwrite([b"abcdef"], 0)
    file.truncate(4)
    file.sync()
    file.close()
    file.close()
    again = disk.open(f"{root}/a")
    assert (again.size(), again.pread(9, 0)) == (4, b"abcd")


def test_a_closed_file_refuses_its_descriptor(disk: Disk, root: str) -> None:
    file = disk.open(f"{root}/a", create=True)
    file.close()
    with pytest.raises(OSError, match=r"closed|descriptor"):
        file.fileno()


def test_what_is_not_there_is_not_found(disk: Disk, root: str) -> None:
    for act in (
        lambda: disk.open(f"{root}/none"),
        lambda: disk.remove(f"{root}/none"),
        lambda: disk.rename(f"{root}/none", f"{root}/other"),
        lambda: disk.list(f"{root}/none"),
        lambda: disk.modified_ms(f"{root}/none"),
    ):
        with pytest.raises(FileNotFoundError):
            act()


def test_names_are_listed_in_order_and_rename_replaces(disk: Disk, root: str) -> None:
    for name in ("b", "a", "c"):
        disk.open(f"{root}/{name}", create=True).pwrite([name.encode()], 0)
    disk.rename(f"{root}/c", f"{root}/a")
    disk.remove(f"{root}/b")
    disk.sync_directory(root)
    assert disk.list(root) == ["a"]
    assert read_whole(disk, f"{root}/a") == b"c"


def test_a_removed_file_is_read_on_by_who_has_it_open(disk: Disk, root: str) -> None:
    file = disk.open(f"{root}/a", create=True)
    file.pwrite([b"still"], 0)
    disk.remove(f"{root}/a")
    assert file.pread(5, 0) == b"still"
    assert read_whole(disk, f"{root}/a") is None


def test_a_directory_is_not_opened_as_a_file(disk: Disk, root: str) -> None:
    disk.make_directory(f"{root}/a")
    with pytest.raises(IsADirectoryError):
        disk.open(f"{root}/a")


def test_only_an_empty_directory_is_removed(disk: Disk, root: str) -> None:
    disk.make_directory(f"{root}/sub")
    disk.open(f"{root}/sub/a", create=True).close()
    with pytest.raises(OSError, match="not empty"):
        disk.remove_directory(f"{root}/sub")
    disk.remove(f"{root}/sub/a")
    disk.remove_directory(f"{root}/sub")
    assert disk.list(root) == []


def test_a_lock_is_held_once_until_it_is_released(disk: Disk, root: str) -> None:
    lock = disk.lock(f"{root}/.lock")
    with pytest.raises(BlockingIOError):
        disk.lock(f"{root}/.lock")
    lock.release()
    disk.lock(f"{root}/.lock").release()


def test_space_is_told(disk: Disk, root: str) -> None:
    free, total = disk.space(root)
    assert 0 < free <= total


def test_a_small_file_is_put_in_place_whole(disk: Disk, root: str) -> None:
    write_whole(disk, root, "point", b"a longer content")
    write_whole(disk, root, "point", b"short")
    assert read_whole(disk, f"{root}/point") == b"short"
    assert disk.list(root) == ["point"]


@pytest.mark.parametrize("real", [RealDisk(), ReadOnlyDisk()])
def test_what_is_no_file_is_refused_and_waited_for_by_nobody(real: RealDisk, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "directory").mkdir()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        for name in ("pipe", "device", "directory", "nowhere", "socket"):
            with pytest.raises(OSError, match=name):
                real.open(str(tmp_path / name))
    with pytest.raises(OSError, match="not a regular file"):
        real.lock(str(tmp_path / "pipe"))


def _simulated(seed: int) -> tuple[SimDisk, str]:
    disk = SimDisk(random.Random(seed))
    disk.make_directory("/data")
    disk.sync_directory("/")
    return disk, "/data"


def test_a_crash_keeps_what_was_synced_and_may_lose_the_rest() -> None:
    outcomes = set()
    for seed in range(40):
        disk, root = _simulated(seed)
        file = disk.open(f"{root}/a", create=True)
        file.pwrite([b"A" * 700], 0)
        file.sync()
        disk.sync_directory(root)
        file.pwrite([b"B" * 700], 700)
        content = disk.crashed().content(f"{root}/a")
        assert content[:700] == b"A" * 700
        outcomes.add(content[700:])
    assert {b"", b"B" * 700} <= outcomes
    assert len(outcomes) > 4


def test_a_crash_may_lose_a_name_that_was_not_synced() -> None:
    kept = set()
    for seed in range(20):
        disk, root = _simulated(seed)
        disk.open(f"{root}/a", create=True).sync()
        kept.add("a" in disk.crashed().list(root))
    assert kept == {True, False}


def test_a_write_may_be_torn_by_the_power_cut() -> None:
    lengths = set()
    for seed in range(20):
        disk, root = _simulated(seed)
        file = disk.open(f"{root}/a", create=True)
        disk.crash_after(1)
        with pytest.raises(PowerCutError):
            file.pwrite([b"x" * 100], 0)
        lengths.add(len(disk.content(f"{root}/a")))
    assert len(lengths) > 5
