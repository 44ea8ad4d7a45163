"""How the inputs of an agent stand, read off its streams. Pure; one pass, because there may be ten thousand."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.agents.directory.drops import Drops
from headrace.agents.effects import Now, Seen
from headrace.agents.rows import CHANGED, DAMAGED
from headrace.agents.tail.asleep import Sleeper
from headrace.agents.tail.stream import Stream


@dataclass(slots=True)
class Standing:
    """One input: how many streams (files) it has, how many are stopped, open or to be opened, and what is not acknowledged.

    `oldest_ms` is for how long some byte has waited for its acknowledgement, at most: the time since the last look of which
    everything is acknowledged. 0 where nothing waits.
    """

    streams: int = 0
    open_files: int = 0
    behind_bytes: int = 0
    oldest_ms: int = 0
    stopped: int = 0
    unopened: int = 0


def standing_of(
    names: Iterable[str], streams: Iterable[Stream], asleep: Iterable[Sleeper], now: Now, started: Now
) -> dict[str, Standing]:
    """Standing by input.

    Args:
        names: all inputs, so that one without a file is 0 rather than absent.
        asleep: the streams that sleep; of those whose file was not met yet no input is known.
        started: when the agent began: the age of what it has never been done with.
    """
    found = {name: Standing() for name in names}
    for sleeper in asleep:
        standing = found.get(sleeper.seen.input.name) if sleeper.seen is not None else None
        if standing is not None:
            standing.streams += 1
            standing.open_files += sleeper.handle is not None
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


def standing_of_unopened(
    found: dict[str, Standing], unopened: Iterable[tuple[Seen, Stream | Sleeper | None, Now | None]], now: Now, started: Now
) -> dict[str, Standing]:
    """The same with files that wait to be opened: what the listing says of them, as they were not looked into."""
    for seen, held, complete in unopened:
        standing = found.get(seen.input.name)
        if standing is None:
            continue
        acknowledged = held.position if held is not None else 0
        _count(standing, max(0, seen.stat.size - acknowledged), complete or started, now)
        if isinstance(held, Stream) and held.input is not None and held.input.name == seen.input.name:
            standing.streams -= 1  # it is counted among the streams
        standing.unopened += 1
    return found


def standing_of_dropped(found: dict[str, Standing], drops: Drops, now: Now, started: Now) -> dict[str, Standing]:
    """The same with directories: their files that wait, are shipped, are kept, or are stopped."""
    for arrival in drops.arrivals:
        folder = arrival.found.folder
        _count(found.get(folder.input.name if folder else ""), arrival.found.stat.size, arrival.before or started, now)
    for file in drops.files:
        standing = found.get(file.folder.input.name if file.folder else "")
        _count(standing, 0 if file.read and file.stream.idle else file.behind_bytes, file.before or started, now)
        if standing is not None:
            standing.open_files += file.handle is not None
    for key, name in drops.resting.inputs.items():
        dropped, standing = drops.resting.rows[key].dropped, found.get(name)
        if standing is not None and dropped is not None:
            standing.streams += 1
            standing.stopped += dropped.state in (CHANGED, DAMAGED)
    return found


def _count(standing: Standing | None, behind_bytes: int, since: Now, now: Now) -> None:
    if standing is not None:
        standing.streams += 1
        standing.behind_bytes += behind_bytes
        standing.oldest_ms = max(standing.oldest_ms, now.monotonic_ms - since.monotonic_ms if behind_bytes else 0)
