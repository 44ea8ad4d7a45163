"""The names that compaction gives to files, and what loading does with those that a crash has left.

Cleaned segments take the place of old ones in four steps; a crash after any of them leaves either the old segments or the
cleaned ones, never a mixture and never neither:

1. `.cleaned` files are written and fsynced, by the process that makes them. Loading deletes them.
2. They are renamed to `.swap`, in the order of offsets, the log of each last, and the directory is synced. From here on
   loading finishes what is left.
3. The old segments' files are renamed to `.deleted`, then `.swap` to the plain name, the log last.
4. The directory is synced; the old files are removed after `file.delete.delay.ms`.

Which old segments a `.swap` stands for is told by its own offsets: those that begin between its base offset and its end. A
cleaned segment ends where the last of its old ones did, because its last batch stays, if need be without records.
Within a directory names are taken to become durable in the order in which they changed.
Source: Kafka's LocalLog.replaceSegments and LogLoader; unlike there, all segments of one cleaning pass step 2 together.
"""

import logging
from collections.abc import Sequence

from headrace.broker.log.batch import HEADER_SIZE, MAGIC, BatchHeader, parse_header
from headrace.broker.log.disk import Disk, DiskFile, read_whole, remove_if_there
from headrace.broker.log.file_names import INDEX, LOG, TIME_INDEX, TXN_INDEX, segment_name
from headrace.broker.log.index import decode_offset_index

logger = logging.getLogger(__name__)

CLEANED, SWAP = ".cleaned", ".swap"
_IN_ORDER = (INDEX, TIME_INDEX, TXN_INDEX, LOG)


def commit_swaps(disk: Disk, path: str, bases: Sequence[int]) -> None:
    """Step 2, for the cleaned segments with these base offsets, rising; blocks for an fsync."""
    for base in bases:
        for suffix in _IN_ORDER:
            name = f"{path}/{segment_name(base)}{suffix}"
            _rename(disk, name + CLEANED, name + SWAP, must=suffix != TXN_INDEX)
    disk.sync_directory(path)


def finish_swap(disk: Disk, path: str, base: int) -> None:
    """The second half of step 3; the old segments are out of the way."""
    for suffix in _IN_ORDER:
        name = f"{path}/{segment_name(base)}{suffix}"
        _rename(disk, name + SWAP, name, must=suffix != TXN_INDEX)


def _rename(disk: Disk, old: str, new: str, *, must: bool) -> None:
    try:
        disk.rename(old, new)
    except FileNotFoundError:
        if must:
            raise


def drop_unfinished(disk: Disk, path: str) -> None:
    """Remove what a cleaning that was given up has left, as long as no other is under way."""
    for name in disk.list(path):
        if name.endswith((CLEANED, SWAP)):
            remove_if_there(disk, f"{path}/{name}")


def settle(disk: Disk, path: str) -> None:
    """When a log is loaded, before its segments are looked for: finish what was committed, delete what was not.

    Raises:
        OSError: the disk fails; the next start goes on from there.
    """
    names = disk.list(path)
    leftover = [name for name in names if name.endswith((CLEANED, SWAP))]
    if not leftover:
        return
    committed = sorted(name for name in leftover if name.endswith(LOG + SWAP))
    for name in committed:
        _finish(disk, path, name.removesuffix(LOG + SWAP))
    for name in leftover:  # index files whose log was not renamed, or is in place already
        remove_if_there(disk, f"{path}/{name}")
    disk.sync_directory(path)
    logger.info("leftovers of compaction settled", extra={"log": path, "finished": len(committed), "files": len(leftover)})


def _finish(disk: Disk, path: str, stem: str) -> None:
    for suffix in (INDEX, TIME_INDEX, TXN_INDEX):
        _rename(disk, f"{path}/{stem}{suffix}{SWAP}", f"{path}/{stem}{suffix}", must=False)  # it may be, since before the crash
    base, end = int(stem), _end_offset(disk, path, stem)
    for name in disk.list(path):
        old = name.removesuffix(LOG)
        if name.endswith(LOG) and old.isdigit() and base < int(old) < end:
            for suffix in (LOG, INDEX, TIME_INDEX, TXN_INDEX):
                remove_if_there(disk, f"{path}/{old}{suffix}")
    disk.rename(f"{path}/{stem}{LOG}{SWAP}", f"{path}/{stem}{LOG}")


def _end_offset(disk: Disk, path: str, stem: str) -> int:
    """Where a cleaned segment ends; its index shortens the way there."""
    file = disk.open(f"{path}/{stem}{LOG}{SWAP}")
    try:
        index = decode_offset_index(read_whole(disk, f"{path}/{stem}{INDEX}") or b"")
        position = index.positions[-1] if index is not None and len(index) else 0
        header = _header(file, position)
        if header is None or (index is not None and not index.names(position, header.last_offset - int(stem))):
            position, header = 0, _header(file, 0)
        end_offset = int(stem)
        while header is not None:
            end_offset, position = header.last_offset + 1, position + header.size
            header = _header(file, position)
        return end_offset
    finally:
        file.close()


def _header(file: DiskFile, position: int) -> BatchHeader | None:
    data = file.pread(HEADER_SIZE, position)
    header = parse_header(data) if len(data) == HEADER_SIZE else None
    return header if header is not None and header.magic == MAGIC and header.size >= HEADER_SIZE else None
