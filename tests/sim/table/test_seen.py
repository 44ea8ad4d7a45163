"""What loaders tell of partitions' ends: readers in between, and loaders that die anywhere, never make it less or untrue."""

import random
from collections.abc import Callable

import pytest

from headrace.sinks.table import names, seen
from headrace.sinks.table.fold import PartitionKey
from headrace.sinks.table.seen import Seen, SeenEnd
from headrace.sinks.table.store import Operation, Put, PutIfAbsent, Steps, carry_out
from tests.sim.harness import mutated
from tests.sim.table.store import SimStore

SEEDS = range(300)


class World:
    """Loaders that share four partitions and tell again and again, and readers; each step of anybody's is one of the store's.

    Some are killed in the middle, and some puts are not answered.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.store = random.Random(seed), SimStore()
        self.clock_ms = 1
        self.true: set[tuple[PartitionKey, SeenEnd]] = set()
        self.told: dict[PartitionKey, int] = {}
        self.put: set[str] = set()
        """Files whose put was answered."""

    def run(self) -> None:
        running: list[tuple[Steps[object], list[object], Callable[[object], None]]] = []
        for number in range(60):
            if self.rng.random() < 0.3 or not running:
                running.append(self._reader() if self.rng.random() < 0.4 else self._loader(f"{number}"))
            which = self.rng.randrange(len(running))
            steps, answers, done = running[which]
            try:
                operation = steps.send(answers.pop() if answers else None)
            except StopIteration as end:
                del running[which]
                done(end.value)
                continue
            answers.append(self._answer(operation))
            if self.rng.random() < 0.03:
                del running[which]  # killed
        last = carry_out(seen.read_seen(), self.store)
        self._check(dict(self.told), last)

    def _answer(self, operation: Operation) -> object:
        if isinstance(operation, PutIfAbsent) and self.rng.random() < 0.1:
            if self.rng.random() < 0.5:
                self.store.put_if_absent(operation.path, operation.data)
            return Put.UNKNOWN
        if isinstance(operation, PutIfAbsent):
            self.put.add(operation.path)
        return carry_out(_only(operation), self.store)

    def _loader(self, name: str) -> tuple[Steps[object], list[object], Callable[[object], None]]:
        self.clock_ms += 1
        incarnation = int(self.clock_ms > 12)
        news = {
            (incarnation, partition): SeenEnd(self.clock_ms * 10, self.clock_ms)
            for partition in self.rng.sample(range(4), self.rng.randint(1, 2))
        }
        self.true |= set(news.items())

        def done(_: object) -> None:
            for key, end in news.items() if f"{names.SEEN}/{name}.json" in self.put else ():
                self.told[key] = max(self.told.get(key, 0), end.at_ms)

        return seen.tell_seen(news, name), [], done

    def _reader(self) -> tuple[Steps[object], list[object], Callable[[object], None]]:
        before = dict(self.told)
        return seen.read_seen(), [], lambda found: self._check(before, found)  # type: ignore[arg-type]

    def _check(self, before: dict[PartitionKey, int], found: Seen) -> None:
        assert set(found.items()) <= self.true, "nobody has said that"
        for (incarnation, partition), at_ms in before.items():
            newer = [end.at_ms for (other, of), end in found.items() if of == partition and other >= incarnation]
            assert newer, f"partition {partition} is not told of any more"
            assert (incarnation, partition) not in found or found[incarnation, partition].at_ms >= at_ms, "it was later before"


def _only(operation: Operation) -> Steps[object]:
    return (yield operation)


@pytest.mark.parametrize("chunk", range(3))
def test_what_was_told_stays_told(chunk):
    for seed in SEEDS[chunk::3]:
        World(seed).run()


def _fails() -> bool:
    for seed in SEEDS:
        try:
            World(seed).run()
        except AssertionError:
            return True
    return False


GUARDS = {
    "a reader looks again for what has gone": ("_files", "if None not in data:", "if True:"),
    "a new file says what the others say": ("tell_seen", "merged(*known.values(), news)", "merged(news)"),
    "nothing is taken away before the new file is there": ("tell_seen", "if answer is Put.CREATED and known:", "if known:"),
    "only what was merged is taken away": ("tell_seen", "Delete(tuple(known))", "Delete(tuple((yield from _files())))"),
    "the later word wins": ("merged", "found[key].at_ms < end.at_ms", "found[key].at_ms > end.at_ms"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_each_guard_is_needed(guard):
    with mutated(seen, *GUARDS[guard]):
        assert _fails(), f"no seed notices: {guard}"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"version":1}', b'{"version":1,"ends":[[0,0,-1,1]]}', b'{"version":9,"ends":[]}', b"[" * 99_999],
)
def test_a_file_that_cannot_be_read_says_nothing(data):
    store = SimStore()
    carry_out(seen.tell_seen({(0, 3): SeenEnd(7, 70)}, "a"), store)
    store.put_if_absent(f"{names.SEEN}/b.json", data)
    assert carry_out(seen.read_seen(), store) == {(0, 3): SeenEnd(7, 70)}
    carry_out(seen.tell_seen({(0, 4): SeenEnd(8, 80)}, "c"), store)
    assert carry_out(seen.read_seen(), store) == {(0, 3): SeenEnd(7, 70), (0, 4): SeenEnd(8, 80)}
    assert f"{names.SEEN}/b.json" in store.files, "what is not understood is not taken away"
