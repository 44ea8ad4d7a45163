"""One agent's life, several times: what the simulations of its cores share, whatever they read.

Simulated are a disk for the agent's rows, a producer and the broker's log; what is read (logs, dropped files, a spool) is each
simulation's own. The agent may end between any two effects; what its producer had on the wire may still arrive then; the next
one begins from what is durable. Held in all of them: what is sent was made durable before, and placed; a position passes
acknowledged chunks only; a chunk is counted once; a repeat is equal byte for byte.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace.agents.budget import Budget
from headrace.agents.effects import (
    Advance,
    Effect,
    Forget,
    Lost,
    Note,
    Now,
    Recall,
    Save,
    Send,
    SendRecords,
    Shipped,
    Steps,
    carry_out,
)  # fmt: skip
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.reading import Limits
from headrace.sinks.table.intervals import IntervalSet
from tests.envelopes import event_of
from tests.sim.tailer.world import Disk

_ENCODER = ChunkEncoder("agent", b"\0\0\0\0\1")
Identity = tuple[str, int, int]


class CrashedError(Exception):
    """The agent ended here."""


@dataclass(slots=True)
class Sent:
    """A chunk's records between the agent and the broker's log."""

    stream: StreamRow
    chunk: ChunkRow
    values: list[bytes]
    shipped: Shipped
    appended: int = 0


class Broker:
    """A log of records: the oracle of what was delivered."""

    def __init__(self) -> None:
        self.events: dict[Identity, dict[str, Any]] = {}
        self._values: dict[Identity, bytes] = {}
        self._landed: dict[str, IntervalSet] = {}
        self.under_way: list[Sent] = []

    def append(self, sent: Sent) -> None:
        """Append the next record of a chunk; a repeat must be equal byte for byte."""
        value = sent.values[sent.appended]
        sent.appended += 1
        event = event_of(value)
        identity = (event["stream_id"], event["position"], event["part"])
        assert self._values.setdefault(identity, value) == value, f"an identity with two contents: {identity}"
        self._land(event, is_new=identity not in self.events)
        self.events[identity] = event

    def _land(self, event: dict[str, Any], *, is_new: bool) -> None:
        """As the loader takes it (sinks/repeats.py): a record whose position has landed is a repeat."""
        known = self._landed.setdefault(event["stream_id"], IntervalSet())
        since, position = event["since"], event["position"]
        assert (position not in known) == is_new, f"the loader would take {event} for {'a repeat' if is_new else 'new'}"
        if is_new:
            since -= event["part"] == 0 and known.ends_at(since - 1)
            known.add(min(since, position), position + max(1, len(event["message"].encode(event["encoding"]))))

    def of_stream(self, stream_id: str) -> list[tuple[int, int, dict[str, Any]]]:
        """(position, part, event) of a stream, in order."""
        mine = sorted(identity for identity in self.events if identity[0] == stream_id)
        return [(position, part, self.events[stream_id, position, part]) for _, position, part in mine]

    def delivered_lines(self) -> set[bytes]:
        """Whole lines, put together from their parts."""
        return {line for event in self.delivered_events() for line in event.split(b"\n")}

    def delivered_events(self) -> set[bytes]:
        """Whole events, put together from their parts."""
        lines: list[bytes] = []
        follows: Identity | None = None
        for stream_id, position, part in sorted(self.events):
            event = self.events[stream_id, position, part]
            data = event["message"].encode(event["encoding"])
            if part == 0:
                lines.append(data)
            elif (stream_id, position, part) == follows:
                lines[-1] += data
            elif follows and (stream_id, part) == (follows[0], follows[2]) and event["since"] == follows[1] + 1:
                lines.append(lines[-1] + data)  # lines of the other stream lie within the event, or its beginning was left out
            else:
                continue  # the part before is not there yet
            follows = (stream_id, position + len(data), part + 1)
        return set(lines)


class Life:
    """The base of a simulation of one core: `core` is the agent that lives now.

    A simulation draws its own rates and limits, in its own order, from the one source of its seed; it makes the core from the
    durable rows, says what it does in a turn, heals in the end and checks what is there then.
    """

    core: Any
    crash_rate: float
    limits: Limits
    partitions = 3

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.disk, self.broker = rng, Disk(), Broker()
        self.healing = False  # nothing crashes any more, and nobody interferes

    # ---- what each simulation has its own of

    def now(self) -> Now:
        raise NotImplementedError

    def turn(self) -> None:
        """Something happens: to the world, or by the agent, which may crash in it."""
        raise NotImplementedError

    def heal(self) -> None:
        """All is left alone: everything must arrive."""
        raise NotImplementedError

    def check_end(self) -> None:
        raise NotImplementedError

    def meanwhile(self) -> None:
        """What others do between two effects."""

    # ---- a life

    def live(self, most_turns: int) -> None:
        """All of it."""
        for _ in range(self.rng.randint(20, most_turns)):
            self.turn()
        self.heal()
        self.check_end()
        assert len(set(self.disk.counted)) == len(self.disk.counted), "a chunk was counted twice"

    def run(self, *, ready: Callable[[str], bool] = lambda _: True, once: bool = False) -> Run:
        """What an agent that begins now gives its core."""
        rng, partitions = self.rng, self.partitions
        return Run(
            "h",
            mint=lambda: f"{rng.getrandbits(64):016x}",
            place=lambda _, stream_id: int(stream_id, 16) % partitions,
            ready=ready,
            once=once,
            budget=Budget(self.limits),
            started=self.now(),
        )

    def end(self) -> None:
        """The agent has ended: what is not durable is gone, and what its producer had on the wire may still arrive."""
        self.disk.pending.clear()
        for sent in self.broker.under_way:
            while sent.appended < len(sent.values) and self.rng.random() < 0.7:
                self.broker.append(sent)
        self.broker.under_way = []

    def crash_point(self) -> None:
        if not self.healing and self.rng.random() < self.crash_rate:
            raise CrashedError

    def carry_out(self, steps: Steps[Any]) -> Any:
        """Carry out a step's effects; the agent may end before each of them."""
        return carry_out(steps, self._carry_out_one)

    def _carry_out_one(self, effect: Effect) -> Any:
        self.crash_point()
        if not self.healing:
            self.meanwhile()
        return self.do(effect)

    # ---- effects

    def do(self, effect: Effect) -> Any:
        match effect:
            case Save():
                self.disk.pending.append(effect)
                self.flush()
            case Advance():
                for chunk, sent in zip(effect.chunks, effect.results, strict=True):
                    assert isinstance(sent, Sent), "a position passed a chunk that was not acknowledged"
                    assert (sent.chunk, sent.appended) == (chunk, len(sent.values))
                self.disk.pending.append(effect)
            case Lost() | Forget():
                self.disk.pending.append(effect)
            case Recall():
                return self.disk.recall(effect)
            case Send() | SendRecords():
                return self.send(effect)
            case Note():
                pass
            case _:
                raise AssertionError(f"nobody carries out {effect}")
        return None

    def flush(self) -> None:
        self.disk.flush()

    def send(self, effect: Send | SendRecords) -> Shipped:
        stream, chunk = effect.stream, effect.chunk
        assert self.disk.chunks.get((chunk.stream_id, chunk.start)) == chunk, "sent before it was durable"
        assert self.disk.streams[stream.stream_id].partition == stream.partition >= 0
        if isinstance(effect, Send):
            encoded = _ENCODER.encode(stream, chunk, effect.data)
        else:
            encoded = _ENCODER.encode_records(stream, chunk, effect.records)
        self.broker.under_way.append(Sent(stream, chunk, encoded.values, encoded.shipped))
        return encoded.shipped

    def broker_turn(self) -> None:
        """Records arrive, and word of it; when all is healed, all of them."""
        for sent in list(self.broker.under_way):
            while sent.appended < len(sent.values) and (self.healing or self.rng.random() < 0.8):
                self.broker.append(sent)
            if sent.appended == len(sent.values) and (self.healing or self.rng.random() < 0.7):
                self.broker.under_way.remove(sent)
                self.carry_out(self.core.delivered(sent.chunk.stream_id, sent.chunk.start, sent))
