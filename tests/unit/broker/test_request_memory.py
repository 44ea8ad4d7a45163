"""Memory of requests is bounded, and always comes free again."""

from headrace.broker.network.request_memory import SMALL_BYTES, RequestMemory

LIMIT = 40 * SMALL_BYTES


class Connection:
    """A connection in the middle of a frame."""

    def __init__(self, memory: RequestMemory) -> None:
        self.memory, self.held, self.told = memory, 0, 0

    def receive(self, count: int) -> bool:
        """Whether it was read."""
        if not self.memory.may_grow(self, self.held):
            return False
        self.held += count
        self.memory.changed(count)
        return True

    def finish(self) -> None:
        self.memory.finished(self)
        self.memory.changed(-self.held)
        self.held = 0

    def memory_is_free(self) -> None:
        self.told += 1


def test_below_three_quarters_nobody_waits() -> None:
    memory = RequestMemory(LIMIT)
    many = [Connection(memory) for _ in range(10)]
    assert all(each.receive(SMALL_BYTES) for each in many for _ in range(3))
    assert memory.is_tight
    assert not memory.is_over


def test_when_it_is_tight_large_frames_come_one_after_another_and_small_ones_go_on() -> None:
    memory = RequestMemory(LIMIT)
    large = [Connection(memory) for _ in range(3)]
    while not memory.is_tight:
        for each in large:
            each.receive(2 * SMALL_BYTES)
    assert [each.receive(SMALL_BYTES) for each in large] == [True, False, False]
    assert Connection(memory).receive(SMALL_BYTES)
    large[0].finish()
    assert [each.told for each in large] == [0, 1, 1], "there is room again for all"


def test_who_waits_goes_on_in_turn_when_the_one_before_is_done_and_it_is_still_tight() -> None:
    memory = RequestMemory(LIMIT)
    memory.changed(LIMIT)  # much, by others
    large = [Connection(memory) for _ in range(3)]
    for each in large:
        each.held = 2 * SMALL_BYTES
    assert [each.receive(1) for each in large] == [True, False, False]
    large[0].finish()
    assert [each.told for each in large] == [0, 1, 0]
    assert [each.receive(1) for each in large[1:]] == [True, False]
    large[2].finish()  # it went away while it waited
    large[1].finish()
    assert Connection(memory).receive(1)


def test_above_the_limit_somebody_has_to_go() -> None:
    memory = RequestMemory(LIMIT)
    memory.changed(LIMIT)
    assert not memory.is_over
    memory.changed(1)
    assert memory.is_over
