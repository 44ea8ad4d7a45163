"""Iceberg tables over landed ones on a real HDFS: a snapshot can be read whatever is merged, expired or swept meanwhile."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import hdfs_native
import pytest

from headrace.clock import SystemClock
from headrace.sinks.compaction.compact import compact_table
from headrace.sinks.compaction.plan import Limits
from headrace.sinks.expire import Ages, expire_table
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.iceberg.table import ProjectedTable
from headrace.sinks.iceberg.tables import Projection
from headrace.sinks.rewinding import fork_table
from headrace.sinks.stores.hdfs_clients import LibhdfsClient
from headrace.sinks.stores.hdfs_inodes import NAME, Inodes
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import names, upkeep
from headrace.sinks.table.commit import Won, commit, read_head
from headrace.sinks.table.fold import Fold, PartitionEnd
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.record import CommitRecord, Gap, LandedRange
from headrace.sinks.table.rewind import hand_over
from headrace.sinks.table.store import carry_out
from tests.hdfs import LIBHDFS
from tests.integration.sinks.test_iceberg import HOUR, T0, Later, events, offsets, opened
from tests.integration.sinks.test_iceberg_on_objects import upload
from tests.landed_tables import TableWriter

EVERYTHING = [(0, 0, offset) for offset in range(80)]


@pytest.fixture
def logs(tmp_path: Path) -> TableWriter:
    """Three small files of one hour, one of the next, still on a local disk."""
    logs = TableWriter(tmp_path, "logs")
    for first in (0, 20, 40, 60):
        logs.land_events(events(first, 20))
    return logs


@pytest.fixture
def root(logs: TableWriter, new_root: Callable[[str], str]) -> Root:
    url = new_root("libhdfs").partition("?")[0]
    upload(logs.directory, open_root(url).table("logs"))
    return open_root(url)


@pytest.fixture
def catalog(tmp_path: Path) -> dict[str, str]:
    return {"type": "sql", "uri": f"sqlite:///{tmp_path / 'catalog.db'}"}


def compact(root: Root) -> None:
    compact_table(str(root), "logs", Limits(target_bytes=1 << 20, closed_for_ms=HOUR), SystemClock(), progress=int)


def placed(root: Root) -> set[str]:
    return {entry.name for entry in root.table("logs").list("", after="", recursive=True) if entry.name.startswith("dt=")}


def test_a_snapshot_can_be_read_through_a_compaction_and_an_expiry_and_directories_hold_no_row_twice(
    tmp_path: Path, root: Root, catalog: dict[str, str]
) -> None:
    projection = Projection(Iceberg(catalog=catalog), str(root), SystemClock())
    assert projection.sync("logs").added == 4
    before = opened(tmp_path, **catalog)
    compact(root)
    assert placed(root) == set(carry_out(read_head(), root.table("logs")).files)
    assert offsets(before.scan().to_arrow()) == offsets(opened(tmp_path, **catalog).scan().to_arrow()) == EVERYTHING
    done = projection.sync("logs")
    assert (done.added, done.removed) == (1, 3)
    merged = opened(tmp_path, **catalog)
    expire_table(str(root), "logs", Ages(events=T0 + HOUR), SystemClock(), dry_run=False)
    projection.sync("logs")
    assert offsets(before.scan().to_arrow()) == offsets(merged.scan().to_arrow()) == EVERYTHING
    assert 0 < opened(tmp_path, **catalog).scan().to_arrow().num_rows < 80
    assert placed(root) == set(carry_out(read_head(), root.table("logs")).files)


def test_a_table_that_is_landed_again_leaves_the_snapshots_of_before(
    tmp_path: Path, root: Root, catalog: dict[str, str]
) -> None:
    projection, store = Projection(Iceberg(catalog=catalog), str(root), SystemClock()), root.table("logs")
    projection.sync("logs")
    before = opened(tmp_path, **catalog)
    assert fork_table(store, {(0, 0): PartitionEnd(60)}, SystemClock()) == 2
    fold = carry_out(read_generation(2), store)
    lost = LandedRange(0, 0, 60, 80, 0, 0, 0, (Gap(60, 80, "lost"),))
    following = commit_to(root, CommitRecord("load", "again", "test:1", 1, (lost,), generation=2), fold)
    assert isinstance(carry_out(hand_over(CommitRecord("close", "over", "test:1", 1), following), store, SystemClock()), Won)
    assert len(placed(root)) == 3
    assert offsets(before.scan().to_arrow()) == EVERYTHING
    done = projection.sync("logs")
    assert (done.added, done.removed) == (3, 4)
    assert offsets(before.scan().to_arrow()) == EVERYTHING
    assert opened(tmp_path, **catalog).scan().to_arrow().num_rows == 60


def test_files_stay_in_removed_for_as_long_as_a_snapshot_has_them_and_no_longer(
    tmp_path: Path, root: Root, catalog: dict[str, str]
) -> None:
    projection, store = Projection(Iceberg(catalog=catalog), str(root), SystemClock()), root.table("logs")
    projection.sync("logs")
    compact(root)
    merged = make_older(root)
    assert len(merged) == 3
    carry_out(upkeep.sweep(), store)
    assert offsets(opened(tmp_path, **catalog).scan().to_arrow()) == EVERYTHING, "it was not synced for two days"
    projection.sync("logs")
    make_older(root)
    gone, stays = sorted(carry_out(read_head(), store).files.values(), key=lambda file: file.path)
    commit_to(root, CommitRecord("expire", "one", "test:1", 1, remove=(gone.path,)), carry_out(read_head(), store))
    url = root.location("logs", "")
    ProjectedTable(opened(tmp_path, **catalog).catalog, ("landed", "logs"), store, url, 60, Later()).sync()
    assert {entry.name for entry in store.list(names.REMOVED, after="", recursive=True)} == {gone.path}
    assert opened(tmp_path, **catalog).scan().to_arrow().num_rows == stays.rows

    projection.drop("logs")
    assert not store.list(names.HELD, after="", recursive=True)


def make_older(root: Root) -> set[str]:
    """Have all files in `removed/` be there for two days; their paths."""
    url = root.location("logs", names.REMOVED)
    path = urlsplit(url).path
    client = hdfs_native.Client(url.removesuffix(path))
    removed = root.table("logs").list(names.REMOVED, after="", recursive=True)
    for entry in removed:
        client.set_times(f"{path}/{entry.name}", *(entry.changed_ms - 48 * HOUR,) * 2)
    return {entry.name for entry in removed}


def commit_to(root: Root, draft: CommitRecord, fold: Fold) -> Fold:
    done = carry_out(commit(draft, fold, started_ms=SystemClock().monotonic_ms()), root.table("logs"), SystemClock())
    assert isinstance(done, Won)
    return done.fold


def test_a_file_behind_a_view_has_a_lasting_name_only_where_that_leads_to_it(root: Root) -> None:
    """As a router, which asks its default HDFS for every inode: another file may have the same id there."""
    url = root.location("logs", "")
    path = urlsplit(url).path
    file, hdfs = next(iter(placed(root))), url.removesuffix(path)
    name = LibhdfsClient(hdfs).inodes().name(f"{path}/{file}")
    assert name is not None
    with hdfs_native.Client(hdfs).create(f"{path}-other/{name.removeprefix(f'{NAME}/')}") as other:
        other.write(b"another file")
    assert view(hdfs, {f"link.{path}": f"{hdfs}{path}", "linkFallback": f"{hdfs}/"}).name(f"{path}/{file}") == name
    assert view(hdfs, {f"link.{path}": f"{hdfs}{path}", f"link.{NAME}": f"{hdfs}{path}-other"}).name(f"{path}/{file}") is None
    assert view(hdfs, {f"link.{path}": f"{hdfs}{path}"}).name(f"{path}/{file}") is None


def view(hdfs: str, mounts: dict[str, str]) -> Inodes:
    """Of a view in the JVM that is running."""
    libhdfs = ctypes.CDLL(str(LIBHDFS))
    libhdfs.hdfsNewBuilder.restype = libhdfs.hdfsBuilderConnect.restype = ctypes.c_void_p
    builder = ctypes.c_void_p(libhdfs.hdfsNewBuilder())
    settings = {"fs.defaultFS": hdfs, **{f"fs.viewfs.mounttable.view.{name}": to for name, to in mounts.items()}}
    told = [b"viewfs://view", *(text.encode() for pair in settings.items() for text in pair)]  # it keeps the pointers
    libhdfs.hdfsBuilderSetForceNewInstance(builder)
    libhdfs.hdfsBuilderSetNameNode(builder, told[0])
    for key, value in zip(told[1::2], told[2::2], strict=True):
        libhdfs.hdfsBuilderConfSetStr(builder, key, value)
    return Inodes(libhdfs, ctypes.c_void_p(libhdfs.hdfsBuilderConnect(builder)))


def test_a_file_has_a_lasting_name_on_hdfs_and_what_is_not_there_none(root: Root) -> None:
    url = root.location("logs", "")
    path = urlsplit(url).path
    inodes = LibhdfsClient(url.removesuffix(path)).inodes()
    name = inodes.name(f"{path}/{next(iter(placed(root)))}")
    assert name is not None
    assert name.startswith(NAME)
    with pytest.raises(FileNotFoundError):
        inodes.name(f"{path}/nothing")
    with pytest.raises(OSError, match="HDFS has not said"):
        inodes.name("/not:a/name on HDFS")
