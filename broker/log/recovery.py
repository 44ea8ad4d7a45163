"""Opening one partition's log after a clean stop or a crash.

What a crash may leave, and the rule for it:

- The log is on disk up to the recovery point, with index entries and a producer snapshot (`sync.py` has the order); nothing is
  known of what comes after. So only what comes after is scanned: every batch's CRC and header, and that offsets follow without
  a hole. At the first bad batch the log ends: later segments are deleted first, newest first, and durably, then the bad one is
  cut; a crash in between finds the bad batch again.
- Holes that compaction has left lie before the recovery point of the checkpoint (compaction/choice.py), so up to there offsets
  need only rise. Where that checkpoint is lost, they need only rise everywhere: cutting would cost more than it saves.
- A snapshot of an offset after the new end is removed before anything is appended.
- The log end is never below what was checkpointed as on disk or as exposed: where the files end earlier (a lost file, a disk
  that lied, or unsynced pages that consumers had seen), a new segment begins at that offset. The hole is visible to consumers
  as a jump in offsets, and to the landed tables as a gap of cause `lost`; handing out the offsets again would be silent.
- Segments wholly before the recovery point are not opened; their indexes are checked when they are first used.

Source: Kafka's LogLoader; KAFKA-10432 (epochs rebuilt from batches), KAFKA-3955 (the log end below the log start).
"""

import itertools
import logging
from bisect import bisect_right
from collections.abc import Iterator

from headrace.broker.log.batch import NO_PRODUCER_ID, BatchHeader
from headrace.broker.log.checkpoint import LEADER_EPOCHS, decode_epochs, encode_epochs
from headrace.broker.log.config import LogConfig
from headrace.broker.log.disk import Disk, RealDisk, is_full, read_whole, remove_if_there, write_whole
from headrace.broker.log.file_names import INDEX, LOG, TIME_INDEX
from headrace.broker.log.index import decode_offset_index
from headrace.broker.log.leftovers import settle
from headrace.broker.log.loaded import LoadedLog
from headrace.broker.log.producers import ProducerStates
from headrace.broker.log.scanning import Facts, Scan, scan_and_cut
from headrace.broker.log.segment import Segment
from headrace.broker.log.snapshots import newest_snapshot, remove_snapshots, snapshot_offsets
from headrace.errors import CorruptError

logger = logging.getLogger(__name__)


def load_log(disk: Disk, path: str, config: LogConfig, facts: Facts, now_ms: int) -> LoadedLog:
    """Open the segments in `path`, and repair what a crash has left.

    Args:
        now_ms: wall time; counts as the last write of producers that are found.
    Raises:
        CorruptError, VersionError: what cannot be repaired. OSError: the disk fails.
    """
    settle(disk, path)
    names = disk.list(path)
    segments = _open_segments(disk, path, names, config)
    scan = Scan()
    if not segments:
        start = max(facts.log_start_offset, facts.recovery_point, facts.high_watermark)
        segments = [_create(disk, path, start, config)]
    elif facts.clean and _resume_active(segments[-1]):
        pass
    else:
        scan_and_cut(disk, path, segments, facts, scan)
    found = segments[-1].next_offset
    floor = max(facts.recovery_point, facts.high_watermark, facts.log_start_offset)
    if found < floor:
        logger.error("records are lost: the log ends early", extra={"log": path, "log_end_offset": found, "expected": floor})
        segments[-1].seal()
        for empty in (segment for segment in segments if not segment.size):
            empty.remove()  # else the next recovery would find a gap there, and cut off all that comes later
        segments = [segment for segment in segments if segment.size] + [_create(disk, path, floor, config)]
        disk.sync_directory(path)
    end = segments[-1].next_offset
    producers = _producers(disk, path, names, segments, scan, end, now_ms)
    epochs = _epochs(disk, path, scan, end)
    log_start_offset = max(facts.log_start_offset, segments[0].base_offset)
    recovery_point = found if facts.clean else min(facts.recovery_point, found)
    cleaned_to = facts.cleaned_to if facts.cleaned_to <= end else 0
    must_checkpoint = found < floor or not facts.is_checkpointed
    return LoadedLog(segments, producers, epochs, log_start_offset, recovery_point, must_checkpoint, cleaned_to)


def load_apart(path: str, config: LogConfig, facts: Facts, now_ms: int) -> LoadedLog:
    """`load_log` for a process of its own: the result holds no open file, and can be sent."""
    loaded = load_log(RealDisk(), path, config, facts, now_ms)
    for segment in loaded.segments:
        segment.close()
    return loaded


def unscanned_bytes(disk: Disk, path: str, recovery_point: int) -> int:
    """About how many bytes `load_log` will scan after a crash; changes nothing. Raises OSError."""
    names = sorted(name for name in disk.list(path) if name.endswith(LOG) and name.removesuffix(LOG).isdigit())
    bases = [int(name.removesuffix(LOG)) for name in names]
    first = max(bisect_right(bases, recovery_point) - 1, 0)
    size = sum(_size(disk, f"{path}/{name}") for name in names[first:])
    if not size or recovery_point <= bases[first]:
        return size
    entries = read_whole(disk, f"{path}/{names[first].removesuffix(LOG)}{INDEX}")
    index = None if entries is None else decode_offset_index(entries)
    return size - (0 if index is None else index.position_at_or_before(recovery_point - bases[first] - 1))


def _size(disk: Disk, path: str) -> int:
    file = disk.open(path)
    try:
        return file.size()
    finally:
        file.close()


def _create(disk: Disk, path: str, base_offset: int, config: LogConfig) -> Segment:
    return Segment.create(disk, path, base_offset, index_interval_bytes=config.index_interval_bytes)


def _open_segments(disk: Disk, path: str, names: list[str], config: LogConfig) -> list[Segment]:
    """The segments by their logs; what a crash left half deleted or half written is removed."""
    logs = {name.removesuffix(LOG) for name in names if name.endswith(LOG) and name.removesuffix(LOG).isdigit()}
    for name in names:
        stem, dot, suffix = name.partition(".")
        stray = dot + suffix in (INDEX, TIME_INDEX) and stem not in logs
        if stray or name.endswith((".deleted", ".tmp")):
            remove_if_there(disk, f"{path}/{name}")
    segments = []
    for stem in sorted(logs):
        size = _size(disk, f"{path}/{stem}{LOG}")
        segments.append(Segment(disk, path, int(stem), index_interval_bytes=config.index_interval_bytes, size=size))
    for segment, following in itertools.pairwise(segments):
        segment.next_offset = following.base_offset
    return segments


def _resume_active(segment: Segment) -> bool:
    """After a clean stop: go on from the last index entry, without CRCs; False if the segment is not as it was left."""
    size = segment.size
    stored = segment.stored_indexes()
    if stored is None or not segment.points_truly(*stored):
        return False
    segment.resume_from(*stored)
    while segment.size < size:
        header = segment.header_at(segment.size, size)
        if header is None:
            segment.size = size
            return False
        segment.note(header.last_offset, header.max_timestamp, header.size)
    return True


def _producers(
    disk: Disk, path: str, names: list[str], segments: list[Segment], scan: Scan, end: int, now_ms: int
) -> ProducerStates:
    """The newest snapshot before the end, and every later batch of an idempotent producer on top of it.

    One from before the first segment is no use: batches after it are gone, and a producer held against what it wrote before
    them would be stuck. Unknown, it may go on.
    """
    offsets = snapshot_offsets(names)
    gone = [offset for offset in offsets if offset > end]
    if gone:
        remove_snapshots(disk, path, gone)
        disk.sync_directory(path)
    first = segments[0].base_offset
    newest = newest_snapshot(disk, path, [offset for offset in offsets if first <= offset <= end], now_ms)
    start, states = newest if newest is not None else (first, ProducerStates())
    scanned_from = end if scan.begin is None else scan.begin
    for header in _headers_between(segments, start, min(scanned_from, end)):
        if header.producer_id != NO_PRODUCER_ID:
            states.appended(header, header.last_offset, now_ms)
    for header in scan.producer_batches:
        if header.base_offset >= start:
            states.appended(header, header.last_offset, now_ms)
    return states


def _headers_between(segments: list[Segment], start: int, end: int) -> Iterator[BatchHeader]:
    for segment in segments:
        if segment.next_offset <= start or segment.base_offset >= end:
            continue
        try:
            for _, header in segment.headers(max(start, segment.base_offset)):
                if header.base_offset >= end:
                    return
                if header.base_offset >= start:
                    yield header
        except CorruptError as error:
            logger.error("producer state is incomplete", extra={"error": str(error)})


def _epochs(disk: Disk, path: str, scan: Scan, end: int) -> list[tuple[int, int]]:
    """The leader epochs of the checkpoint that begin before the end, and those that the scan saw begin later."""
    content = read_whole(disk, f"{path}/{LEADER_EPOCHS}")
    try:
        stored = [] if content is None else decode_epochs(content, f"{path}/{LEADER_EPOCHS}")
    except CorruptError as error:
        logger.warning("leader epochs are read from the batches instead", extra={"error": str(error)})
        stored = []
    epochs = [(epoch, start) for epoch, start in stored if start <= end]
    for epoch, start in scan.epochs:
        if not epochs or epoch > epochs[-1][0]:
            epochs.append((epoch, start))
    if not epochs:
        epochs = [(0, 0)]
    if epochs != stored:
        known = bool(stored or scan.epochs)  # what a new log begins with goes without saying
        try:
            write_whole(disk, path, LEADER_EPOCHS, encode_epochs(epochs), durable=known)
        except OSError as error:
            if not is_full(error):
                raise
            logger.warning("leader epochs are not written: the disk is full", extra={"log": path})
    return epochs
