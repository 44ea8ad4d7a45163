"""A rewind's close that is seen before it is durable: what is done after it outlives a power cut, or is undone with it.

Its writer has put the record, and dies before it is safe. Others load, move and write checkpoints by what they see, or by
folds of before, in any order. Then the power fails. Held under every seed:

    the table has what was told to have landed, and goes on
    each live file is somewhere, and no file is where readers of directories look that is not live
    what says that the rewound generation is the table has its close to rest on
"""

import random
from collections.abc import Callable
from itertools import count

from headrace.sinks.table import commit, generations, names, rewind, upkeep
from headrace.sinks.table.commit import Won, read_head
from headrace.sinks.table.generations import read_generation
from headrace.sinks.table.store import PutIfAbsent, Steps, carry_out
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.table.store import SimStore
from tests.sim.table.test_guards import Clock, close, done, draft, fork, is_whole, load


class Closing:
    """A table that has been rewound, of whose close record only its directory's name is not durable."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.store, self._names = rng, SimStore(), count()
        for _ in range(rng.choice((1, 2))):
            load(self.store, self._name())
        self.landed = carry_out(read_head(), self.store).end(0, 0)
        assert fork(self.store, "back") == 2
        while carry_out(read_generation(2), self.store).end(0, 0) < self.landed:
            load(self.store, self._name(), 2)
        self.beside = carry_out(read_generation(2), self.store)
        """As it is known to one who has not seen the close."""
        self._put_unsafely(rewind.hand_over(close("close"), carry_out(read_generation(2), self.store)))
        self.fold = carry_out(read_head(), self.store)
        """As it is known to one who has."""
        assert (self.fold.generation, self.store.has_unsynced) == (2, True)
        if rng.random() < 0.5:
            self._load_beside()
            self._checkpoint_beside()

    def _name(self) -> str:
        return f"load-{next(self._names)}"

    def _put_unsafely(self, steps: Steps[object]) -> None:
        """Carry steps out up to their put, which is seen by others then, and is not durable; and die."""
        answer: object = None
        while not isinstance(operation := steps.send(answer), PutIfAbsent):
            answer = carry_out(_one(operation), self.store, Clock())
        self.store.begin_put(operation.path, operation.data)
        self._close = operation.path

    def act(self) -> None:
        """Something that anybody may do."""
        acts: tuple[Callable[[], None], ...] = (self._load, self._load_beside, self._checkpoint_beside, self._look, self._tidy)
        self.rng.choice(acts)()

    def _load(self) -> None:
        outcome = done(self.store, draft(self.store, self.fold, self._name()), self.fold)
        self.fold = outcome.fold
        if isinstance(outcome, Won):
            self.landed = self.fold.end(0, 0)

    def _load_beside(self) -> None:
        """By who still takes the generation for one that loads beside the table."""
        outcome = done(self.store, draft(self.store, self.beside, self._name()), self.beside)
        self.beside = outcome.fold

    def _checkpoint_beside(self) -> None:
        carry_out(upkeep.write_checkpoint(self.beside), self.store)

    def _look(self) -> None:
        self.fold = carry_out(read_head(self.rng.choice((self.fold, None))), self.store)

    def _tidy(self) -> None:
        """By who has seen the close: what a loader does after a commit, or at its start."""
        step = self.rng.choice((upkeep.finish_moves, upkeep.write_checkpoint))
        carry_out(step(self.fold), self.store)

    def check(self) -> None:
        """After the power has come back, and somebody has begun as loaders do."""
        head = is_whole(self.store)
        carry_out(upkeep.finish_moves(head), self.store)
        assert head.end(0, 0) >= self.landed, f"{self.landed} had landed, and {head.end(0, 0)} have"
        assert head.generation == 1 or self._close in self.store.files
        in_place = [path for path in self.store.files if not path.startswith(f"{names.HIDDEN}/")]
        assert [path for path in in_place if path not in head.files] == []
        load(self.store, "afterwards")


def _one(operation: object) -> Steps[object]:
    return (yield operation)


def closing(rng: random.Random) -> None:
    world = Closing(rng)
    for _ in range(rng.choice((1, 2, 4, 8))):
        world.act()
    world.store.cut_power(rng)
    world.check()


def test_what_is_done_after_a_close_that_is_not_durable_yet_is_never_half_undone() -> None:
    run_seeds(closing, count=150)


@each_guard(
    (
        generations,
        "_following",
        "following.is_opened, following.follows = True, (*fold.follows, fold.generation)",
        "following.is_opened = True",
    ),
    (commit, "_from_newest_checkpoint", "or fold.is_opened, fold.follows", "or fold.is_opened, ()"),
    (commit, "move_into_place", "yield from sync(fold)", "yield from ()"),
    (upkeep, "finish_moves", "yield from sync(fold)", "yield from ()"),
    (upkeep, "write_checkpoint", "yield from sync(fold)", "yield from ()"),
)
def test_without_a_guard_some_seed_shows_or_takes_away_too_much(guard: Guard) -> None:
    assert guard.is_noticed(closing, count=400)
