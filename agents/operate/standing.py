"""How the inputs of an agent stand, read off its streams. Pure; one pass, because there may be ten thousand."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.agents.effects import Now
from headrace.agents.tail.stream import Stream


@dataclass(slots=True)
class Standing:
    """One input: how many streams (files) it has, how many are open, and what of them is not acknowledged.

    `oldest_ms` is for how long some byte has waited for its acknowledgement, at most: the time since the last look of which
    everything is acknowledged. 0 where nothing waits.
    """

    streams: int = 0
    open_files: int = 0
    behind_bytes: int = 0
    oldest_ms: int = 0


def standing_of(names: Iterable[str], streams: Iterable[Stream], now: Now, started: Now) -> dict[str, Standing]:
    """Standing by input.

    Args:
        names: all inputs, so that one without a file is 0 rather than absent.
        started: when the agent began: the age of what it has never been done with.
    """
    found = {name: Standing() for name in names}
    for stream in streams:
        if stream.input is None or stream.left or stream.input.name not in found:
            continue
        standing = found[stream.input.name]
        standing.streams += not stream.row.detached
        standing.open_files += stream.handle is not None
        if stream.handle is None or not stream.behind_bytes:
            continue
        standing.behind_bytes += stream.behind_bytes
        since = stream.complete or started
        standing.oldest_ms = max(standing.oldest_ms, now.monotonic_ms - since.monotonic_ms)
    return found
