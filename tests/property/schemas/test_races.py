"""Several registries on one log: whatever the order, what one has answered holds for all, also after compaction and crashes.

One seed decides who runs when, which records reach whom, who dies before its record came back, and when the log is compacted.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager

from headrace.schemas.compatibility import parse
from headrace.schemas.registry import LogRecord, Registry, RestError
from headrace.schemas.store import SchemaStore
from tests.sim.harness import first_failing_seed, mutated, run_seeds

SUBJECTS = ("a", "b")
SCHEMAS = [json.dumps({"type": "record", "name": f"R{number}", "fields": []}) for number in range(6)]

Answered = dict[tuple[str, int], tuple[int, str]]


class World:
    """The shared log, and one view of it per registry: what is appended reaches a view when the seed says so."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.records: list[LogRecord] = []
        self.next_offset = 0
        self.views: list[View] = []

    def append(self, key: bytes, value: bytes | None) -> int:
        offset, self.next_offset = self.next_offset, self.next_offset + 1
        self.records.append(LogRecord(offset, key, value))
        return offset

    def compact(self) -> None:
        """Keep the last record of each key, as far as every living registry has read and found nothing to repair."""
        last = {record.key: record.offset for record in self.records}
        self.records = [record for record in self.records if last[record.key] == record.offset]

    def replay(self) -> SchemaStore:
        store = SchemaStore()
        for record in self.records:
            store.apply(record.key, record.value)
        return store


class View:
    """The log as one registry sees it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.position = 0
        self.registry = Registry(self)
        world.views.append(self)
        self.deliver(world.next_offset)

    async def append(self, key: bytes, value: bytes | None) -> int:
        for _ in range(self.world.rng.randrange(4)):
            await asyncio.sleep(0)
        return self.world.append(key, value)

    async def end_offset(self) -> int:
        return self.world.next_offset

    def deliver(self, up_to: int) -> None:
        ready: Sequence[LogRecord] = [one for one in self.world.records if self.position <= one.offset < up_to]
        self.position = max(self.position, up_to)
        self.registry.on_records(ready)
        if self.position == self.world.next_offset:
            self.registry.on_end(self.position)


def races(rng: random.Random) -> None:
    asyncio.run(_races(rng))


async def _races(rng: random.Random) -> None:
    world = World(rng)
    answered: Answered = {}
    tasks: list[asyncio.Task[None]] = []
    for _ in range(rng.randint(2, 3)):
        View(world)
    for _ in range(rng.randint(5, 40)):
        await _step(world, answered, tasks)
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
    await _settle(world)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert outcome is None or isinstance(outcome, asyncio.CancelledError | RestError), outcome
    await _settle(world)
    _check(world.replay(), answered)
    world.compact()
    _check(world.replay(), answered)
    for view in world.views:
        _check(view.registry.store, answered)


async def _step(world: World, answered: Answered, tasks: list[asyncio.Task[None]]) -> None:
    rng, view = world.rng, world.rng.choice(world.views)
    action = rng.random()
    if action < 0.45:
        tasks.append(asyncio.create_task(_register(view, rng.choice(SUBJECTS), rng.choice(SCHEMAS), answered)))
    elif action < 0.85:
        view.deliver(rng.randint(view.position, world.next_offset))
    elif action < 0.93 and tasks:
        rng.choice(tasks).cancel()  # its client is gone, or its process: the record may be in the log
    else:
        await _settle(world)
        world.compact()
        View(world)


async def _register(view: View, subject: str, schema: str, answered: Answered) -> None:
    parsed = parse(schema)
    version = await view.registry.register(subject, parsed)
    answer = (version.value.id, parsed.identity)
    assert answered.setdefault((subject, version.version), answer) == answer


async def _settle(world: World) -> None:
    """Let every registry read on and finish what it is doing."""
    quiet = 0
    while quiet < 20:
        end = world.next_offset
        for view in world.views:
            view.deliver(end)
        await asyncio.sleep(0)
        quiet = quiet + 1 if world.next_offset == end else 0


def _check(store: SchemaStore, answered: Answered) -> None:
    assert store.repair() is None
    for (subject, number), (schema_id, identity) in answered.items():
        version = store.version(subject, number)
        assert version is not None, f"{subject} {number} was answered and is gone"
        assert (version.value.id, version.identity) == (schema_id, identity)
        assert {one.identity for one in store.with_id(schema_id)} == {identity}


def test_what_a_registry_answered_holds_for_all_and_for_ever() -> None:
    with _without_compatibility():
        run_seeds(races, count=300)


def test_a_rebound_version_would_be_noticed() -> None:
    with _without_compatibility(), mutated(SchemaStore, "_apply_schema", "if taken or rebound:", "if taken:"):
        assert first_failing_seed(races, count=300) is not None


def test_an_id_given_twice_would_be_noticed() -> None:
    with _without_compatibility(), mutated(SchemaStore, "_apply_schema", "if taken or rebound:", "if rebound:"):
        assert first_failing_seed(races, count=300) is not None


def test_a_void_record_left_for_compaction_would_be_noticed() -> None:
    with _without_compatibility(), mutated(SchemaStore, "_apply_schema", "self._void[key] = value", "pass"):
        assert first_failing_seed(races, count=300) is not None


def _without_compatibility() -> AbstractContextManager[None]:
    """The schemas here differ in name: compatibility would refuse nearly all."""
    return mutated(SchemaStore, "effective_level", "or DEFAULT_LEVEL", 'or "NONE"')
