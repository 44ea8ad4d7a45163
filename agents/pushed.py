"""All that is pushed to one agent: the thread that takes in, the spools, and the core that reads them."""

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.agents.effects import Effect, Input, Now
from headrace.agents.metrics import Metrics
from headrace.agents.operate.standing import Standing
from headrace.agents.room import Wait, with_room
from headrace.agents.run import Run
from headrace.agents.sources.children import Groups
from headrace.agents.sources.doors import Doors
from headrace.agents.sources.intake import Source
from headrace.agents.sources.made import source_of
from headrace.agents.sources.running import PushedInput
from headrace.agents.sources.thread import IntakeThread
from headrace.agents.spool.reader import SpoolReader
from headrace.agents.spool.spools import Spool, Spools, Wanted
from headrace.agents.state import AgentState
from headrace.agents.state_generations import FILE_NAME
from headrace.agents.windows import CountedDrops
from headrace.clock import Clock
from headrace.errors import StorageError, UsageError

if TYPE_CHECKING:
    from headrace.agents.configuration import InputSection


class Pushed:
    """Used by the agent's one thread.

    Args:
        inputs: those that are pushed, by their names; `how` says of each how it is shipped.
        state: open, and ours. state_dir: where it lies.
        wait: whether a disk that has no room for a spool is tried again.
        once: a finite run: only what ends by itself is taken in.
    Raises:
        StorageError, CorruptError, VersionError: a spool cannot be used.
    """

    def __init__(
        self,
        inputs: Mapping[str, "InputSection"],
        how: Mapping[str, Input],
        state: AgentState,
        state_dir: Path,
        metrics: Metrics,
        *,
        clock: Clock,
        wait: Wait,
        once: bool,
    ) -> None:
        self._rows = [row for row in state.streams() if row.is_spooled]
        ids = {row.stream_id for row in self._rows}
        self._chunks = [chunk for chunk in state.chunks() if chunk.stream_id in ids]
        self._inputs, self._metrics, self._clock, self._once = inputs, metrics, clock, once
        self._state_dir = state_dir
        wanted = _wanted(inputs, how)
        self.spools = with_room(
            lambda: Spools(state_dir / "spool", wanted, position=self._position, least_end=self._least_end),
            state_dir / "spool",
            wait,
        )
        self._drops = CountedDrops(state_dir / FILE_NAME)
        self._doors, self._groups = Doors(), Groups(state_dir / "commands")
        self._groups.end_left()
        self._intake = IntakeThread(self._given(inputs, self.spools.by_input), self._doors, self._drops, metrics)
        self._reader: SpoolReader | None = None

    def _given(self, inputs: Mapping[str, "InputSection"], spools: Mapping[str, Spool]) -> list[PushedInput]:
        return [
            PushedInput(name, make, spools[name], each.service or name, each.spool.when_full)
            for name, each in inputs.items()
            if (make := self._source_of(name, each)) is not None
        ]

    def _source_of(self, name: str, section: "InputSection") -> Callable[[], Source] | None:
        return source_of(name, section, self._clock, self._doors, self._groups, self._state_dir, once=self._once)

    def _position(self, path: str) -> int:
        return max((row.position for row in self._rows if row.path == path), default=0)

    def _least_end(self, path: str) -> int:
        """Numbers of a spool below it were given: the state knows them."""
        rows = {row.stream_id: row for row in self._rows if row.path == path}
        ends = [row.size_seen for row in rows.values()]
        return max(ends + [chunk.end for chunk in self._chunks if chunk.stream_id in rows], default=0)

    def read_by(self, run: Run) -> SpoolReader:
        """The core, made once the agent knows its topics."""
        self._reader = SpoolReader(self._rows, self._chunks, run)
        return self._reader

    def start(self) -> Mapping[str, int]:
        """Take in from now on; the ports that are listened on.

        Raises:
            UsageError: an input cannot begin.
        """
        return self._intake.start()

    def change(
        self, inputs: Mapping[str, "InputSection"], how: Mapping[str, Input], beat: Callable[[], None]
    ) -> Mapping[str, int]:
        """Go on with other inputs; the ports that are listened on then. What was taken in stays, and is shipped.

        Args:
            beat: is called while this waits.
        Raises:
            UsageError, StorageError: one cannot begin; all go on as before.
        """
        wanted = _wanted(inputs, how)
        try:
            spools = self.spools.open(wanted)
            ports = self._intake.change(self._given(inputs, spools), beat)
        except (UsageError, StorageError):
            self.spools.forget(wanted)
            raise
        self.spools.use(wanted, spools)
        self._inputs = inputs
        return ports

    def check(self) -> None:
        """See that the thread that takes in has not failed.

        Raises:
            HeadraceError: it has.
        """
        self._intake.check()

    def why_not_alive(self) -> str | None:
        """Why nothing is taken in any more; None if it is. Asked from another thread."""
        return self._intake.why_not_alive()

    def look(self, now: Now) -> Generator[Effect, Any, None]:
        """How far each spool reaches now."""
        assert self._reader is not None
        return self._reader.look(now, self.spools.seen())

    @property
    def ended(self) -> bool:
        """In a finite run: whether every input has come to its end, and all of it is acknowledged."""
        assert self._reader is not None
        return self._intake.ended and self._reader.has_read(self.spools.seen())

    @property
    def has_taken_in(self) -> bool:
        """Whether any line ever was."""
        return any(spool.log.end > 0 for spool in self.spools.by_input.values())

    def standings(self, now: Now, started: Now) -> dict[str, Standing]:
        """How the pushed inputs stand, by name; what their spools take is told to the metrics."""
        assert self._reader is not None
        found = {}
        for name, spool in self.spools.by_input.items():
            size_bytes = spool.log.size_bytes
            self._metrics.spool(name, size_bytes=size_bytes, most_bytes=self._inputs[name].spool.max_bytes)
            behind = spool.log.end > self._reader.position_in(spool.path)
            since = self._reader.complete_in(spool.path) or started
            oldest_ms = now.monotonic_ms - since.monotonic_ms if behind else 0
            found[name] = Standing(1, 0, size_bytes if behind else 0, oldest_ms)
        return found

    def stop(self, grace_s: float) -> None:
        """Take in no more; what was taken in is made durable."""
        self._intake.stop(grace_s)

    def close(self) -> None:
        """Let go of files, after the last save."""
        self.spools.close()
        self._drops.close()


def _wanted(inputs: Mapping[str, "InputSection"], how: Mapping[str, Input]) -> dict[str, Wanted]:
    return {name: Wanted(name, how[name], each.spool.max_bytes) for name, each in inputs.items()}
