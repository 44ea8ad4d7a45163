"""Carries out the effects of the cores, in order: files, spools, the state, the broker. Decides nothing.

What is to be durable is gathered (positions may wait a moment, rows of what is sent next may not) and applied in one
transaction; a disk that refuses is waited for, because nothing may be sent before.
"""

import logging
from collections.abc import Callable, Generator
from threading import Event
from typing import Any

from headrace.agents.delivery import Delivery
from headrace.agents.directory.folder import Ending
from headrace.agents.directory.hands import put_away, sync_folder
from headrace.agents.effects import (
    Advance,
    Close,
    Effect,
    Forget,
    Keep,
    Lost,
    Measure,
    Note,
    NotOpened,
    Open,
    Opened,
    PutAway,
    Read,
    ReadSpool,
    Recall,
    Save,
    Send,
    SendRecords,
    Shipped,
    Stat,
    SyncFolder,
    carry_out,
)
from headrace.agents.events.pipeline import compiled
from headrace.agents.metrics import Metrics
from headrace.agents.operate.taps import Taps
from headrace.agents.spool.frames import Records
from headrace.agents.spool.log import Hole
from headrace.agents.spool.spools import Spools
from headrace.agents.state import AgentState
from headrace.agents.tail.files import OpenFiles
from headrace.agents.topics import Topics
from headrace.errors import StorageError

logger = logging.getLogger(__name__)

SAVE_INTERVAL_MS = 200  # how long an acknowledged position may wait to be durable
COPY_INTERVAL_MS = 300_000  # how old an earlier generation of the state may be
_DISK_RETRY_S = 1.0


class Hands:
    """Of one agent; used by its one thread.

    Args:
        monotonic_ms: the clock.
        beat: to be called as long as a step gets on, or waits for the disk.
    """

    def __init__(
        self,
        state: AgentState,
        topics: Topics,
        delivery: Delivery,
        spools: Spools,
        metrics: Metrics,
        taps: Taps,
        monotonic_ms: Callable[[], int],
        beat: Callable[[], None],
    ) -> None:
        self._state, self._topics, self._delivery, self._metrics, self._taps = state, topics, delivery, metrics, taps
        self._spools = spools
        self._monotonic_ms, self._beat = monotonic_ms, beat
        self._files = OpenFiles()
        self._pending: list[Advance | Save | Keep | Lost | Forget] = []
        self._save_due_ms = self._waiting_since_ms = 0
        self._copy_due_ms = monotonic_ms() + COPY_INTERVAL_MS
        self.stop = Event()

    def carry_out(self, steps: Generator[Effect, Any, Any]) -> Any:
        """Carry out a step's effects, in order, and return its value."""
        return carry_out(steps, self._do)

    def _do(self, effect: Effect) -> Any:
        self._beat()
        match effect:
            case Read():
                return self._read(effect)
            case Stat():
                return self._files.stat(effect.handle)
            case Send() | SendRecords():
                return self._send(effect)
            case ReadSpool():
                return self._read_spool(effect)
            case Save() | Advance() | Forget() | Lost():
                self._keep(effect)
            case Recall():
                self.save()
                return self._state.stream(effect.stream_id)
            case Open():
                return self._open(effect)
            case Measure():
                return self._files.measure(effect.handle, effect.marks)
            case Close():
                self._files.close(effect.handle)
            case PutAway() | SyncFolder():
                return self._in_folder(effect)
            case Note():
                logger.warning(effect.message, extra={"file": effect.path, "stream_id": effect.stream_id})
        return None

    def _open(self, effect: Open) -> Opened | NotOpened:
        opened = self._files.open(effect.path, packed=effect.packed)
        if isinstance(opened, NotOpened):
            self._metrics.error("no_descriptors" if opened.exhausted else "cannot_open", "receiving")
        return opened

    def _read(self, effect: Read) -> bytes | None:
        data = self._files.read(effect.handle, effect.offset, effect.length)
        if data is None:
            self._metrics.error("cannot_read", "receiving")
        return data

    def _in_folder(self, effect: PutAway | SyncFolder) -> Ending | bool:
        if isinstance(effect, SyncFolder):
            return sync_folder(effect.path)
        ending, why = put_away(effect)
        if ending is Ending.REFUSED:
            self._metrics.error("cannot_put_away", "receiving")
            logger.error("a file that is done cannot be put away; tried again", extra={"file": effect.path, "error": why})
        return ending

    def _send(self, effect: Send | SendRecords) -> Shipped:
        """Encode a chunk and hand it over; what the user's functions answered is durable before anything of it is sent."""
        stream, chunk = effect.stream, effect.chunk
        encoder, asks = self._topics.encoder(stream.topic, chunk.pipeline), compiled(chunk.pipeline).asks
        known = self._state.answers(stream.stream_id, chunk.start) if asks else None
        if isinstance(effect, Send):
            encoded, size_bytes = encoder.encode(stream, chunk, effect.data, known), len(effect.data)
        else:
            encoded, size_bytes = encoder.encode_records(stream, chunk, effect.records, known), effect.records.size_bytes
        if asks and known is None:
            self._keep(Keep(stream.stream_id, chunk.start, tuple(encoded.answers)))
        self._taps.offer(effect.input, stream.topic, encoder.schema, encoded.values)
        self._delivery.send(stream, chunk, encoded)
        self._metrics.received(effect.input, encoded.lines, size_bytes, encoded.left_out)
        if encoded.unparsed:
            self._metrics.error("parser_failed", "processing", encoded.unparsed)
        return encoded.shipped

    def _keep(self, effect: Advance | Save | Keep | Lost | Forget) -> None:
        """To be durable: at once where something is to be sent, else with the next transaction."""
        if not self._pending:
            self._waiting_since_ms = self._monotonic_ms()
        self._pending.append(effect)
        if isinstance(effect, Save | Keep):
            self.save()
        elif isinstance(effect, Lost):
            self._metrics.lost(effect.reason, effect.size_bytes)
            lost = {"file": effect.stream.path, "bytes": effect.size_bytes, "reason": effect.reason}
            logger.error("bytes lost before they were read", extra=lost)

    def _read_spool(self, effect: ReadSpool) -> Records | Hole | None:
        try:
            return self._spools.read(effect)
        except StorageError as error:
            self._metrics.error("cannot_read", "receiving")
            logger.error("the spool cannot be read", extra={"spool": effect.path, "error": str(error)})
            return None

    def waiting_s(self) -> float:
        """For how long the oldest of what is to be durable has waited, s. Asked from another thread."""
        return (self._monotonic_ms() - self._waiting_since_ms) / 1000 if self._pending else 0.0

    def save_if_due(self) -> None:
        """Make durable what has waited for long enough; every few minutes, keep a copy of the state."""
        if self._monotonic_ms() >= self._copy_due_ms:
            self._state.keep_generation()
            self._copy_due_ms = self._monotonic_ms() + COPY_INTERVAL_MS
        if self._pending and self._monotonic_ms() >= self._save_due_ms:
            self.save()

    def save(self) -> None:
        """Make all that waits durable, earlier effects first.

        Raises:
            StorageError: the disk refuses, and the agent is asked to stop meanwhile.
        """
        while self._pending:
            try:
                self._state.apply(self._pending)
            except StorageError as error:
                self._metrics.error("disk", "storing")
                logger.error("waiting for the disk", extra={"error": str(error)})
                self._beat()
                if self.stop.wait(_DISK_RETRY_S):
                    raise
                continue
            self._release()
            self._pending.clear()
        self._save_due_ms = self._monotonic_ms() + SAVE_INTERVAL_MS

    def _release(self) -> None:
        """Positions are durable: what spools hold below them may go."""
        for effect in self._pending:
            if isinstance(effect, Advance | Lost) and effect.stream.is_spooled:
                try:
                    self._spools.release(effect.stream.path, effect.stream.position)
                except StorageError as error:  # deleted at the next start
                    logger.warning("a segment is not deleted", extra={"spool": effect.stream.path, "error": str(error)})
