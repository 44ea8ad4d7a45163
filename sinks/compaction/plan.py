"""Which files are merged: small ones of one directory whose hour is over. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.sinks.config import LayoutKeys
from headrace.sinks.layout import Layout
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import DataFile

HOUR_MS: Final = 3_600_000
_DAYS: Final = Layout(LayoutKeys(path="dt={date}"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What compaction makes of an hour."""

    target_bytes: int = 128 << 20
    """Files of half of it and more stay as they are."""
    closed_for_ms: int = HOUR_MS
    """How long an hour must be over: until then late rows are likely."""
    memory_bytes: int = 96 << 20
    """What the open files of one merge may hold, as `Candidate.held_bytes` counts."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A small file; `family` is equal for files that can be merged, `held_bytes` what it takes to read it, row by row."""

    file: DataFile
    family: str
    held_bytes: int


def small_files(fold: Fold, limits: Limits, layout: Layout, now_ms: int) -> list[DataFile]:
    """Live files worth merging, of hours that are over, where a directory has two at least; none that a rewind keeps."""
    by_directory: dict[tuple[str, str], list[DataFile]] = defaultdict(list)
    for file in fold.files.values():
        if file.bytes * 2 < limits.target_bytes and not fold.is_pinned(file.path):
            by_directory[file.path.rpartition("/")[0], file.format].append(file)
    return [
        file
        for (directory, _), files in sorted(by_directory.items())
        if len(files) > 1 and closed_ms(directory, files, layout) + limits.closed_for_ms <= now_ms
        for file in files
    ]


def closed_ms(directory: str, files: Iterable[DataFile], layout: Layout) -> int:
    """When the hour, or the day, of a directory is over; where the layout has no such directory, its newest event time."""
    end_ms = layout.end_ms(directory)
    if end_ms is None:
        end_ms = _DAYS.end_ms(directory)
    return max(file.max_event_time_ms for file in files) if end_ms is None else end_ms


def merges(candidates: Sequence[Candidate], limits: Limits) -> list[list[Candidate]]:
    """The candidates in merges of two files at least, each at most the target's size and within memory."""
    by_family: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_family[one.file.path.rpartition("/")[0], one.family].append(one)
    planned: list[list[Candidate]] = []
    for _, family in sorted(by_family.items()):
        merge: list[Candidate] = []
        for one in sorted(family, key=lambda one: (one.file.bytes, one.file.path)):
            if merge and not _fits(merge, one, limits):
                planned.append(merge)
                merge = []
            merge.append(one)
        planned.append(merge)
    return [merge for merge in planned if len(merge) > 1]


def _fits(merge: Sequence[Candidate], one: Candidate, limits: Limits) -> bool:
    if len(merge) == 1:
        return merge[0].file.bytes + one.file.bytes <= limits.target_bytes
    held_bytes = sum(each.held_bytes for each in merge) + one.held_bytes
    return sum(each.file.bytes for each in merge) + one.file.bytes <= limits.target_bytes and held_bytes <= limits.memory_bytes
