"""Several registries on one log: whatever the order, what one has answered holds for all, also after compaction and crashes.

One seed decides who runs when, which records reach whom, which acknowledgement is lost, who dies before its record came back,
what is deleted, softly or for good, and when the log is compacted.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager

import pytest

from headrace.errors import PeerError
from headrace.schemas.refusals import RestError
from headrace.schemas.registry import Registry
from headrace.schemas.schema import Schema
from headrace.schemas.schema_log import LogRecord
from headrace.schemas.settings import Settings
from headrace.schemas.store import SchemaStore
from headrace.schemas.subjects import split
from tests.sim.harness import first_failing_seed, mutated, run_seeds

SUBJECTS = ("a", "b", ":.c:a")
SCHEMAS = [Schema("AVRO", json.dumps({"type": "record", "name": f"R{number}", "fields": []})) for number in range(6)]
TOMBSTONE_STAYS = 3  # compactions


class Answered:
    """What clients were told."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], str] = {}  # (context, id) → identity, for ever
        self.identities: dict[tuple[str, str], int] = {}  # the inverse
        self.versions: dict[tuple[str, int], tuple[int, str]] = {}  # what nobody began to delete for good
        self.deleted: set[tuple[str, int]] = set()  # softly, as was answered
        self.deleting: set[tuple[str, int]] = set()  # softly, as was asked for; then it may go for good at any time
        self.forgotten: dict[tuple[str, int], int] = {}  # how often its deletion for good began

    def registered(self, subject: str, version: int, schema_id: int, identity: str, *, is_new: bool) -> None:
        context = split(subject)[0]
        assert self.ids.setdefault((context, schema_id), identity) == identity, "one id for two schemas"
        assert self.identities.setdefault((context, identity), schema_id) == schema_id, "two ids for one schema"
        place = subject, version
        if not is_new:
            return
        if place not in self.versions:
            self.deleting.discard(place)
        assert self.versions.setdefault(place, (schema_id, identity)) == (schema_id, identity)

    def forget(self, subject: str, version: int) -> None:
        """A version is deleted for good: its number may come again."""
        self.versions.pop((subject, version), None)
        self.deleted.discard((subject, version))
        self.forgotten[subject, version] = self.forgotten.get((subject, version), 0) + 1


class World:
    """The shared log, and one view of it per registry: what is appended reaches a view when the seed says so."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.records: list[LogRecord] = []
        self.next_offset = 0
        self.views: list[View] = []
        self.compactions = 0
        self.tombstones: dict[int, int] = {}  # offset → the compaction that first saw it

    def append(self, key: bytes, value: bytes | None) -> int:
        offset, self.next_offset = self.next_offset, self.next_offset + 1
        self.records.append(LogRecord(offset, key, value))
        return offset

    def compact(self) -> None:
        """Keep the last record of each key, as far as every living registry has read and found nothing to repair."""
        last = {record.key: record.offset for record in self.records}
        self.compactions += 1
        self.records = [record for record in self.records if last[record.key] == record.offset and not self._is_old(record)]

    def _is_old(self, record: LogRecord) -> bool:
        """Whether it is a tombstone that has stayed for long enough."""
        if record.value is not None:
            return False
        return self.compactions - self.tombstones.setdefault(record.offset, self.compactions) >= TOMBSTONE_STAYS

    def replay(self) -> SchemaStore:
        store = SchemaStore()
        for record in self.records:
            store.apply(record.entry)
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
        offset = self.world.append(key, value)
        if self.world.rng.random() < 0.05:
            raise PeerError("the acknowledgement is lost")
        return offset

    async def end_offset(self) -> int:
        return self.world.next_offset

    async def cluster_id(self) -> str:
        return "world"

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
    answered = Answered()
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
    if action < 0.35:
        tasks.append(asyncio.create_task(_register(view, rng.choice(SUBJECTS), rng.choice(SCHEMAS), answered)))
    elif action < 0.5:
        tasks.append(asyncio.create_task(_delete(view, rng, answered)))
    elif action < 0.85:
        view.deliver(rng.randint(view.position, world.next_offset))
    elif action < 0.92 and tasks:
        rng.choice(tasks).cancel()  # its client is gone, or its process: the record may be in the log
    else:
        await _settle(world)
        world.compact()
        View(world)


async def _register(view: View, subject: str, schema: Schema, answered: Answered) -> None:
    was_there = view.registry.store.find(subject, schema)  # it may be deleted meanwhile; its id is for ever
    version = await view.registry.register(subject, schema)
    answered.registered(subject, version.version, version.value.id, schema.identity, is_new=was_there is None)


async def _delete(view: View, rng: random.Random, answered: Answered) -> None:
    subject = rng.choice(SUBJECTS)
    versions = view.registry.store.versions(subject, deleted=True)
    if not versions:
        return
    version = rng.choice(versions)
    if version.value.deleted:
        answered.forget(subject, version.version)
        await view.registry.delete_for_good([version])
        return
    places = [(one.subject, one.version) for one in versions if one.version <= version.version]
    known = {place: answered.forgotten.get(place) for place in places if place in answered.versions}
    answered.deleting |= {(subject, number) for number in range(1, version.version + 1)}
    if rng.random() < 0.5:
        known = {place: times for place, times in known.items() if place == places[-1]}
        await view.registry.delete_version(version)
    else:
        await view.registry.delete_subject(subject, [version])
    answered.deleted |= {place for place, times in known.items() if answered.forgotten.get(place) == times}


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
    for (context, schema_id), identity in answered.ids.items():
        assert {one.schema.identity for one in store.with_id(schema_id, context)} <= {identity}
        assert store.identity_of(f":{context}:", schema_id) == identity, f"{schema_id} of {context} was given and is forgotten"
    for (subject, number), told in answered.versions.items():
        version = store.version(subject, number, deleted=True)
        assert version or (subject, number) in answered.deleting, f"{subject} {number} was answered and is gone"
        assert version is None or (version.value.id, version.schema.identity) == told
    for subject, number in answered.deleted & answered.versions.keys():
        assert store.version(subject, number) is None, f"{subject} {number} was deleted and is back"


def test_what_a_registry_answered_holds_for_all_and_for_ever() -> None:
    with _without_compatibility():
        run_seeds(races, count=300)


RULE = "if taken or rebound or revived:"


@pytest.mark.parametrize(
    ("function", "guard", "without"),
    [
        ("_apply_schema", RULE, "if taken or revived:"),
        ("_apply_schema", RULE, "if rebound or revived:"),
        ("_apply_schema", RULE, "if taken or rebound:"),
        ("_apply_schema", "self._void[key] = value", "pass"),
        ("_apply_schema", "if bound is not None and not bound.value.deleted:", "if False:"),
        ("_apply_spent", "ids.give(schema_id, identity)", "True"),
        ("_unbind", "ids.bare.add(version.value.id)", "pass"),
        ("_apply_deletion", "if number > last:", "if False:"),
    ],
)
def test_a_guard_taken_out_is_noticed(function: str, guard: str, without: str) -> None:
    with _without_compatibility(), mutated(SchemaStore, function, guard, without):
        assert first_failing_seed(races, count=1000) is not None


def _without_compatibility() -> AbstractContextManager[None]:
    """The schemas here differ in name: compatibility would refuse nearly all."""
    return mutated(Settings, "level", "str(self.config_in_force(subject)[LEVEL])", '"NONE"')
