"""The spool and the core that reads it, on a disk that forgets what was not synced, among crashes at any step.

Held under every seed: what a pusher was answered for is delivered, in order, or was counted as dropped, exactly; an identity
never has two contents (so no number is given twice); positions move over delivered chunks only, without holes, and each chunk
is counted once; a claim of completeness is true. Where the disk itself rots, what cannot be delivered is told as lost.
"""

import contextlib
import random
from collections.abc import Generator
from typing import Any

import pytest

from headrace.agents.budget import Budget
from headrace.agents.effects import Advance, Forget, Input, Lost, Note, Now, ReadSpool, Save, SendRecords
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.flight import Completeness, Flight
from headrace.agents.run import Run
from headrace.agents.sources.intake import Pushed
from headrace.agents.spool.frames import encode_frame
from headrace.agents.spool.log import SpoolLog
from headrace.agents.spool.reader import SpoolReader, SpoolSeen
from headrace.agents.tail.reading import Limits
from headrace.errors import StorageError
from tests.sim.harness import first_failing_seed, mutated, run_seeds
from tests.sim.spool.world import CrashedError, Rows, SpoolDisk
from tests.sim.tailer.world import BASE_MS, Broker, Sent

MARK = b"\x89ours!\r\n"
PATH = "spool:app@logs"


class Simulation:
    """One agent's life, several times, with one spool."""

    def __init__(self, rng: random.Random, *, rots: bool) -> None:
        self.rng = rng
        self.disk = SpoolDisk(rng)
        self.rows = Rows()
        self.broker = Broker()
        self.rot_rate = rng.choice((0.01, 0.05)) if rots else 0.0
        self.crash_rate = rng.choice((0.0, 0.01, 0.05))
        self.refuse_rate = rng.choice((0.0, 0.0, 0.1))
        self.drops = rng.random() < 0.5
        self.max_bytes = rng.choice((600, 3000, 100_000))
        self.segment_bytes = rng.choice((150, 400, 5000))
        self.limits = Limits(chunk_bytes=rng.choice((30, 200, 4096)), chunk_lines=rng.choice((1, 3, 50)))
        self.split_bytes = rng.choice((16, 4096))
        self.now_ms = 0
        self.count = 0
        self.healing = False
        self.answered: list[tuple[int, bytes]] = []  # when, and what, of lines whose pusher was answered
        self.dropped: list[bytes] = []
        self.rotted = self.cut = False
        self.disk.step = self.step
        self.log = self.reader = None  # type: ignore[assignment]
        self.begin()

    # ---- the world

    def now(self) -> Now:
        return Now(self.now_ms, BASE_MS + self.now_ms)

    def step(self) -> None:
        if not self.healing and self.rng.random() < self.crash_rate:
            raise CrashedError

    def begin(self) -> None:
        """The agent starts; it may end, or be refused, within its start."""
        while True:
            try:
                self.start()
            except (CrashedError, StorageError):
                self.crash()
                continue
            return

    def crash(self) -> None:
        if self.rng.random() < 0.7:
            self.disk.lose_power()
        self.rows.pending.clear()
        for sent in self.broker.under_way:  # what a dead producer had on the wire may still arrive
            while sent.appended < len(sent.values) and self.rng.random() < 0.7:
                self.broker.append(sent)
        self.broker.under_way = []

    def start(self) -> None:
        rng = self.rng
        self.disk.refuse_rate = 0.0 if self.healing else self.refuse_rate
        row = next(iter(self.rows.streams.values()), None)
        ends = [chunk.end for chunk in self.rows.chunks.values()]
        least_end = max([row.size_seen, *ends]) if row is not None else 0
        self.log = SpoolLog(
            self.disk, MARK, segment_bytes=self.segment_bytes, max_bytes=self.max_bytes, least_end=least_end
        )  # fmt: skip
        self.cut = self.cut or (self.rotted and self.log.cut_bytes > 0)
        if row is not None:
            self.log.release(row.position)
        self.reader = SpoolReader(
            self.rows.streams.values(),
            self.rows.chunks.values(),
            Run(
                "h",
                mint=lambda: f"{rng.getrandbits(64):016x}",
                place=lambda _, stream_id: int(stream_id, 16) % 3,
                ready=lambda _: True,
                once=False,
                budget=Budget(self.limits),
                started=self.now(),
            ),
        )

    def pushed(self) -> list[Pushed]:
        lines = []
        for _ in range(self.rng.choice((1, 1, 3, 9))):
            self.count += 1
            body = bytes(self.rng.choice(b"abc \xc3\xa9\xff\r\0\n") for _ in range(self.rng.choice((0, 5, 40))))
            host = self.rng.choice((None, "elsewhere"))
            fields = self.rng.choice(({}, {"facility": "mail"}))
            received_ms = BASE_MS + self.now_ms - self.rng.choice((0, 0, 5000))
            time_us = self.rng.choice((None, received_ms * 1000 - 7))
            line = b"%d:" % self.count + body
            lines.append(Pushed(line, received_ms, "test:", host, None, time_us, fields, cursor=str(self.count)))
        return lines

    # ---- what the agent does

    def push(self) -> None:
        """One commit: answered once it is durable, or dropped and counted."""
        pushed = self.pushed()
        frame = encode_frame(MARK, self.log.end, pushed, service="app")
        if not self.log.has_room(len(frame)):
            if self.drops:
                self.step()
                self.dropped.extend(each.line for each in pushed)  # one transaction of the agent's state
            return
        try:
            self.log.append(frame, pushed[-1].cursor)
        except StorageError:
            return  # its pusher is not answered
        self.answered.extend((self.now_ms, each.line) for each in pushed)

    def carry_out(self, steps: Generator[Any, Any, Any]) -> Any:
        answer: Any = None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration as end:
                return end.value
            self.step()
            answer = self.do(effect)

    def do(self, effect: Any) -> Any:
        match effect:
            case ReadSpool():
                return self.log.read(
                    effect.start,
                    most_lines=effect.most_lines,
                    most_bytes=effect.most_bytes,
                    most_beside_bytes=effect.most_beside_bytes,
                    most_ms=effect.most_ms,
                )
            case Save():
                self.rows.pending.append(effect)
                self.flush()
            case Advance():
                for chunk, sent in zip(effect.chunks, effect.results, strict=True):
                    assert isinstance(sent, Sent), "a position passed a chunk that was not acknowledged"
                    assert (sent.chunk, sent.appended) == (chunk, len(sent.values))
                self.rows.pending.append(effect)
            case Lost():
                assert self.rotted, "a loss was told, and nothing was lost"
                self.rows.pending.append(effect)
            case Forget():
                assert self.rotted, "a stream was given up, and its spool is whole"
                self.rows.pending.append(effect)
            case SendRecords():
                kept = self.rows.chunks.get((effect.chunk.stream_id, effect.chunk.start))
                assert kept == effect.chunk, "sent before it was durable"
                encoded = ChunkEncoder("agent", b"\0\0\0\0\1").encode_records(effect.stream, effect.chunk, effect.records)
                self.broker.under_way.append(Sent(effect.stream, effect.chunk, encoded.values, encoded.shipped))
                return encoded.shipped
            case Note():
                pass
        return None

    def flush(self) -> None:
        for row in self.rows.flush():
            with contextlib.suppress(StorageError):
                self.log.release(row.position)

    def seen(self) -> SpoolSeen:
        source = Input("logs", service="app", split_bytes=self.split_bytes)
        return SpoolSeen(PATH, "id", source, self.log.first, self.log.end)

    def broker_turn(self) -> None:
        for sent in list(self.broker.under_way):
            while sent.appended < len(sent.values) and (self.healing or self.rng.random() < 0.8):
                self.broker.append(sent)
            if sent.appended == len(sent.values) and (self.healing or self.rng.random() < 0.7):
                self.broker.under_way.remove(sent)
                self.carry_out(self.reader.delivered(sent.chunk.stream_id, sent.chunk.start, sent))

    def turn(self) -> None:
        self.now_ms += self.rng.randint(1, 300)
        what = self.rng.random()
        try:
            if what < 0.4:
                self.push()
            elif what < 0.55:
                self.carry_out(self.reader.look(self.now(), [self.seen()]))
            elif what < 0.75:
                self.carry_out(self.reader.read(self.now()))
            elif what < 0.9:
                self.broker_turn()
            elif what < 0.97:
                self.flush()
            elif self.rng.random() < self.rot_rate * 10 and self.disk.rot():
                self.rotted = True
                raise CrashedError
            elif self.rng.random() < 0.3:
                raise CrashedError
        except CrashedError:
            self.crash()
            self.begin()
        self.check_claim()

    # ---- what is held

    def delivered(self) -> list[bytes]:
        """Whole lines, put together from their parts, in the order of their numbers."""
        lines: list[bytes] = []
        for stream_id, position, part in sorted(self.broker.events):
            event = self.broker.events[stream_id, position, part]
            data = event["message"].encode(event["encoding"])
            if part:
                lines[-1] += data
            else:
                lines.append(data)
        return lines

    def check_claim(self) -> None:
        claim = self.reader.complete_at()
        if claim is None or self.rotted:
            return
        delivered = set(self.delivered())
        for answered_ms, line in self.answered:
            assert answered_ms > claim.monotonic_ms or line in delivered, f"claimed complete, missing {line!r}"

    def heal(self) -> None:
        """Nobody pushes and nothing crashes any more: everything must arrive."""
        self.healing = True
        self.disk.refuse_rate = 0.0
        for _ in range(3000):
            self.now_ms += 1000
            self.carry_out(self.reader.look(self.now(), [self.seen()]))
            more = self.carry_out(self.reader.read(self.now()))
            self.broker_turn()
            self.flush()
            claim = self.reader.complete_at()
            if not more and claim is not None and self.reader.has_read([self.seen()]):
                return
        raise AssertionError("what is in the spool does not arrive")

    def check_end(self) -> None:
        delivered = self.delivered()
        answered = [line for _, line in self.answered]
        if self.rotted:
            missing = [line for line in answered if line not in set(delivered)]
            # The last frame, destroyed before anything of it was sent, looks like a write that nobody was answered for.
            assert not missing or self.rows.lost or self.cut, f"{missing} did not arrive, and nothing was told as lost"
            return
        assert [line for line in delivered if line in set(answered)] == answered, "not all that was answered for, in order"
        assert len(set(delivered)) == len(delivered), "a line was delivered under two identities"
        assert not set(self.dropped) & set(delivered), "a line was counted as dropped, and delivered"
        assert len(set(self.rows.counted)) == len(self.rows.counted), "a chunk was counted twice"
        assert not self.rows.chunks


def spool_delivers_what_it_answered_for(rng: random.Random) -> None:
    simulation = Simulation(rng, rots=False)
    for _ in range(rng.randint(20, 250)):
        simulation.turn()
    simulation.heal()
    simulation.check_end()


def rotten_spool_tells_what_it_lost(rng: random.Random) -> None:
    simulation = Simulation(rng, rots=True)
    for _ in range(rng.randint(20, 250)):
        simulation.turn()
    simulation.heal()
    simulation.check_end()


def test_what_was_answered_for_is_delivered_in_order_by_one_identity() -> None:
    run_seeds(spool_delivers_what_it_answered_for, count=150)


def test_what_a_rotten_disk_destroyed_is_told_and_the_rest_is_delivered() -> None:
    run_seeds(rotten_spool_tells_what_it_lost, count=150)


@pytest.mark.parametrize(
    ("target", "function", "guard", "without"),
    [
        (SpoolLog, "append", "self._files.sync(last.name)", "pass"),
        (SpoolLog, "append", "self._mend()", "pass"),
        (SpoolLog, "_begin", "self._files.sync_folder()", "pass"),
        (SpoolLog, "_recover", "self._files.sync(last.name)", "pass"),
        (SpoolLog, "_drop_released", "self._segments[1].base > self._released", "False"),
        (Flight, "delivered", "while self.chunks and self.chunks[0].delivered:", "while self.chunks:"),
        (Completeness, "settle", "while self._marks and self._marks[0].position <= position:", "while self._marks:"),
        (SpoolReader, "read", "yield Save(", "yield Note('', ''), ("),
    ],
)
def test_a_guard_taken_out_is_noticed(target: Any, function: str, guard: str, without: str) -> None:
    with mutated(target, function, guard, without):
        assert first_failing_seed(spool_delivers_what_it_answered_for, count=300) is not None


@pytest.mark.parametrize(
    ("target", "function", "guard", "without"),
    [
        (SpoolLog, "_open", "self.end = max(self.end, least_end)", "pass"),
        (SpoolLog, "_next_frame", "if is_whole(data, head):", "if True:"),
        (SpoolReader, "_pass_hole", "yield Lost(stream.row, hole.size_bytes, stream.last_ms, now.wall_ms)", "pass"),
    ],
)
def test_a_guard_against_a_rotten_disk_taken_out_is_noticed(target: Any, function: str, guard: str, without: str) -> None:
    with mutated(target, function, guard, without):
        assert first_failing_seed(rotten_spool_tells_what_it_lost, count=300) is not None
