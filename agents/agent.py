"""The agent's shell: carries out the tailer's effects with real files, clocks, SQLite and librdkafka. One thread.

The loop: word from the broker → positions; a listing when one is due; a round of reading when there is room; an announcement
when one is due; wait for the broker or a short moment. What blocks the agent is never decided here: the core says what is
read and sent.
"""

import json
import logging
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from confluent_kafka import KafkaException

from headrace.agents.announcing import Announcer
from headrace.agents.configuration import AgentConfig
from headrace.agents.delivery import RETRY_AFTER_MS, Delivery, Rejected
from headrace.agents.effects import Advance, Close, Effect, Forget, Input, Lost, Note, Now, Open, Read, Save, Send, Stat
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.metrics import Metrics
from headrace.agents.state import AgentState
from headrace.agents.tail.files import Globs, OpenFiles, list_files
from headrace.agents.tail.reading import Limits
from headrace.agents.tail.tailer import Tailer
from headrace.audit import HEARTBEAT_INTERVAL_MS, State
from headrace.clock import Clock
from headrace.errors import PeerError, StorageError
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.framing import header

logger = logging.getLogger(__name__)

# A listing every 100 ms, or as seldom as keeps it below a twentieth of the time, but every few seconds.
LISTING_LEAST_MS, LISTING_MOST_MS, LISTING_SHARE = 100, 5000, 20
ACTIVE_WAIT_S = 0.1  # between two rounds without news
SAVE_INTERVAL_MS = 200  # how long an acknowledged position may wait to be durable
PROGRESS_INTERVAL_MS = 1000
TOPIC_RETRY_MS, TOPIC_SHARE = 100, 5  # topics that are not ready are asked for so often, or for a fifth of the time
NEWS_INTERVAL_MS = 2000  # the least time between heartbeats that say that all is drained again


@dataclass(slots=True)
class _Due:
    """When each of the things that are done now and then is due, monotonic ms."""

    listing: int = 0
    save: int = 0
    retry: int = 0
    heartbeat: int = 0
    topics: int = 0
    progress: int = 0


class Agent:
    """One running agent.

    Args:
        config: as the user gave it.
        state: open, and ours.
        host: the name in events.
        once: a finite run; `progress`: one JSON object a second on stdout.
    """

    def __init__(self, config: AgentConfig, state: AgentState, *, host: str, clock: Clock, once: bool, progress: bool) -> None:
        self._config, self._state, self._clock, self._once, self._progress = config, state, clock, once, progress
        self._files = OpenFiles()
        settings = config.kafka
        self._delivery = Delivery(settings, state.agent_id, Rejected(config.agent.state_dir / "rejected"))
        self._registry = config.registry.client(timeout_s=3)
        self._inputs = [
            Globs(tuple(each.tail), tuple(each.exclude), Input(each.topic, each.parse, each.service, each.max_line_bytes))
            for each in config.inputs
        ]
        self._topics = sorted({each.topic for each in config.inputs})
        self._announcer = Announcer(settings, state, self._topics, host=host, run=uuid.uuid4().hex)
        self._partitions: dict[str, int] = {}
        self._encoders: dict[str, ChunkEncoder] = {}
        self._pending: list[Advance | Save | Lost | Forget] = []
        self._due = _Due()
        self._lines = 0
        self._stop = Event()
        self.metrics = Metrics()
        self._tailer = Tailer(
            state.streams(),
            state.chunks(),
            host=host,
            mint=lambda: str(uuid.uuid4()),
            place=lambda topic, stream_id: uuid.UUID(stream_id).int % self._partitions[topic],
            ready=self._is_ready,
            once=once,
            max_open=_max_open(),
            limits=Limits(),
            now=self._now(),
        )

    def _now(self) -> Now:
        return Now(self._clock.monotonic_ms(), self._clock.wall_ms())

    def run(self, stop: Event) -> int:
        """Ship until `stop` is set, or, in a finite run, until all is shipped; returns the exit status."""
        self._stop = stop
        while not stop.is_set():
            if not self._prepare(self._now()):
                self._delivery.poll(0.05)
                continue
            busy = self._turn(self._now())
            if self._once and not busy and self._tailer.ended and self._finish(stop):
                return 0
            self._delivery.poll(0 if busy else ACTIVE_WAIT_S)
        return self._drain()

    # ---- before anything can be shipped

    def why_not_ready(self) -> str | None:
        """Why nothing can be shipped yet; None if something can. Asked from another thread."""
        if any(self._is_ready(topic) for topic in self._topics):
            return None
        return "no topic and schema are known yet: are the broker and the registry there?"

    def _is_ready(self, topic: str) -> bool:
        """Whether a topic's partitions and schema id are known."""
        return topic in self._encoders and topic in self._partitions

    def _prepare(self, now: Now) -> bool:
        """Whether any topic is ready; asks for those that are not, and for `_audit`, again and again."""
        if now.monotonic_ms >= self._due.topics:
            missing = [topic for topic in self._topics if not self._is_ready(topic)]
            for topic in missing:
                self._learn(topic)
            if not self._announcer.ready and len(missing) < len(self._topics):
                self._announcer.prepare(self._delivery.producer)
            done_ms = self._now().monotonic_ms
            self._due.topics = done_ms + max(TOPIC_RETRY_MS, TOPIC_SHARE * (done_ms - now.monotonic_ms))
        return any(self._is_ready(topic) for topic in self._topics)

    def _learn(self, topic: str) -> None:
        """Ask for a topic, which makes it where the broker allows that, and for the id of the envelope's schema."""
        subject = f"{topic}-value"
        try:
            schema_id = self._state.schema_id(self._config.registry.url, subject, ENVELOPE_JSON)
            if schema_id is None:
                schema_id = self._registry.register(subject, ENVELOPE_JSON)
                self._state.keep_schema_id(self._config.registry.url, subject, ENVELOPE_JSON, schema_id)
            self._encoders[topic] = ChunkEncoder(self._state.agent_id, header(schema_id))
            found = self._delivery.producer.list_topics(topic, timeout=1).topics[topic]
            if found.partitions:
                self._partitions[topic] = len(found.partitions)
            elif found.error is not None:
                self._complain(f"waiting for topic {topic}", found.error.str())
        except (PeerError, StorageError) as error:
            self._complain("waiting for the registry", str(error))
        except KafkaException as error:
            self._complain("waiting for the broker", error.args[0].str())

    _complaint = ("", "")

    def _complain(self, message: str, error: str) -> None:
        """Log what is waited for, once as long as it stays the same."""
        if (message, error) != self._complaint:
            self._complaint = (message, error)
            logger.warning(message, extra={"error": error})

    # ---- one turn of the loop

    def _turn(self, now: Now) -> bool:
        """Do what is due; returns whether there is more to do at once."""
        self._take_word()
        if now.monotonic_ms >= self._due.retry:
            self._delivery.retry_failed()
            self._due.retry = now.monotonic_ms + RETRY_AFTER_MS
        if now.monotonic_ms >= self._due.listing:
            self._carry_out(self._tailer.look(list_files(self._inputs, self._tailer.known_paths, now)))
            done_ms = self._now().monotonic_ms
            took_ms = done_ms - now.monotonic_ms
            self._due.listing = done_ms + min(LISTING_MOST_MS, max(LISTING_LEAST_MS, took_ms * LISTING_SHARE))
            self._observe()
        self._delivery.pump()
        busy = not self._delivery.full and bool(self._carry_out(self._tailer.read(self._now())))
        if self._pending and now.monotonic_ms >= self._due.save:
            self._save()
        self._announce_if_due(self._now())
        self._report_if_due(now)
        return busy

    def _take_word(self) -> None:
        """Take what librdkafka reported to the core."""
        self._delivery.poll(0)
        for stream_id, start, result in self._delivery.take_done():
            self._lines += result.lines
            self.metrics.count(result)
            self._carry_out(self._tailer.delivered(stream_id, start, result))

    def _carry_out(self, steps: Generator[Effect, Any, Any]) -> Any:
        """Carry out a step's effects, in order, and return its value."""
        answer: Any = None
        try:
            while True:
                answer = self._do(steps.send(answer))
        except StopIteration as end:
            return end.value

    def _do(self, effect: Effect) -> Any:
        match effect:
            case Read():
                return self._files.read(effect.handle, effect.offset, effect.length)
            case Stat():
                return self._files.stat(effect.handle)
            case Send():
                encoded = self._encoders[effect.stream.topic].encode(effect.stream, effect.chunk, effect.data)
                self._delivery.send(effect.stream, effect.chunk, encoded)
            case Save():
                self._pending.append(effect)
                self._save()
            case Advance() | Lost() | Forget():
                self._pending.append(effect)
                if isinstance(effect, Lost):
                    self.metrics.lost_bytes.inc(effect.size_bytes)
                    logger.error(
                        "bytes destroyed before they were read", extra={"file": effect.stream.path, "bytes": effect.size_bytes}
                    )
            case Open():
                return self._files.open(effect.path)
            case Close():
                self._files.close(effect.handle)
            case Note():
                logger.warning(effect.message, extra={"file": effect.path, "stream_id": effect.stream_id})
        return None

    def _save(self) -> None:
        """Make all that waits durable, earlier effects first; a full disk is waited for, because nothing may be sent before."""
        while True:
            try:
                self._state.apply(self._pending)
            except StorageError as error:
                logger.error("waiting for the disk", extra={"error": str(error)})
                if self._stop.wait(1):
                    raise
                continue
            self._pending.clear()
            self._due.save = self._now().monotonic_ms + SAVE_INTERVAL_MS
            return

    # ---- what is said

    def _announce_if_due(self, now: Now) -> None:
        """Every 30 s, and soon after all became complete again; never while the last one is on its way."""
        self._announcer.settle(now)
        if not self._announcer.ready or self._announcer.busy:
            return
        due = now.monotonic_ms >= self._due.heartbeat
        news = (
            self._lines_said != self._lines
            and now.monotonic_ms >= self._due.heartbeat - HEARTBEAT_INTERVAL_MS + NEWS_INTERVAL_MS
        )
        if due or (news and self._tailer.caught_up):
            self._say("active", now)

    _lines_said = -1

    def _say(self, state: State, now: Now) -> None:
        if self._pending:
            self._save()
        self._lines_said = self._lines
        self._announcer.announce(self._delivery.producer, state, self._tailer.complete_at(), now)
        self._due.heartbeat = now.monotonic_ms + HEARTBEAT_INTERVAL_MS

    def _observe(self) -> None:
        self.metrics.observe(behind_bytes=self._tailer.behind_bytes, open_files=self._tailer.open_files)

    def _report_if_due(self, now: Now) -> None:
        if self._progress and now.monotonic_ms >= self._due.progress:
            self._report()
            self._due.progress = now.monotonic_ms + PROGRESS_INTERVAL_MS

    def _report(self) -> None:
        done, known = self._tailer.position_bytes
        print(json.dumps({"lines": self._lines, "bytes": done, "bytes_total": known}), flush=True)

    # ---- the end

    def _finish(self, stop: Event) -> bool:
        """All is shipped: say so on `_audit`, and wait until that is acknowledged. False if asked to stop before it was."""
        while not stop.is_set():
            now = self._now()
            if not self._announcer.ready:
                self._announcer.prepare(self._delivery.producer)
            elif not self._announcer.busy:
                self._say("finished", now)
            self._delivery.poll(0.05)
            self._announcer.settle(self._now())
            if self._announcer.finished:
                if self._progress:
                    self._report()
                return True
        return False

    def _drain(self) -> int:
        """Asked to stop: read nothing more, wait for what is on its way, save, say `stopped`; all within the grace."""
        deadline = self._clock.monotonic_ms() + self._config.agent.grace_ms
        while self._clock.monotonic_ms() < deadline and self._delivery.on_their_way:
            self._delivery.poll(0.05)
            self._delivery.pump()
            self._take_word()
        if self._pending:
            self._state.apply(self._pending)
            self._pending.clear()
        said = False
        while self._clock.monotonic_ms() < deadline and (self._tailer.known_paths or self._announcer.ready):
            self._announcer.settle(self._now())
            if not self._announcer.ready:
                self._announcer.prepare(self._delivery.producer)
            elif not self._announcer.busy:
                if said:
                    break
                self._say("stopped", self._now())
                said = not self._announcer.more_to_say
            self._delivery.poll(0.05)
        self._delivery.let_go()
        return 0


def _max_open() -> int:
    """How many files may be held open: half of what the system allows, and no more than a thousand."""
    import resource

    return max(16, min(1000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))


def machine_id() -> str:
    """What names this machine; empty where the system has no such thing."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
    return ""
