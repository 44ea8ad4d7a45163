"""Where leader epochs end; pure."""

from bisect import bisect_right
from collections.abc import Sequence


def epoch_end(epochs: Sequence[tuple[int, int]], epoch: int, log_end_offset: int) -> tuple[int, int]:
    """Where an epoch ended, or the last one known before it.

    Args:
        epochs: (epoch, its first offset), rising.
    Returns:
        (the greatest epoch not above `epoch`, the offset at which it ended); (-1, -1) if `epoch` is not known yet.
    Source: KIP-279, Kafka's LeaderEpochFileCache.
    """
    if not epochs or epoch > epochs[-1][0] or epoch < 0:
        return -1, -1
    if epoch == epochs[-1][0]:
        return epoch, log_end_offset
    at = bisect_right(epochs, (epoch, 1 << 63))
    return (epochs[at - 1][0] if at else epoch), epochs[at][1]
