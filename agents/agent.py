"""The agent's loop: one thread, real clocks. What is done is decided by the cores, and carried out by `Hands`.

A turn: word from the broker → positions; a listing when one is due; a round of reading files and spools when there is room; a
heartbeat when one is due; wait for the broker or a short moment. What blocks the agent is never decided here: the cores say
what is read and sent.
"""

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import TYPE_CHECKING

from headrace.agents.announcing import Announcer
from headrace.agents.budget import Budget
from headrace.agents.delivery import RETRY_AFTER_MS, Delivery
from headrace.agents.effects import Input, Now
from headrace.agents.events.schemas.choice import TopicSchema
from headrace.agents.files import Files
from headrace.agents.hands import Hands
from headrace.agents.heartbeats import Heartbeats
from headrace.agents.inputs import Inputs, schema_of, unfinished
from headrace.agents.metrics import Metrics
from headrace.agents.operate.own_output import Others, OwnOutput
from headrace.agents.operate.reload import Reloads
from headrace.agents.operate.taps import Taps
from headrace.agents.pushed import Pushed
from headrace.agents.rejected import Rejected
from headrace.agents.room import Wait
from headrace.agents.run import Run
from headrace.agents.state import AgentState
from headrace.agents.tail.reading import Limits
from headrace.agents.topics import Topics, schemas_of
from headrace.clock import Clock

if TYPE_CHECKING:
    from headrace.agents.configuration import AgentConfig

# A listing every 100 ms, or as seldom as keeps it below a two-hundredth of the time, but every few seconds; below a third
# while files wait that the last had no time or no descriptor for.
LISTING_LEAST_MS, LISTING_MOST_MS, LISTING_SHARE, HURRIED_SHARE = 100, 5000, 200, 2
ACTIVE_WAIT_S = 0.1  # between two rounds without news
PROGRESS_INTERVAL_MS = OBSERVE_INTERVAL_MS = 1000


class Agent:
    """One running agent.

    Args:
        config: as the user gave it.
        state: open, and ours.
        host: the name in events.
        beat: to be called as long as the loop gets on.
        ports_changed: is told of the ports that pushed inputs listen on after a reload.
        wait: whether a disk that has no room for a spool is tried again.
        once: a finite run; `progress`: one JSON object a second on stdout.
    """

    def __init__(
        self, config: "AgentConfig", state: AgentState, *, host: str, clock: Clock, beat: Callable[[], None],
        ports_changed: Callable[[Mapping[str, int]], None], wait: Wait, once: bool, progress: bool,
    ) -> None:  # fmt: skip
        self._config, self._clock, self._progress = config, clock, progress
        self._beat, self._ports_changed = beat, ports_changed
        self._inputs, self._state = Inputs.of(config), state
        self.metrics = Metrics()
        self.metrics.inputs(self._inputs.components)
        pushed, how, place = self._inputs.pushed, self._inputs.how, config.agent.state_dir
        self._pushed = Pushed(pushed, how, state, place, self.metrics, clock=clock, wait=wait, once=once)
        rejected = Rejected(place / "rejected", config.agent.rejected_max_bytes)
        self._delivery = Delivery(config.kafka, state.agent_id, rejected, config.dead_letter.topic, self.metrics.error)
        chunks = state.chunks()
        schemas = self._schemas(unfinished(state.streams(), chunks))
        self.topics = Topics(schemas, config.registry, state, clock, self.metrics, once=once)
        self.taps = Taps(clock.monotonic_ms)
        self._hands = Hands(
            state, self.topics, self._delivery, self._pushed.spools, self.metrics, self.taps, clock.monotonic_ms, beat
        )
        self.metrics.checkpoint_age(self._hands.waiting_s)
        self._run = Run(
            host, _mint, self.topics.partition_of, self.topics.is_ready, once=once, budget=Budget(Limits()), started=self._now()
        )  # fmt: skip
        self._files = Files(state.streams(), chunks, self._inputs, Others(OwnOutput.of_process(place)), self._run)
        self._reader = self._pushed.read_by(self._run)
        announcer = Announcer(config.kafka, state, self._announced, host=host, run=uuid.uuid4().hex)
        self._heartbeats = Heartbeats(announcer, self._hands.save, self._complete_at, self._now)
        self._listing_due_ms = self._retry_due_ms = self._progress_due_ms = self._observed_due_ms = 0
        self._lines = 0

    def _schemas(self, unfinished: Sequence[Input] = ()) -> dict[str, list[TopicSchema]]:
        """What is written to each topic: as the inputs say, as what is in spools says, and what was on its way at the end."""
        asked = (*self._inputs.how.values(), *self._pushed.spools.inputs, *unfinished)
        return schemas_of(asked, lambda topic: schema_of(self._config, topic))

    def _announced(self) -> Sequence[str]:
        """The topics that every heartbeat names."""
        return [*self.topics.names, *self._config.dead_letter.topics]

    def _now(self) -> Now:
        return Now(self._clock.monotonic_ms(), self._clock.wall_ms())

    def _complete_at(self) -> Now | None:
        """The latest moment of which all that was readable then, in files and spools, is acknowledged."""
        moments = (*self._files.complete_at(), self._reader.complete_at())
        known = [moment for moment in moments if moment is not None]
        return min(known, key=lambda moment: moment.monotonic_ms) if len(known) == len(moments) else None

    @property
    def why_not_alive(self) -> Callable[[], str | None]:
        """Why the thread that takes in does not; to be asked from another thread."""
        return self._pushed.why_not_alive

    def start(self) -> Mapping[str, int]:
        """Take in what is pushed, from now on; the ports that are listened on.

        Raises:
            UsageError: an input cannot begin.
        """
        return self._pushed.start()

    def run(self, stop: Event, reloads: Reloads) -> int:
        """Ship until `stop` is set, or, in a finite run, until all is shipped; returns the exit status."""
        self._hands.stop = stop
        self._begin_inputs()
        while not stop.is_set():
            self._pushed.check()
            reloads.take(self._configure)
            self._retry_if_due()
            if self.topics.ask(self._delivery.producer, self._beat) and self.topics.any_ready:
                self._heartbeats.prepare(self._delivery.producer)
            if not self.topics.any_ready:
                self._poll(0.05)
                continue
            busy = self._turn()
            if self._run.once and not busy and self._files.ended and self._pushed.ended and self._finish(stop):
                return 0
            self._poll(0 if busy else ACTIVE_WAIT_S)
        return self._drain()

    def _poll(self, timeout_s: float) -> None:
        """Serve librdkafka, and wait for its word at most so long."""
        self._beat()
        self._delivery.poll(timeout_s)

    def _configure(self, config: "AgentConfig") -> None:
        """Other inputs: the next look takes in their files, and lets go of what no input asks for any more.

        Raises:
            UsageError, StorageError: what is pushed cannot be taken in so; nothing has changed.
        """
        inputs = Inputs.of(config)
        self.metrics.inputs({**self._inputs.components, **inputs.components})
        try:
            ports = self._pushed.change(inputs.pushed, inputs.how, self._beat)
            self._config, self._inputs = config, inputs
            self._files.use(inputs)
        finally:
            self.metrics.inputs(self._inputs.components)
        self._ports_changed(ports)
        self.topics.use(self._schemas())
        self._begin_inputs()
        self._listing_due_ms = 0

    def _begin_inputs(self) -> None:
        self._files.begin(self._state.begun(), self._hands.carry_out, self._now())

    # ---- one turn of the loop

    def _turn(self) -> bool:
        """Do what is due; returns whether there is more to do at once."""
        now_ms = self._clock.monotonic_ms()
        self._take_word()
        if now_ms >= self._listing_due_ms:
            self._look()
        self._delivery.pump()
        self._hands.carry_out(self._pushed.look(self._now()))
        busy = not self._delivery.full and self._read()
        self._hands.save_if_due()
        self._heartbeats.turn(self._delivery.producer, lines=self._lines, caught_up=not self._run.budget.used_bytes)
        if self._progress and now_ms >= self._progress_due_ms:
            self._report()
            self._progress_due_ms = now_ms + PROGRESS_INTERVAL_MS
        return busy

    def _read(self) -> bool:
        """One round; whether another is worth it at once."""
        files = self._hands.carry_out(self._files.read(self._now()))
        return bool(self._hands.carry_out(self._reader.read(self._now())) or files)

    def _retry_if_due(self) -> None:
        now_ms = self._clock.monotonic_ms()
        if now_ms >= self._retry_due_ms:
            self._delivery.retry_failed()
            self._retry_due_ms = now_ms + RETRY_AFTER_MS

    def _take_word(self) -> None:
        """Take what librdkafka reported to the core."""
        self._delivery.poll(0)
        for stream_id, start, result in self._delivery.take_done():
            self._lines += result.lines
            self.metrics.count(result)
            core = self._reader if self._reader.has(stream_id) else self._files
            self._hands.carry_out(core.delivered(stream_id, start, result))

    def _look(self) -> None:
        """List the files."""
        now = self._now()
        self._hands.carry_out(self._files.look(now))
        done_ms = self._clock.monotonic_ms()
        rest_ms = (done_ms - now.monotonic_ms) * (HURRIED_SHARE if self._files.has_more else LISTING_SHARE)
        self._listing_due_ms = done_ms + min(LISTING_MOST_MS, max(LISTING_LEAST_MS, rest_ms))
        if done_ms >= self._observed_due_ms:
            self._observe()

    def _observe(self) -> None:
        now = self._now()
        self._observed_due_ms = now.monotonic_ms + OBSERVE_INTERVAL_MS
        standings = self._files.standings(now)
        standings |= self._pushed.standings(now, self._run.started)
        self.metrics.observe(
            standings,
            on_their_way_bytes=self._run.budget.used_bytes,
            most_bytes=self._run.budget.limits.total_cost_bytes,
            queued=len(self._delivery.producer),
        )

    def _report(self) -> None:
        done, known = self._files.position_bytes
        print(json.dumps({"lines": self._lines, "bytes": done, "bytes_total": known}), flush=True)

    # ---- the end

    def _finish(self, stop: Event) -> bool:
        """All is shipped: say so, and wait until that is acknowledged. False if asked to stop before it was."""
        finished = self._heartbeats.finish(self._delivery.producer, stop, self._poll)
        if finished and self._progress:
            self._report()
        return finished

    def _drain(self) -> int:
        """Asked to stop: read nothing more, wait for what is on its way, save, say `stopped`; all within the grace."""
        deadline_ms = self._clock.monotonic_ms() + self._config.agent.grace_ms
        self._pushed.stop(self._config.agent.grace_ms / 2000)
        while self._clock.monotonic_ms() < deadline_ms and self._delivery.on_their_way:
            self._poll(0.05)
            self._delivery.pump()
            self._take_word()
        self._hands.save()
        if self._files.any_known or self._pushed.has_taken_in or self._heartbeats.ready:
            self._heartbeats.say_stopped(self._delivery.producer, self._poll, until_ms=deadline_ms)
        self._delivery.let_go()
        return 0


def _mint() -> str:
    return str(uuid.uuid4())
