"""Power loss under the broker itself: what a Produce request was told survives, with acks=1 as with acks=-1.

The broker's shell (the Produce handler, appends, the flusher with its group commit, maintenance) runs on a simulated disk and
a loop of its own. Its executor runs a job only when the scenario says so, so that requests come while fsyncs are under way, and
power is cut between any two steps, or in the middle of one. After the cut, the next broker's logs are compared with the
answers.

Topic `each` has flush.messages=1, so that every acknowledged record is durable; `third` has flush.messages=3: with acks=1 at
most two acknowledged records may be lost, the newest ones, as with Kafka, and what consumers saw never is.
Source: Kafka's UnifiedLog.append (flush within the append), design D3.
"""

import asyncio
import contextlib
import random
import struct
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.broker import unhurried
from headrace.broker.broker import Broker
from headrace.broker.config import BrokerConfig
from headrace.broker.flushing import Flusher
from headrace.broker.handlers.api import Encoded, RequestContext
from headrace.broker.handlers.produce import PRODUCE
from headrace.broker.log.directories import LogDirectories
from headrace.broker.log.directory import LogDirectoryConfig
from headrace.broker.log.partition_log import PartitionLog
from headrace.broker.log.record import Record, build_batch, records
from headrace.broker.log.sync import PartitionSync
from headrace.broker.security.access import EverybodyMay
from headrace.broker.session import Session
from headrace.clock import MonotonicMs, WallMs
from tests.memory_store import MemoryStore
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.log.disk import PowerCutError, SimDisk

START_MS = 1_700_000_000_000
PATH = "/data/logs"
FLUSH_MESSAGES = {"each": 1, "third": 3}
CONFIG = LogDirectoryConfig(node_id=1, cluster_id="sim", flush_checkpoint_interval_ms=3_000)
SESSION = Session("PLAINTEXT", ("127.0.0.1", 9092), "127.0.0.1", EverybodyMay())
CONTEXT = RequestContext(3, False, "sim", SESSION, started_ns=0)


@pytest.fixture(autouse=True)
def _rests_after_every_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unhurried, "AT_A_TIME", 1)


class Jobs(Executor):
    """Runs what it is given when it is told to, in any order."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run_one(self) -> None:
        if self._waiting:
            future, job = self._waiting.pop(self._rng.randrange(len(self._waiting)))
            future.set_result(job())


class Time:
    """A clock that the scenario moves."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def wall_ms(self) -> WallMs:
        return WallMs(self.now_ms)

    def monotonic_ms(self) -> MonotonicMs:
        return MonotonicMs(self.now_ms)


@dataclass
class Sent:
    """A batch and what became of it."""

    topic: str
    acks: int
    values: list[bytes]
    batch: bytes
    asked: list["asyncio.Future[Encoded] | Encoded"] = field(default_factory=list)  # several, where it was sent again

    @property
    def base_offset(self) -> int | None:
        """As it was told, whichever request told it; None before."""
        told = [offset_told(each if isinstance(each, Encoded) else each.result()) for each in self.asked if is_answered(each)]
        return next((offset for offset in told if offset is not None), None)


def is_answered(asked: "asyncio.Future[Encoded] | Encoded") -> bool:
    return isinstance(asked, Encoded) or (asked.done() and not asked.cancelled() and asked.exception() is None)


def offset_told(answer: Encoded) -> int | None:
    """The base offset in a Produce v3 answer of one partition; None where it is an error."""
    body = b"".join(map(bytes, answer.parts))
    (length,) = struct.unpack_from(">h", body, 4)
    _, error, base_offset, _ = struct.unpack_from(">ihqq", body, 4 + 2 + length + 4)
    return base_offset if error == 0 else None


class World:
    """One broker's life, until the power is cut."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.disk, self.time, self.jobs = rng, SimDisk(rng), Time(), Jobs(rng)
        self.disk.make_directory("/data")
        self.disk.sync_directory("/")
        self.sent: list[Sent] = []
        self.seen: dict[str, dict[int, bytes]] = {"each": {}, "third": {}}  # what a consumer read, by offset
        self.sequences = {"each": 0, "third": 0}

    async def live(self) -> None:
        """Begin on an empty disk, then do anything at any time; ends with the power."""
        logs = LogDirectories.open(self.disk, [PATH], CONFIG, self.time.now_ms)
        broker = Broker(BrokerConfig.model_validate({}), self.time, MemoryStore(), logs, {}, self.jobs)
        for name, messages in FLUSH_MESSAGES.items():
            making = asyncio.ensure_future(make(broker, name, messages))
            while not making.done():
                await self.turn()
                self.jobs.run_one()
            making.result()
        maintaining: asyncio.Future[None] | None = None
        self.disk.crash_after(self.rng.randint(1, 80))
        for _ in range(400):
            act = self.rng.random()
            if act < 0.4:
                self.produce(broker, self.batch())
            elif act < 0.5 and self.sent:
                self.produce(broker, self.sent[-1])  # again: its answer was lost on the way
            elif act < 0.75:
                self.jobs.run_one()
            elif act < 0.9:
                await self.turn()
            elif act < 0.95:
                self.read(broker)
            elif maintaining is None or maintaining.done():
                maintaining = asyncio.ensure_future(broker.maintain())
            self.time.now_ms += self.rng.randint(0, 400)
        raise PowerCutError

    async def turn(self) -> None:
        """Let the loop do what it has to do."""
        for _ in range(self.rng.randint(1, 6)):
            await asyncio.sleep(0)

    def batch(self) -> Sent:
        topic, acks = self.rng.choice(["each", "third"]), self.rng.choice([1, 1, -1])
        first = sum(len(sent.values) for sent in self.sent)
        values = [b"%d" % (first + at) for at in range(self.rng.randint(1, 2))]
        content = [Record(b"k", value, START_MS) for value in values]
        batch = build_batch(content, producer_id=5, producer_epoch=0, base_sequence=self.sequences[topic])
        self.sequences[topic] += len(values)
        self.sent.append(Sent(topic, acks, values, batch))
        return self.sent[-1]

    def produce(self, broker: Broker, sent: Sent) -> None:
        data = SimpleNamespace(index=0, records=sent.batch)
        asked: Any = PRODUCE.handle(broker, CONTEXT, request(sent.topic, sent.acks, data))
        sent.asked.append(asked if isinstance(asked, Encoded) else asyncio.ensure_future(asked))

    def read(self, broker: Broker) -> None:
        for name, seen in self.seen.items():
            log = broker.logs.get(name, 0)
            assert log is not None
            seen.update(read_all(log))

    def compare(self) -> None:
        """The next broker against what was told: nothing told is missing or elsewhere, and no value is there twice."""
        logs = LogDirectories.open(self.disk.crashed(), [PATH], CONFIG, self.time.now_ms, overrides={
            name: {"flush.messages": str(messages)} for name, messages in FLUSH_MESSAGES.items()
        })  # fmt: skip
        for name in FLUSH_MESSAGES:
            log = logs.get(name, 0)
            assert log is not None, f"topic {name} is gone"
            stored = read_all(log)
            assert len(set(stored.values())) == len(stored), "a record is there twice"
            for offset, value in self.seen[name].items():
                assert stored.get(offset) == value, f"{name}: a consumer had seen offset {offset}"
            self._compare_answers(name, stored)

    def _compare_answers(self, name: str, stored: dict[int, bytes]) -> None:
        lost = 0
        for sent in self.sent:
            base_offset = sent.base_offset
            if sent.topic != name or base_offset is None:
                continue
            missing = sum(stored.get(base_offset + at) != value for at, value in enumerate(sent.values))
            assert sent.acks == 1 or not missing, f"{name}: lost what acks=-1 was told of, offset {base_offset}"
            lost += missing
        assert lost < FLUSH_MESSAGES[name], f"{name}: {lost} acknowledged records lost"


def read_all(log: PartitionLog) -> dict[int, bytes]:
    """Every value that consumers may see, by offset."""
    values: dict[int, bytes] = {}
    offset = log.log_start_offset
    while data := log.read(offset, 1 << 20).records:
        values.update({record.offset: record.value or b"" for record in records(data)})
        offset = max(values) + 1
    return values


def request(topic: str, acks: int, data: SimpleNamespace) -> SimpleNamespace:
    topics = (SimpleNamespace(name=topic, partition_data=(data,)),)
    return SimpleNamespace(acks=acks, transactional_id=None, timeout=timedelta(seconds=60), topic_data=topics)


async def make(broker: Broker, name: str, messages: int) -> None:
    async with broker.topics.changes:
        await broker.topics.create(name, 1, {"flush.messages": str(messages), "segment.bytes": "400"})


async def cancel_all() -> None:
    """End what the scenario has left, and what that begins."""
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def power_loss(rng: random.Random) -> None:
    world = World(rng)
    loop = asyncio.new_event_loop()
    try:
        with contextlib.suppress(PowerCutError):
            loop.run_until_complete(world.live())
        world.compare()
    finally:
        loop.run_until_complete(cancel_all())
        loop.close()


def test_what_was_acknowledged_survives_power_loss() -> None:
    run_seeds(power_loss, count=150)


@pytest.mark.parametrize(
    ("target", "name", "old", "new"),
    [
        (PartitionLog, "answerable_from", "last_offset + 2 -", "last_offset + 1 -"),
        (PartitionLog, "_synced", "= step.end_offset, step.limit", "= self.log_end_offset, step.limit"),
        (PartitionSync, "run", "file.sync()", "file.size()"),
        (
            Flusher,
            "_sync",
            "await asyncio.get_running_loop().run_in_executor(self._executor, step.run)",
            "await asyncio.sleep(0)",
        ),
    ],
    ids=["acks=1 waits for the fsync", "what came later waits for the next one", "files are synced", "the fsync is waited for"],
)
def test_a_guard_taken_out_is_noticed(target: type, name: str, old: str, new: str) -> None:
    with mutated(target, name, old, new):
        assert first_failing_seed(power_loss, count=300) is not None
