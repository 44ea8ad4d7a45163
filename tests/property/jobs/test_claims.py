"""However a runner splits a range of offsets while it is read, each record is read once: Beam's tracker, split at random."""

import random
from dataclasses import dataclass

import pytest
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker

from headrace.jobs.batch.claims import claimed

SEEDS = range(600)
MOST_SPLITS = 60


@dataclass(frozen=True)
class Offsets:
    """A batch of records that are their offsets; `last_offset` may lie behind the last of them, as after compaction."""

    offsets: tuple[int, ...]
    last_offset: int

    def records(self):
        return self.offsets

    def before(self, end):
        kept = tuple(offset for offset in self.offsets if offset < end)
        return Offsets(kept, kept[-1]) if kept else None


class Log:
    """A partition with holes, at its end too, that is fetched in batches of random lengths."""

    def __init__(self, rng):
        self.rng = rng
        self.start = rng.randrange(1, 50)
        self.stop = self.start + rng.randrange(1, 300)
        density = rng.choice([0.02, 0.3, 0.9, 1.0])
        self.records = [offset for offset in range(self.start, self.stop + 40) if rng.random() < density]
        if rng.random() < 0.5:  # markers of transactions, or compaction, at the tail
            self.records = [offset for offset in self.records if offset < self.stop - rng.randrange(1, 20)]

    def fetch(self, position, stop):
        found = [offset for offset in self.records if position <= offset < stop][: self.rng.randrange(1, 30)]
        if not found:
            return None
        following = next((offset for offset in self.records if offset > found[-1]), self.stop)
        return Offsets(tuple(found), self.rng.choice([found[-1], min(following, stop) - 1]))


def claims_first(tracker, fetch):
    """The trap: the first offset of what was fetched is claimed, and all of it is yielded."""
    position = tracker.current_restriction().start
    while True:
        stop = tracker.current_restriction().stop
        batch = fetch(position, stop) if position < stop else None
        if batch is None:
            tracker.try_claim(max(stop, position))
            return
        if not tracker.try_claim(batch.offsets[0]):
            return
        yield batch
        position = batch.last_offset + 1


def keeps_all(tracker, fetch):
    """Without what leaves records out where the claim is refused."""
    position = tracker.current_restriction().start
    while True:
        stop = tracker.current_restriction().stop
        batch = fetch(position, stop) if position < stop else None
        if batch is None:
            tracker.try_claim(max(stop, position))
            return
        is_whole = tracker.try_claim(batch.last_offset)
        yield batch
        if not is_whole:
            return
        position = batch.last_offset + 1


def drops_refused(tracker, fetch):
    """Without what yields the records that are left of a refused batch."""
    position = tracker.current_restriction().start
    while True:
        stop = tracker.current_restriction().stop
        batch = fetch(position, stop) if position < stop else None
        if batch is None:
            tracker.try_claim(max(stop, position))
            return
        if not tracker.try_claim(batch.last_offset):
            return
        yield batch
        position = batch.last_offset + 1


def leaves_the_tail(tracker, fetch):
    """Without the claim past the last record."""
    position = tracker.current_restriction().start
    while True:
        stop = tracker.current_restriction().stop
        batch = fetch(position, stop) if position < stop else None
        if batch is None:
            return
        if not tracker.try_claim(batch.last_offset):
            batch = batch.before(tracker.current_restriction().stop)
            if batch is not None:
                yield batch
            return
        yield batch
        position = batch.last_offset + 1


class Rests(list):
    """The ranges that wait to be read, and how many splits are left."""

    left = MOST_SPLITS


class Split:
    """A tracker that a runner splits whenever it is looked at, with some likelihood; the rests wait in a list."""

    def __init__(self, restriction, rng, rests, likelihood):
        self.tracker = OffsetRestrictionTracker(restriction)
        self.rng, self.rests, self.likelihood = rng, rests, likelihood

    def split(self):
        if self.rests.left and self.rng.random() < self.likelihood:
            found = self.tracker.try_split(self.rng.choice([0.0, 0.1, 0.5, 0.9]))
            if found is not None:
                self.rests.append(found[1])
                self.rests.left -= 1

    def current_restriction(self):
        now = self.tracker.current_restriction()
        self.split()  # what was just seen is old already
        return now

    def try_claim(self, position):
        self.split()
        granted = self.tracker.try_claim(position)
        self.split()
        return granted


def run(seed, read):
    """(the records of a random log, those that were read, in any order): split as often as it happens."""
    rng = random.Random(seed)
    log, rests, found = Log(rng), Rests(), []
    rests.append(OffsetRange(log.start, log.stop))
    likelihood = rng.choice([0.05, 0.3, 0.8])
    while rests:
        tracker = Split(rests.pop(), rng, rests, likelihood)

        def fetch(position, stop, tracker=tracker):
            tracker.split()
            batch = log.fetch(position, stop)
            tracker.split()
            return batch

        for batch in read(tracker, fetch):
            tracker.split()
            found += batch.offsets
        tracker.tracker.check_done()
    return [offset for offset in log.records if offset < log.stop], sorted(found)


def test_each_record_is_read_once_wherever_the_range_is_split():
    for seed in SEEDS:
        wanted, found = run(seed, claimed)
        assert found == wanted, f"seed {seed}"


@pytest.mark.parametrize("broken", [claims_first, keeps_all, drops_refused, leaves_the_tail])
def test_each_guard_is_missed_by_some_seed(broken):
    def is_wrong(seed):
        try:
            wanted, found = run(seed, broken)
        except ValueError:  # Beam's: the range was not dealt with to its end
            return True
        return found != wanted

    assert any(is_wrong(seed) for seed in SEEDS)
