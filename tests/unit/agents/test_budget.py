"""What is on its way is shared: no partition, however stuck, takes what others need to go on."""

from headrace.agents.budget import Budget
from headrace.agents.rows import StreamRow
from headrace.agents.tail.reading import Limits

LIMITS = Limits()
CHUNK_COST_BYTES = 1_200_000


def row(topic: str, partition: int = 0, stream_id: str = "s") -> StreamRow:
    return StreamRow(stream_id, topic, partition, "h", "a", "/a.log", "/a.log", 7, 99, 5)


def fill(budget: Budget, stream: StreamRow) -> int:
    """Send until nothing more may be sent, and nothing is ever acknowledged; returns the bytes on their way."""
    sent = 0
    while (limits := budget.limits_for(stream)) is not None:
        cost = int(CHUNK_COST_BYTES * limits.chunk_lines / LIMITS.chunk_lines)
        budget.take(stream, cost)
        sent += cost
        if sent == cost and limits != LIMITS:
            break
    return sent


def test_one_partition_gets_about_half_and_leaves_the_rest() -> None:
    budget = Budget(LIMITS)
    assert LIMITS.total_cost_bytes * 0.3 < fill(budget, row("a")) <= LIMITS.total_cost_bytes * 0.6
    assert budget.limits_for(row("a", stream_id="another of the same partition")) is None
    assert budget.limits_for(row("a", partition=1)) == LIMITS


def test_however_many_are_stuck_another_goes_on_and_the_whole_stays_bounded() -> None:
    budget = Budget(LIMITS)
    for number in range(40):
        fill(budget, row(f"stuck-{number}"))
    assert budget.used_bytes <= LIMITS.total_cost_bytes + 40 * CHUNK_COST_BYTES / LIMITS.chunk_lines  # a line each
    left = budget.limits_for(row("healthy"))
    assert left is not None
    assert left.chunk_lines >= 1
    assert left.chunk_bytes >= 4096


def test_what_is_acknowledged_may_be_used_again() -> None:
    budget = Budget(LIMITS)
    sent = fill(budget, row("a"))
    budget.take(row("a"), -sent)
    assert budget.used_bytes == 0
    assert budget.limits_for(row("a")) == LIMITS
