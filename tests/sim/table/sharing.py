"""Loaders that share partitions as `sinks/membership.py` and `landing.py` do: a group says who reads what, and may be wrong.

An attempt grows over many turns, from a fold that is as old as it is. Before each turn the loader hears what it holds; when
that has changed it commits or drops what is open, and folds afresh. The group takes partitions without waiting for the loser,
as from a member that it has not heard for a session: whoever sleeps after it has heard wakes up, at any operation, as one that
still believes.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.sinks.resume import Resume, Sight, resume
from headrace.sinks.table import commit, upkeep
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord, DataFile, LandedRange
from headrace.sinks.table.store import Now

if TYPE_CHECKING:
    from tests.sim.table.world import Topic, World


@dataclass(frozen=True)
class Hear:
    """Answer: the partitions that the group gives to this member now."""

    member: int


@dataclass
class Group:
    """Who holds partitions 0 and 1; members that have died hold theirs until the next rebalance."""

    rng: random.Random
    members: list[int] = field(default_factory=list)
    holders: dict[int, int] = field(default_factory=dict)
    joined: int = 0

    def join(self) -> int:
        self.joined += 1
        self.members.append(self.joined)
        return self.joined

    def leave(self, member: int) -> None:
        self.members.remove(member)

    def rebalance(self) -> None:
        """Give each partition to some member."""
        self.holders = {partition: self.rng.choice(self.members) for partition in (0, 1)}

    def rebalance_if_abandoned(self) -> None:
        """As the group does a session timeout after somebody has died."""
        if not set(self.holders.values()) <= set(self.members) or not self.holders:
            self.rebalance()

    def held_by(self, member: int) -> list[int]:
        return [partition for partition, holder in self.holders.items() if holder == member]


@dataclass
class _Open:
    """An attempt in progress: where it goes on in each partition, and the rows that it has."""

    fold: Fold
    topic: "Topic"
    places: dict[int, Resume]
    rows: dict[int, list[Any]] = field(default_factory=dict)


def sharer(world: "World", member: int, mine: list[str]) -> Generator[Any, Any, None]:
    """One loader."""
    from tests.sim.table.world import Look

    while True:
        started_ms = yield Now()
        held = yield Hear(member)
        if not held:
            continue
        fold = yield from commit.read_head()
        yield from upkeep.finish_moves(fold)
        topic: Topic = yield Look()
        mine[0] = topic.topic_id
        attempt = _Open(fold, topic, {partition: _place(fold, topic, partition) for partition in held})
        while (yield Hear(member)) == held and world.rng.random() < 0.8:
            yield from _read_more(world, attempt)
        draft = yield from _draft(world, attempt)
        if draft.says_something:
            outcome = yield from world.attempt(draft, fold, started_ms)
            if isinstance(outcome, commit.Won) and world.rng.random() < 0.3:
                yield from upkeep.write_checkpoint(outcome.fold)


def _place(fold: Fold, topic: "Topic", partition: int) -> Resume:
    known = fold.ends.get((fold.incarnation(partition), partition))
    return resume(
        fold, partition, Sight(topic.topic_id, 0, topic.ends[partition], None if known is None else known.last_fingerprint)
    )


def _read_more(world: "World", attempt: _Open) -> Generator[Any, Any, None]:
    from tests.sim.table.world import Look

    now: Topic = yield Look()  # the client reads by name: whatever topic bears it by now
    for partition, place in attempt.places.items():
        rows = attempt.rows.setdefault(partition, [])
        start = place.offset + len(rows)
        end = min(now.ends[partition], start + (60 if world.calm else world.rng.randint(1, 3)))
        rows += [(place.incarnation, partition, offset, now.topic_id) for offset in range(start, end)]


def _draft(world: "World", attempt: _Open) -> Generator[Any, Any, CommitRecord]:
    name, topic_id = world.new_name(), attempt.topic.topic_id
    files: list[DataFile] = []
    ranges: list[LandedRange] = []
    for partition, rows in attempt.rows.items():
        if rows:
            files.append((yield from world.write(f"{name}-{partition}", rows)))
            place, end = attempt.places[partition], attempt.places[partition].offset + len(rows)
            last = {"last_offset": end - 1, "last_fingerprint": f"{topic_id}/{end - 1}", "topic_id": topic_id}
            ranges.append(LandedRange(place.incarnation, partition, place.offset, end, len(rows), 0, 0, **last))  # type: ignore[arg-type]
    return CommitRecord("load", name, "sim", world.store.clock_ms, ranges=tuple(ranges), add=tuple(files))
