"""Single histories on simulated files, step by step: cases that a seed rarely meets, and faults of the twenty."""

from collections.abc import Generator
from typing import Any

import pytest

from headrace.agents.budget import Budget
from headrace.agents.effects import Advance, Input, Lost, Now, Save, Send, Shipped
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.tailer import Tailer
from tests.sim.harness import mutated
from tests.sim.tailer.world import BASE_MS, Disk, Files

LOGS, LIMITS = Input("logs"), Limits()
ONE_LINE = Limits(chunk_lines=1, stream_cost_bytes=1)  # is on its way at most


class Desk:
    """One agent on simulated files, moved step by step."""

    def __init__(self, how: Input = LOGS, *, births: bool = True, limits: Limits = LIMITS) -> None:
        self.files, self.disk, self.how, self.limits = Files(births=births), Disk(), how, limits
        self.sent: list[Send] = []
        self.lost: list[tuple[int, str]] = []
        self.start()

    def start(self) -> None:
        """From what is durable."""
        self.disk.flush()
        self.files.close_all()
        self.tailer = Tailer(
            self.disk.streams.values(), self.disk.chunks.values(), host="h", mint=lambda: f"s-{len(self.sent)}",
            place=lambda *_: 0, ready=lambda _: True, once=False, max_open=9, limits=self.limits, budget=Budget(self.limits),
            now=self.now(),
        )  # fmt: skip

    def now(self) -> Now:
        return Now(self.files.now_ms, BASE_MS + self.files.now_ms)

    def carry_out(self, steps: Generator[Any, Any, Any]) -> None:
        answer: Any = None
        try:
            while True:
                effect = steps.send(answer)
                if isinstance(effect, Save | Advance | Lost):
                    self.disk.pending.append(effect)
                    if isinstance(effect, Lost):
                        self.lost.append((effect.size_bytes, effect.reason))
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
        listing = self.files.listing(self.now(), self.how, self.tailer.known_paths, all_names=True)
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


@pytest.mark.parametrize("births", [True, False])
def test_fault_09_a_new_file_with_the_inode_of_a_removed_one_is_read_from_its_first_byte(births: bool) -> None:
    desk = Desk(births=births)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\n" * 9)
    desk.turn()
    desk.acknowledge(0)
    desk.start()  # nobody holds the file open
    desk.files.unlink("a.log")
    new = desk.files.create("a.log", reuse=True)
    assert new.number == desk.sent[0].stream.inode
    desk.files.append(new, b"another\n" * 9)  # longer than what was acknowledged
    desk.turn()
    assert [(send.chunk.start, send.data) for send in desk.sent[1:]] == [(0, b"another\n" * 9)]
    assert desk.sent[1].stream.stream_id != desk.sent[0].stream.stream_id


@pytest.mark.parametrize(
    ("how", "reason"), [(Input("logs", held_ms=250), "held_age"), (Input("logs", held_bytes=15), "held_bytes")]
)
def test_fault_11_of_deleted_files_no_more_is_held_than_allowed_and_the_rest_is_counted(how: Input, reason: str) -> None:
    desk = Desk(how, limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\nthree and more\n")
    for _ in range(3):
        desk.turn()
    desk.files.unlink("a.log")
    for _ in range(5):
        desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n"]
    assert desk.lost == [(len(b"two\nthree and more\n"), reason)]
    assert not desk.files.handles
    desk.acknowledge(0)
    desk.turn()
    assert desk.tailer.complete_at() is not None
    desk.start()
    for _ in range(3):
        desk.turn()
    assert len(desk.lost) == 1


def test_fault_11_without_a_bound_a_deleted_file_is_held_until_all_of_it_is_acknowledged() -> None:
    desk = Desk(limits=ONE_LINE)
    desk.files.append(desk.files.create("a.log", reuse=False), b"one\ntwo\n")
    desk.turn()
    desk.files.unlink("a.log")
    desk.files.now_ms += 3_600_000
    desk.turn()
    desk.acknowledge(0)
    desk.turn()
    assert [send.data for send in desk.sent] == [b"one\n", b"two\n"]
    assert desk.lost == []
