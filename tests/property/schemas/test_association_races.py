"""Associations that several registries write at once: all agree, no resource has two subjects, and compaction changes nothing.

One seed decides who writes what he knows to be allowed, who has read how far, and when the log is compacted. A registry repairs
when it has read to the end: then a repair is never late (ADR 0032 says what a late one could do).
"""

import random

import pytest

from headrace.schemas.associations import Association, AssociationKey, Associations
from headrace.schemas.records import read
from tests.sim.harness import first_failing_seed, mutated, run_seeds

Record = tuple[bytes, bytes | None]


class View:
    """One registry's fold of the log, as far as it has read."""

    def __init__(self) -> None:
        self.fold, self.position = Associations(), 0

    def read(self, log: list[Record], up_to: int) -> None:
        for record in log[self.position : up_to]:
            entry = read(*record)
            assert entry is not None
            assert isinstance(entry.key, AssociationKey)
            self.fold.apply(entry.key, entry.body, is_empty=entry.is_empty)
        self.position = max(self.position, up_to)

    def repair(self, log: list[Record]) -> None:
        self.read(log, len(log))
        while record := self.fold.repair():
            log.append(record)
            self.read(log, len(log))


def wanted(rng: random.Random) -> Association:
    key = AssociationKey(rng.choice("xy"), "n", "topic", rng.choice(("key", "value")), rng.choice("abc"))
    return Association(key, f"id-{key.resource_name}", rng.choice(("STRONG", "WEAK")), frozen=False)


def associations_race(rng: random.Random) -> None:
    log: list[Record] = []
    answered: dict[tuple[str, ...], Association] = {}
    whole = View()  # reads each record at once, and writes none
    views = [View() for _ in range(rng.randint(2, 3))]
    for _ in range(rng.randint(10, 40)):
        view, new, action = rng.choice(views), wanted(rng), rng.random()
        bound = view.fold.at(new.key.place)
        if action < 0.5 and view.fold.conflict(new) is None:
            log.append((new.key.encode(), new.encode()))
            whole.read(log, len(log))
            if whole.fold.at(new.key.place) == new:  # so its writer sees when he reads it back
                answered[new.key.place] = new
        elif action < 0.6 and bound is not None:
            log.append((bound.key.encode(), None))
            there = answered.get(bound.key.place)
            if there is not None and there.key == bound.key:
                del answered[bound.key.place]
        elif action < 0.9:
            view.read(log, rng.randint(view.position, len(log)))
        else:
            for one in views:
                one.repair(log)
            whole.read(log, len(log))
            last = {key: number for number, (key, _) in enumerate(log)}
            log[:] = [(key, value) for number, (key, value) in enumerate(log) if last[key] == number and value is not None]
            for one in (*views, whole):
                one.position = len(log)
            check(log, views, answered)


def check(log: list[Record], views: list[View], answered: dict[tuple[str, ...], Association]) -> None:
    again = View()
    again.read(log, len(log))
    assert again.fold.repair() is None
    for view in views:
        view.repair(log)
        assert view.fold.found() == again.fold.found(), "registries disagree, or compaction has changed something"
    found = again.fold.found()
    assert found == [answered[place] for place in sorted(answered)], "what was answered is not what is there"
    assert len({one.key.place for one in found}) == len(found), "a resource has two subjects"
    for one in found:
        shared = [other for other in found if other.key.subject == one.key.subject]
        assert one.lifecycle == "WEAK" or shared == [one], "a subject of a strong association has another"


def test_registries_that_associate_at_once_agree_and_compaction_changes_nothing() -> None:
    run_seeds(associations_race, count=300)


@pytest.mark.parametrize(
    ("function", "guard", "without"),
    [
        ("apply", "found is not None and self.conflict(found) is not None", "False"),
        ("apply", "self._void[key] = None", "pass"),
        ("conflict", "self._places.get(key.place, key) != key", "False"),
        ("conflict", 'others and new.lifecycle == "STRONG"', "False"),
        ("conflict", 'any(one.lifecycle == "STRONG" for one in others)', "False"),
        ("repair", "None if bound is None else bound.encode()", "None"),
    ],
)
def test_a_guard_taken_out_is_noticed(function: str, guard: str, without: str) -> None:
    with mutated(Associations, function, guard, without):
        assert first_failing_seed(associations_race, count=300) is not None
