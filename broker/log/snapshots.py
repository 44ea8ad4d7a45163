"""The producer snapshot files of one partition: which are there, reading the newest good one, removing the others.

Two are kept, so that a damaged one costs a longer replay and not the state. A snapshot of an offset after the log's end
belongs to
records that are gone: it is removed before anything is appended, else it would be taken for the state of other records later.
"""

import re
from collections.abc import Sequence

from headrace.broker.log.disk import Disk, read_whole
from headrace.broker.log.producers import ProducerStates, decode_snapshot

KEPT = 2
_NAME = re.compile(r"(\d{20})\.snapshot")


def snapshot_name(offset: int) -> str:
    """The file's name for the state before `offset`."""
    return f"{offset:020d}.snapshot"


def snapshot_offsets(names: Sequence[str]) -> list[int]:
    """The offsets of the snapshots among a directory's names, rising."""
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def newest_snapshot(disk: Disk, path: str, offsets: Sequence[int], now_ms: int) -> tuple[int, ProducerStates] | None:
    """The newest snapshot that can be read, with its offset; None if there is none."""
    for offset in reversed(offsets):
        content = read_whole(disk, f"{path}/{snapshot_name(offset)}")
        states = None if content is None else decode_snapshot(content, now_ms)
        if states is not None:
            return offset, states
    return None


def remove_snapshots(disk: Disk, path: str, offsets: Sequence[int]) -> None:
    """Remove these; one that is gone already is fine."""
    for offset in offsets:
        try:
            disk.remove(f"{path}/{snapshot_name(offset)}")
        except FileNotFoundError:
            continue
