"""All that one agent reads from files: logs that are followed, and files that were dropped, each by its core."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import lru_cache
from typing import Any

from headrace.agents.directory.drops import Drops
from headrace.agents.directory.hands import look_into
from headrace.agents.effects import Now, Steps
from headrace.agents.inputs import Inputs
from headrace.agents.machine import most_open_files, return_freed_memory
from headrace.agents.new_inputs import begin_new
from headrace.agents.operate.own_output import Others
from headrace.agents.operate.standing import Standing, standing_of, standing_of_dropped, standing_of_unopened
from headrace.agents.rows import ChunkRow, StreamRow
from headrace.agents.run import Run
from headrace.agents.tail.listing import Listings
from headrace.agents.tail.tailer import Tailer

_MANY = 2000  # files, from which on the tables of a look are worth returning


class Files:
    """Used by the agent's one thread; arguments as the cores'.

    Args:
        others: knows what the agent writes itself.
    """

    def __init__(
        self,
        rows: Iterable[StreamRow],
        chunks: Sequence[ChunkRow],
        inputs: Inputs,
        others: Others,
        run: Run,
    ) -> None:
        self._others, self._started = others, run.started
        self.use(inputs)
        dropped: list[StreamRow] = []
        self._tailer = Tailer(_logs(rows, dropped), chunks, run, max_open=most_open_files())
        self._drops = Drops(dropped, chunks, run)

    def use(self, inputs: Inputs) -> None:
        """These are the inputs from now on."""
        self._inputs = inputs
        self._listings = Listings(inputs.globs, self._others.writes)
        self._writes = lru_cache(maxsize=1 << 14)(self._others.writes)  # asked of each dropped file in each look

    def begin(self, begun: Set[tuple[str, str]], carry_out: Callable[[Steps[None]], Any], now: Now) -> None:
        """Decide where the files of inputs begin that have not begun yet; arguments as `begin_new`'s."""
        begin_new(self._inputs.globs, begun, self._tailer, carry_out, self._listings, now)

    def look(self, now: Now) -> Steps[None]:
        """List what the inputs match, and take it in."""
        listing = self._listings.take(self._tailer.known_paths, self._tailer.linked, now)
        if len(listing.files) >= _MANY:
            return_freed_memory()
        yield from self._tailer.look(listing)
        yield from self._drops.look(look_into(self._inputs.folders, self._drops.known_paths, now, self._writes))

    @property
    def has_more(self) -> bool:
        """Whether the last look did not take in all that is there."""
        return self._tailer.has_more

    def read(self, now: Now) -> Steps[bool]:
        """One round of each; whether another is worth it at once."""
        logs = yield from self._tailer.read(now)
        dropped = yield from self._drops.read(now)
        return logs or dropped

    def delivered(self, stream_id: str, start: int, result: object) -> Steps[None]:
        """A chunk is delivered."""
        core = self._drops if self._drops.has(stream_id) else self._tailer
        yield from core.delivered(stream_id, start, result)

    def complete_at(self) -> Sequence[Now | None]:
        """The moment that each of the two may claim."""
        return self._tailer.complete_at(), self._drops.complete_at()

    @property
    def ended(self) -> bool:
        """In a finite run: whether all that was found is shipped."""
        return self._tailer.ended and self._drops.ended

    @property
    def any_known(self) -> bool:
        """Whether anything was ever found."""
        return bool(self._tailer.known_paths or self._drops.known_paths or self._drops.resting.rows)

    @property
    def position_bytes(self) -> tuple[int, int]:
        """(acknowledged, known) bytes of all files that are there, or were shipped by this run."""
        done, known = self._tailer.position_bytes
        dropped_done, dropped_known = self._drops.position_bytes
        return done + dropped_done, known + dropped_known

    def standings(self, now: Now) -> dict[str, Standing]:
        """How the inputs stand, by name."""
        found = standing_of(self._inputs.components, self._tailer.streams, self._tailer.asleep, now, self._started)
        found = standing_of_unopened(found, self._tailer.unopened, now, self._started)
        return standing_of_dropped(found, self._drops, now, self._started)


def _logs(rows: Iterable[StreamRow], dropped: list[StreamRow]) -> Iterator[StreamRow]:
    """The rows of logs, one at a time; those of dropped files are put into `dropped` meanwhile."""
    for row in rows:
        if row.dropped is not None:
            dropped.append(row)
        elif not row.is_spooled:
            yield row
