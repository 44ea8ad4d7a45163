"""What an agent sends under a user's own schema lands once through its crashes and the loader's, what it rejects first too."""

import random
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from headrace.sinks.identities import of_headers
from headrace.sinks.repeats import Repeats
from headrace.sinks.table.checkpoint import decode, encode
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.record import CommitRecord
from tests.unit.sinks.messages import Message

STREAMS = ("s-1", "s-2")


@dataclass
class Stream:
    """A file: its records' headers, in order. Some lines were left out by the pipeline, and lie before a record's `since`."""

    name: str
    records: list[tuple[int, int, int]] = field(default_factory=list)
    """(position, since, end)"""
    acked: int = 0
    rejected: set[int] = field(default_factory=set)

    def write(self, rng: random.Random) -> None:
        since = self.records[-1][2] + 1 if self.records else 0
        position = since + rng.choice((0, 0, 0, 17))
        self.records.append((position, since, position + max(1, rng.choice((0, 1, 9, 40)))))

    def message(self, index: int) -> Message:
        position, since, end = self.records[index]
        named = {"agent_id": "a", "stream_id": self.name, "position": position, "since": since, "part": 0, "end": end}
        return Message(index, b"x", own_headers=[(name, str(value).encode()) for name, value in named.items()])


class World:
    """A log of one partition, an agent that writes it, and a loader that reads it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.streams = [Stream(name) for name in STREAMS]
        self.log: list[tuple[Stream, int]] = []
        self.fold, self.read = Fold(), 0
        self.landed: Counter[tuple[str, int]] = Counter()

    def ship(self) -> None:
        """Send on from the position that is saved, which is behind what was sent; lines may be refused for good."""
        stream = self.rng.choice(self.streams)
        for _ in range(self.rng.randrange(6)):
            stream.write(self.rng)
        stop = self.rng.randint(stream.acked, len(stream.records))
        for index in range(stream.acked, stop):
            if index in stream.rejected or self.rng.random() < 0.1:
                stream.rejected.add(index)
            else:
                self.log.append((stream, index))
        stream.acked = self.rng.randint(stream.acked, stop)  # the rest is sent again: it was killed

    def replay(self) -> None:
        """Send what was rejected and passed, under its old identity, twice now and then."""
        for stream in self.streams:
            for index in sorted(stream.rejected):
                if index < stream.acked and self.rng.random() < 0.3:
                    self.log += [(stream, index)] * self.rng.choice((1, 1, 2))

    def load(self) -> None:
        """Read batches, and commit, or die before that; begin anew from a checkpoint now and then."""
        repeats, at, gained = Repeats(self.fold.streams), self.read, Counter[tuple[str, int]]()
        for _ in range(self.rng.randrange(1, 4)):
            batch = self.log[at : at + self.rng.randrange(1, 9)]
            at += len(batch)
            if batch and (named := of_headers([stream.message(index) for stream, index in batch])) is not None:
                fresh = repeats.keep_named(0, named[1])
                gained.update((stream.name, index) for (stream, index), new in zip(batch, fresh, strict=True) if new)
        if self.rng.random() < 0.4:
            return
        seq = self.fold.seq + 1
        record = CommitRecord("load", f"n{seq}", "l", 1, streams=repeats.streams(), seq=seq, prev=self.fold.attempt)
        self.fold.apply(record)
        self.read, self.landed = at, self.landed + gained
        if self.rng.random() < 0.3:
            self.fold = decode(encode(self.fold), "checkpoint")

    def settle(self) -> None:
        for stream in self.streams:
            self.log += [(stream, index) for index in range(stream.acked, len(stream.records)) if index not in stream.rejected]
        while self.read < len(self.log):
            self.load()


@given(st.integers(0, 2**32))
def test_every_line_that_was_sent_lands_once_through_crashes_and_replays(seed: int) -> None:
    world = World(seed)
    for _ in range(40):
        world.rng.choice((world.ship, world.ship, world.load, world.load, world.replay))()
    world.settle()
    sent = {(stream.name, index) for stream, index in world.log}
    assert world.landed == Counter(sent)
    for stream in world.streams:
        intervals = world.fold.streams.get((0, "a", stream.name))
        assert intervals is None or len(list(intervals.landed)) <= 2 * len(stream.rejected) + 1
