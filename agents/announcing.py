"""The agent's messages on `_audit`: what was sent, by windows, and the claim that all is complete up to a moment.

Owns its own producer's topic and order, nothing of the state but the mark that a window was said. `sent/` is acknowledged
before the `agent/` that claims it is written, to one partition: so a heartbeat's totals are what stands before it, whatever
failed. Each is written after the state it describes is durable. Source: audit.md, Messages; ADR 0055.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from headrace import __version__
from headrace.agents.effects import Now
from headrace.agents.producer import connection_of
from headrace.agents.state import AgentState
from headrace.agents.windows import WindowRow
from headrace.audit import AUDIT_TOPIC, AgentMessage, SentMessage, State, audit_partition
from headrace.errors import StorageError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)

_MOST_WINDOWS = 2000  # said at once; the claim waits until all are said
_TOPIC_CONFIG = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}


@dataclass(slots=True)
class _Round:
    """One heartbeat and the windows that it claims: what was not heard of yet.

    `heartbeat` waits for the windows; None once it is written, and in a round of windows only.
    """

    windows: list[WindowRow]
    heartbeat: AgentMessage | None = None
    unheard: int = 0
    failed: bool = False
    final: bool = False


class Announcer:
    """Writes one agent's messages of one run.

    Args:
        topics: asks for all that the agent is configured for; each is named in every heartbeat, acknowledged or not.
        run: a random name of this start.
    """

    def __init__(
        self, settings: dict[str, Any], state: AgentState, topics: Callable[[], Sequence[str]], *, host: str, run: str
    ) -> None:
        self._settings, self._state, self._topics, self._host, self._run = settings, state, topics, host, run
        self._partition: int | None = None
        self._producer: Producer | None = None
        self._round: _Round | None = None
        self._append: tuple[int, int] | None = None  # broker append time of the last heartbeat; monotonic time of its ack
        self._heard_ms = 0
        self._more = False
        self._admin: AdminClient | None = None
        self._creating: Future[None] | None = None
        self._heartbeat_ms: int | None = None
        self.finished = False

    @property
    def ready(self) -> bool:
        """Whether the topic is there."""
        return self._partition is not None

    def prepare(self, producer: Producer) -> None:
        """Look for the topic, and make it where it is missing; what fails is logged, to be tried again."""
        try:
            topics = producer.list_topics(timeout=1).topics
            if AUDIT_TOPIC not in topics:
                self._create()
            elif topics[AUDIT_TOPIC].partitions:
                self._admin = None
                self._partition = audit_partition(self._state.agent_id, len(topics[AUDIT_TOPIC].partitions))
        except KafkaException as error:
            logger.warning("_audit cannot be reached", extra={"error": error.args[0].str()})

    def _create(self) -> None:
        """Ask for the topic; the answer is not waited for: the next look finds it."""
        if self._creating is not None and not self._creating.done():
            return
        from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and documented
            AdminClient,
            NewTopic,
        )

        self._admin = AdminClient(connection_of(self._settings))  # held: a client that is let go takes its requests with it
        topic = NewTopic(AUDIT_TOPIC, num_partitions=1, replication_factor=-1, config=_TOPIC_CONFIG)
        self._creating = self._admin.create_topics([topic])[AUDIT_TOPIC]
        self._creating.add_done_callback(_log_refusal)

    @property
    def more_to_say(self) -> bool:
        """Whether the last round held windows only, because there were too many for one."""
        return self._more

    @property
    def busy(self) -> bool:
        """Whether a round is not acknowledged yet; its claim must not be overtaken."""
        return self._round is not None

    def bounded(self, complete: Now, now: Now) -> int | None:
        """The wall time (ms) that may be claimed for a moment: no later than by the broker's clock; None before it is known."""
        if self._append is None:
            return None
        append_ms, heard_ms = self._append
        ago_ms = now.monotonic_ms - complete.monotonic_ms
        return min(complete.wall_ms, now.wall_ms - ago_ms, append_ms + complete.monotonic_ms - heard_ms)

    def announce(self, producer: Producer, state: State, complete: Now | None, now: Now) -> None:
        """Write the windows that changed; the heartbeat follows. The state must be durable, and no round under way."""
        assert self._partition is not None
        assert self._round is None
        self._producer = producer
        windows = self._state.unsaid_windows(_MOST_WINDOWS)
        self._round = current = _Round(windows)
        agent_id = self._state.agent_id
        try:
            for row in windows:
                sent = SentMessage(
                    row.topic, agent_id, self._run, row.window_start_ms, row.count, row.bytes_total, row.content_hash,
                    dict(row.acked), dict(row.dropped), row.rejected, row.chapter,
                )  # fmt: skip
                self._write(sent.key, sent.encode(), current)
            self._more = len(windows) == _MOST_WINDOWS
            if self._more:
                return  # the rest follows before anything is claimed
            claim = None if state == "finished" or complete is None else self.bounded(complete, now)
            acked: dict[str, dict[int, int]] = {topic: {} for topic in self._topics()} | self._state.ends()
            current.heartbeat = AgentMessage(
                agent_id, self._run, self._host, __version__, state, claim, acked, self._state.totals()
            )  # fmt: skip
            current.final = state == "finished"
            if not windows:
                self._claim(current, now)
        except (BufferError, KafkaException) as error:  # the queue is full, or the client has ended
            current.failed = True  # said again with the next round
            logger.warning("_audit was not written", extra={"error": str(error)})

    def _claim(self, current: _Round, now: Now) -> None:
        assert current.heartbeat is not None
        heartbeat, current.heartbeat = replace(current.heartbeat, clock_ms=now.wall_ms), None
        self._write(heartbeat.key, heartbeat.encode(), current, heartbeat=True)

    def _write(self, key: str, value: bytes, current: _Round, *, heartbeat: bool = False) -> None:
        assert self._producer is not None
        assert self._partition is not None

        def heard(error: KafkaError | None, message: Message) -> None:
            current.unheard -= 1
            if error is not None:
                current.failed = True
                logger.warning("_audit was not written", extra={"error": error.str()})
            elif heartbeat:
                kind, append_ms = message.timestamp()
                self._heartbeat_ms = append_ms if kind == TIMESTAMP_LOG_APPEND_TIME else None

        self._producer.produce(AUDIT_TOPIC, value, key.encode(), self._partition, on_delivery=heard)
        current.unheard += 1

    def settle(self, now: Now) -> None:
        """After a poll: once a round's windows are acknowledged write what claims them; once this is, the round is over."""
        current = self._round
        if current is None or current.unheard:
            return
        if current.failed:
            self._round = None
            return
        if current.windows:
            self._keep_said(current)
            if current.heartbeat is not None:
                try:
                    self._claim(current, now)
                except (BufferError, KafkaException) as error:
                    self._round = None
                    logger.warning("_audit was not written", extra={"error": str(error)})
                return
        self._round = None
        self.finished = self.finished or current.final
        if self._heartbeat_ms is not None:
            self._append = (self._heartbeat_ms, now.monotonic_ms)
            self._heartbeat_ms = None

    def _keep_said(self, current: _Round) -> None:
        windows, current.windows = current.windows, []
        try:
            self._state.said(windows)
        except StorageError as error:  # a full disk: they are said again
            logger.warning("what _audit has heard is not kept", extra={"error": str(error)})


def _log_refusal(creation: Future[None]) -> None:
    error = creation.exception()
    if isinstance(error, KafkaException) and error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
        logger.warning("_audit cannot be made", extra={"error": error.args[0].str()})
