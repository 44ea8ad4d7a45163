"""Loaders whose rows do not fit in memory: killed while they spill, or with a disk that is full, they land every row once."""

import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import pyarrow.parquet as pq
import pytest

from headrace.sinks.check import check_root
from headrace.sinks.landing import HELD_BYTES
from headrace.sinks.table import reader
from tests.integration.sinks.pipeline import Pipeline
from tests.processes import Part

VALUE_BYTES = 6000
RECORDS = 3 * HELD_BYTES // VALUE_BYTES // 2
NO_ROOM = "No space left on device"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One topic, half as large again as what a loader holds."""
    with Pipeline(tmp_path_factory.mktemp("full"), group_initial_rebalance_delay_ms=0) as running:
        rng = random.Random(41)
        running.produce("blobs", (rng.randbytes(VALUE_BYTES) for _ in range(RECORDS)))
        yield running


@pytest.fixture
def small_disk(tmp_path: Path, missing: Callable[[str, str], NoReturn]) -> Iterator[Callable[[str], Path]]:
    """File systems of 12 MiB, by name."""
    with ExitStack() as mounted:

        def make(name: str) -> Path:
            directory = tmp_path / name
            directory.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", "size=12m", "headrace-test", str(directory)]
            if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
                missing("mount", "run as root, where file systems may be mounted")
            mounted.callback(subprocess.run, ["umount", "--lazy", str(directory)], check=True)
            return directory

        yield make


@contextmanager
def temporary_files_in(directory: Path) -> Iterator[None]:
    """For processes that are started meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(directory))
        yield


def loader_of(pipeline: Pipeline, name: str, root: Path) -> Part:
    """One that commits when it has read all."""
    rotate = {"rows": RECORDS, "age": "20s"}
    return pipeline.loader(name=name, root=str(root), rotate=rotate)


def offsets(root: Path) -> list[int]:
    found: list[int] = []
    for file in reader.snapshot(root, "blobs").files:
        with reader.open_live(str(root), "blobs", file.name) as data:  # it may be moved into place meanwhile
            found += pq.ParquetFile(data).read(["_offset"])["_offset"].to_pylist()
    return sorted(found)


def landed_rows(root: Path) -> int:
    if not root.exists() or "blobs" not in reader.tables(root):
        return 0
    return sum(file.rows for file in reader.snapshot(root, "blobs").files)


def wait_for(what: Callable[[], bool], part: Part, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert part.process is not None
        assert part.process.poll() is None, part.log_tail()
        assert time.monotonic() < deadline, part.log_tail()
        time.sleep(0.01)


def spills(part: Part) -> bool:
    """Whether it has a temporary file open, which has no name."""
    assert part.process is not None
    directory = Path(f"/proc/{part.process.pid}/fd")
    held = []
    for link in directory.iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            held.append(os.readlink(link))
    return any("(deleted)" in one and "/spill-tmp/" in one for one in held)


def says(part: Part, words: str) -> bool:
    return words in part.log_file.read_text()


def has_all(root: Path) -> bool:
    return landed_rows(root) == RECORDS


def is_sound(root: Path) -> None:
    assert [report.broken for report in check_root(str(root), deep=True)] == [[]]
    assert offsets(root) == list(range(RECORDS))


@pytest.mark.slow
def test_a_loader_that_is_killed_while_it_spills_leaves_nothing_and_loses_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    spill, root = tmp_path / "spill-tmp", tmp_path / "landed"
    spill.mkdir()
    rng = random.Random(43)
    with temporary_files_in(spill):
        for number in range(2):
            loader = loader_of(pipeline, f"killed-{number}", root).start(wait=False)
            wait_for(partial(spills, loader), loader)
            time.sleep(rng.uniform(0, 0.2))
            loader.kill()
            assert list(spill.iterdir()) == []
        loader = loader_of(pipeline, "last", root).start()
        wait_for(partial(has_all, root), loader)
        assert loader.stop() == 0
    assert list(spill.iterdir()) == []
    is_sound(root)


@pytest.mark.slow
def test_loaders_on_full_disks_land_all_when_there_is_room_again(
    pipeline: Pipeline, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    temporary, tables = small_disk("temporary"), small_disk("tables")
    roots = {"spills": tmp_path / "landed", "lands": tables / "landed"}
    loaders = {}
    for name, spill in (("spills", temporary), ("lands", tmp_path)):
        with temporary_files_in(spill):
            loaders[name] = loader_of(pipeline, name, roots[name]).start()
    for name, loader in loaders.items():
        wait_for(partial(says, loader, NO_ROOM), loader)
        assert landed_rows(roots[name]) == 0
    assert not [path for path in (tables / "landed").rglob("*.parquet") if path.is_file()]
    for disk in (temporary, tables):
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    for name, loader in loaders.items():
        wait_for(partial(has_all, roots[name]), loader)
        assert loader.stop() == 0
        is_sound(roots[name])
    assert list(temporary.iterdir()) == []
