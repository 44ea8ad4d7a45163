"""Records that cannot be decoded: each is in one quarantine file, whoever lands, merges, expires or rewinds it.

Which they are is said by the record itself, so that each that is read again is found to be one again.
"""

import json
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from headrace.sinks.table import commit, names
from headrace.sinks.table.fold import Fold, PartitionKey
from headrace.sinks.table.record import CommitRecord, Quarantine
from headrace.sinks.table.store import Get

if TYPE_CHECKING:
    from tests.sim.table.world import World

Row = tuple[int, int, int, str]  # incarnation, partition, offset, topic id


def is_poison(world: "World", row: Row) -> bool:
    """Whether a record cannot be decoded: a third of them, some in a row."""
    _, partition, offset, topic_id = row
    return world.poisons and (offset * 5 + partition * 3 + int(topic_id.rpartition("-")[2])) % 9 < 3


def quarantine(world: "World", name: str, rows: list[Row]) -> Generator[Any, Any, Quarantine]:
    """Write a quarantine file."""
    from tests.sim.table.world import Write

    path = f"{names.QUARANTINE}/{name}.jsonl.zst"
    world.contents[path] = rows
    yield Write(path, json.dumps(rows).encode())
    return Quarantine(path, len(rows))


def read_quarantine(path: str) -> Generator[Any, Any, list[Row] | None]:
    """The records of a quarantine file, wherever it is; None: nowhere."""
    found = yield Get((path, names.removed(path)))
    data = next((one for one in found if one is not None), None)
    return None if data is None else [tuple(row) for row in json.loads(data)]


def merged_quarantine(world: "World", fold: Fold, started_ms: int) -> Generator[Any, Any, None]:
    """Merge two quarantine files, as a compaction does."""
    chosen = world.taste.sample([path for path in fold.quarantined if not fold.is_pinned(path)] or [""], 1)
    chosen += [path for path in fold.quarantined if path not in chosen and not fold.is_pinned(path)][:1]
    rows: list[Row] = []
    for path in chosen:
        found = yield from read_quarantine(path)
        if found is None:  # swept: another was faster, by a day
            return
        rows += found
    name = world.new_name()
    merged = yield from quarantine(world, name, rows)
    draft = CommitRecord("compact", name, "sim", world.store.clock_ms, remove=tuple(chosen), quarantine=merged)
    yield from commit.commit(draft, fold, started_ms=started_ms)


def expired_quarantine(world: "World", fold: Fold, started_ms: int) -> Generator[Any, Any, None]:
    """Take a quarantine file out."""
    free = [path for path in fold.quarantined if not fold.is_pinned(path)]
    if free:
        gone = world.taste.choice(free)
        draft = CommitRecord("expire", world.new_name(), "sim", world.store.clock_ms, remove=(gone,))
        yield from commit.commit(draft, fold, started_ms=started_ms)


def parted_quarantine(
    world: "World", fold: Fold, name: str, offsets: Mapping[PartitionKey, int], begins: Fold
) -> Generator[Any, Any, Quarantine | None]:
    """What the next generation begins with, said in `begins`; the file that it has alone, if any."""
    rest: list[Row] = []
    for path, found in fold.quarantined.items():
        rows = (yield from read_quarantine(path)) or []
        below = [row for row in rows if row[2] < offsets.get(row[:2], row[2] + 1)]
        if len(below) == found.count:
            begins.quarantine(found)
        else:
            rest += below
    if not rest:
        return None
    own = yield from quarantine(world, name, rest)
    begins.quarantine(own)
    return own
