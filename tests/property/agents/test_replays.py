"""A replay that is killed between any two of its steps: the same bytes again, and each record counted once."""

import random
import sqlite3
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from headrace.agents.events.encoded import Tally
from headrace.agents.replays import Name, Replay, Replays
from headrace.agents.state_tables import bring_up
from headrace.agents.windows import ChunkResult, Windows

TOPIC, WINDOWS_MS = "orders", (600_000, 1_200_000)


class KilledError(Exception):
    """The process ends here."""


class World:
    """A state with rejected records, some of them events, and a log; the schema changes between two replays."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        bring_up(self.db, 0)
        self.names: list[Name] = [(TOPIC, "s-1", 10 * number, 0) for number in range(self.rng.randrange(1, 12))]
        self.window_of = {name: self.rng.choice(WINDOWS_MS) for name in self.names}
        self.events = {name for name in self.names if self.rng.random() < 0.5}
        self.rejected = list(self.names)
        self.log: list[tuple[Name, bytes]] = []
        self.schema = 0
        for name in self.names:
            Windows(self.db).count(ChunkResult(TOPIC, 0, 0, {}, {self.window_of[name]: 1}, 0))

    def may_be_killed(self) -> None:
        if self.rng.random() < 0.2:
            raise KilledError

    def made(self, name: Name) -> Replay:
        start_ms = self.rng.choice(WINDOWS_MS)
        gains = {start_ms: Tally(1, 7, 1 << 60 | name[2])} if name in self.events else {}
        return Replay(name, 0, 5, self.window_of[name], [("position", str(name[2]))], gains, b"schema %d" % self.schema)

    def replay(self) -> None:
        """As operate/replaying.py does, step by step."""
        replays = Replays(self.db)
        while todo := [name for name in self.rejected if not replays.is_done(name)]:
            batch = [replays.find(name) or self.made(name) for name in todo[: self.rng.randrange(1, 4)]]
            self.may_be_killed()
            replays.begin(batch)
            acknowledged = []
            for each in batch:
                self.may_be_killed()
                self.log.append((each.name, each.value))
                acknowledged.append((each, len(self.log) - 1))
            self.may_be_killed()
            replays.settle(acknowledged, [])
        for topic in replays.topics_done():
            done = replays.done(topic)
            self.may_be_killed()
            self.rejected = [name for name in self.rejected if name not in done]
            self.may_be_killed()
            replays.forget(done)


@given(st.integers(0, 2**32))
def test_each_record_is_sent_with_one_content_and_counted_once_wherever_replays_are_killed(seed: int) -> None:
    world = World(seed)
    while world.rejected:
        try:
            world.replay()
        except KilledError:
            world.schema += 1
    contents = defaultdict(set)
    for name, value in world.log:
        contents[name].add(value)
    assert {name: len(found) for name, found in contents.items()} == dict.fromkeys(world.names, 1)
    rows = Windows(world.db).unsaid(10)
    assert sum(row.rejected for row in rows) == 0
    assert sum(row.count for row in rows) == len(world.events)
    assert sum(row.bytes_total for row in rows) == 7 * len(world.events)
    assert sum(row.content_hash for row in rows) % 2**64 == sum(1 << 60 | name[2] for name in world.events) % 2**64


def test_a_record_that_is_refused_again_is_made_anew_the_next_time() -> None:
    world = World(7)
    replays, first = Replays(world.db), world.made(world.names[0])
    replays.begin([first])
    assert replays.find(first.name) == first
    replays.settle([], [first])
    assert replays.find(first.name) is None
    assert not replays.is_done(first.name)
