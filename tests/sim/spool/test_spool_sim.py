"""The spool and the core that reads it, on a disk that forgets what was not synced, among crashes at any step.

Held under every seed: what a pusher was answered for is delivered, in order, or was counted as dropped, exactly; an identity
never has two contents (so no number is given twice); positions move over delivered chunks only, without holes, and each chunk
is counted once; a claim of completeness is true. Where the disk itself rots, what cannot be delivered is told as lost.
"""

import contextlib
import random
from typing import Any

from headrace.agents.effects import Advance, Forget, Input, Lost, Now, ReadSpool
from headrace.agents.flight import Completeness, Flight
from headrace.agents.sources.intake import Pushed
from headrace.agents.spool.frames import encode_frame
from headrace.agents.spool.log import SpoolLog
from headrace.agents.spool.reader import SpoolReader, SpoolSeen
from headrace.agents.tail.reading import Limits
from headrace.errors import StorageError
from tests.sim.agent_life import CrashedError, Life
from tests.sim.harness import Guard, each_guard, run_seeds
from tests.sim.spool.world import SpoolDisk
from tests.sim.tailer.world import BASE_MS

MARK = b"\x89ours!\r\n"
PATH = "spool:app@logs"


class Simulation(Life):
    """One agent's life, several times, with one spool."""

    core: SpoolReader

    def __init__(self, rng: random.Random, *, rots: bool) -> None:
        super().__init__(rng)
        self.folder = SpoolDisk(rng)
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
        self.answered: list[tuple[int, bytes]] = []  # when, and what, of lines whose pusher was answered
        self.dropped: list[bytes] = []
        self.rotted = self.cut = False
        self.told = 0  # losses, durably
        self.folder.step = self.crash_point
        self.begin()

    # ---- the world

    def now(self) -> Now:
        return Now(self.now_ms, BASE_MS + self.now_ms)

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
            self.folder.lose_power()
        self.end()

    def start(self) -> None:
        self.folder.refuse_rate = 0.0 if self.healing else self.refuse_rate
        row = next(iter(self.disk.streams.values()), None)
        ends = [chunk.end for chunk in self.disk.chunks.values()]
        least_end = max([row.size_seen, *ends]) if row is not None else 0
        self.log = SpoolLog(
            self.folder, MARK, segment_bytes=self.segment_bytes, max_bytes=self.max_bytes, least_end=least_end
        )  # fmt: skip
        self.cut = self.cut or (self.rotted and self.log.cut_bytes > 0)
        if row is not None:
            self.log.release(row.position)
        self.core = SpoolReader(self.disk.streams.values(), self.disk.chunks.values(), self.run())

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
                self.crash_point()
                self.dropped.extend(each.line for each in pushed)  # one transaction of the agent's state
            return
        try:
            self.log.append(frame, pushed[-1].cursor)
        except StorageError:
            return  # its pusher is not answered
        self.answered.extend((self.now_ms, each.line) for each in pushed)

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
            case Lost():
                assert self.rotted, "a loss was told, and nothing was lost"
            case Forget():
                assert self.rotted, "a stream was given up, and its spool is whole"
        return super().do(effect)

    def flush(self) -> None:
        moved = [effect for effect in self.disk.pending if isinstance(effect, Advance | Lost)]
        super().flush()
        self.told += sum(isinstance(effect, Lost) for effect in moved)
        for effect in moved:
            with contextlib.suppress(StorageError):
                self.log.release(effect.stream.position)

    def seen(self) -> SpoolSeen:
        source = Input("logs", service="app", split_bytes=self.split_bytes)
        return SpoolSeen(PATH, "id", source, self.log.first, self.log.end)

    def turn(self) -> None:
        self.now_ms += self.rng.randint(1, 300)
        what = self.rng.random()
        try:
            if what < 0.4:
                self.push()
            elif what < 0.55:
                self.carry_out(self.core.look(self.now(), [self.seen()]))
            elif what < 0.75:
                self.carry_out(self.core.read(self.now()))
            elif what < 0.9:
                self.broker_turn()
            elif what < 0.97:
                self.flush()
            elif self.rng.random() < self.rot_rate * 10 and self.folder.rot():
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
        claim = self.core.complete_at()
        if claim is None or self.rotted:
            return
        delivered = set(self.delivered())
        for answered_ms, line in self.answered:
            assert answered_ms > claim.monotonic_ms or line in delivered, f"claimed complete, missing {line!r}"

    def heal(self) -> None:
        """Nobody pushes and nothing crashes any more: everything must arrive."""
        self.healing = True
        self.folder.refuse_rate = 0.0
        for _ in range(3000):
            self.now_ms += 1000
            self.carry_out(self.core.look(self.now(), [self.seen()]))
            more = self.carry_out(self.core.read(self.now()))
            self.broker_turn()
            self.flush()
            claim = self.core.complete_at()
            if not more and claim is not None and self.core.has_read([self.seen()]):
                return
        raise AssertionError("what is in the spool does not arrive")

    def check_end(self) -> None:
        delivered = self.delivered()
        answered = [line for _, line in self.answered]
        if self.rotted:
            missing = [line for line in answered if line not in set(delivered)]
            # The last frame, destroyed before anything of it was sent, looks like a write that nobody was answered for.
            assert not missing or self.told or self.cut, f"{missing} did not arrive, and nothing was told as lost"
            return
        assert [line for line in delivered if line in set(answered)] == answered, "not all that was answered for, in order"
        assert len(set(delivered)) == len(delivered), "a line was delivered under two identities"
        assert not set(self.dropped) & set(delivered), "a line was counted as dropped, and delivered"
        assert not self.disk.chunks


def spool_delivers_what_it_answered_for(rng: random.Random) -> None:
    Simulation(rng, rots=False).live(250)


def rotten_spool_tells_what_it_lost(rng: random.Random) -> None:
    Simulation(rng, rots=True).live(250)


def test_what_was_answered_for_is_delivered_in_order_by_one_identity() -> None:
    run_seeds(spool_delivers_what_it_answered_for, count=90)


def test_what_a_rotten_disk_destroyed_is_told_and_the_rest_is_delivered() -> None:
    run_seeds(rotten_spool_tells_what_it_lost, count=90)


@each_guard(
    (SpoolLog, "append", "self._files.sync(last.name)", "pass"),
    (SpoolLog, "append", "self._mend()", "pass"),
    (SpoolLog, "_begin", "self._files.sync_folder()", "pass"),
    (SpoolLog, "_recover", "self._files.sync(last.name)", "pass"),
    (SpoolLog, "_drop_released", "self._segments[1].base > self._released", "False"),
    (Flight, "delivered", "while self.chunks and self.chunks[0].delivered:", "while self.chunks:"),
    (Completeness, "settle", "while self._marks and self._marks[0].position <= position:", "while self._marks:"),
    (SpoolReader, "read", "yield Save(", "yield Note('', ''), ("),
)
def test_a_guard_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(spool_delivers_what_it_answered_for, count=300)


@each_guard(
    (SpoolLog, "_open", "self.end = max(self.end, least_end)", "pass"),
    (SpoolLog, "_next_frame", "if is_whole(data, head):", "if True:"),
    (SpoolReader, "_pass_hole", "yield Lost(stream.row, hole.size_bytes, stream.last_ms, now.wall_ms)", "pass"),
)
def test_a_guard_against_a_rotten_disk_taken_out_is_noticed(guard: Guard) -> None:
    assert guard.is_noticed(rotten_spool_tells_what_it_lost, count=300)
