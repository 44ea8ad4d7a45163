"""Claims of completeness where a seed that meets the case is rare."""

from collections.abc import Generator
from typing import Any

import pytest

from headrace.agents.budget import Budget
from headrace.agents.effects import Input, Now, Save, Send, Shipped
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.tailer import Tailer
from tests.sim.harness import mutated
from tests.sim.tailer.world import BASE_MS, Disk, Files


class Desk:
    """One agent on simulated files, moved step by step."""

    def __init__(self) -> None:
        self.files, self.disk = Files(births=True), Disk()
        self.sent: list[Send] = []
        self.tailer = Tailer(
            (), (), host="h", mint=lambda: f"s-{len(self.sent)}", place=lambda *_: 0, ready=lambda _: True, once=False,
            max_open=9, limits=Limits(), budget=Budget(Limits()), now=self.now(),
        )  # fmt: skip

    def now(self) -> Now:
        return Now(self.files.now_ms, BASE_MS + self.files.now_ms)

    def carry_out(self, steps: Generator[Any, Any, Any]) -> None:
        answer: Any = None
        try:
            while True:
                effect = steps.send(answer)
                if isinstance(effect, Save):
                    self.disk.pending.append(effect)
                elif isinstance(effect, Send):
                    self.sent.append(effect)
                    answer = Shipped(effect.chunk.end, 0)
                    continue
                answer = self.files.do(effect)
        except StopIteration:
            return

    def turn(self) -> None:
        """A listing and a round of reading, some time later."""
        self.files.now_ms += 100
        listing = self.files.listing(self.now(), Input("logs"), self.tailer.known_paths, all_names=True)
        self.carry_out(self.tailer.look(listing))
        self.carry_out(self.tailer.read(self.now()))

    def acknowledge(self, index: int) -> None:
        self.carry_out(self.tailer.delivered(self.sent[index].stream.stream_id, self.sent[index].chunk.start, None))


def what_a_truncated_file_had_on_its_way_holds_back_the_claim() -> None:
    desk = Desk()
    inode = desk.files.create("a.log", reuse=False)
    desk.files.append(inode, b"one\n")
    desk.turn()
    desk.files.truncate(inode)
    desk.files.append(inode, b"another\n")
    for _ in range(3):
        desk.turn()
    desk.acknowledge(1)
    for _ in range(3):
        desk.turn()
    assert desk.tailer.complete_at() is None
    desk.acknowledge(0)
    for _ in range(3):
        desk.turn()
    assert desk.tailer.complete_at() is not None


def test_a_claim_waits_for_what_a_truncated_file_had_on_its_way() -> None:
    what_a_truncated_file_had_on_its_way_holds_back_the_claim()


def test_without_its_guard_a_claim_does_not_wait() -> None:
    guard = "and not stream.flight and (stream.loss_settled or not stream.destroyed_bytes)"
    with mutated(Tailer, "complete_at", guard, ""), pytest.raises(AssertionError):
        what_a_truncated_file_had_on_its_way_holds_back_the_claim()
