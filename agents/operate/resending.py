"""Records of a replay to the broker: each in a batch of its own, so that a refusal is of one record, and not for ever."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from headrace.agents.producer import PERMANENT, LastingProducer
from headrace.agents.replays import Replay


@dataclass(slots=True)
class Sent:
    """What became of some records: acknowledged at an offset; refused for good, and why; or not known, `failed` saying why."""

    acknowledged: list[tuple[Replay, int]] = field(default_factory=list)
    refused: list[tuple[Replay, str]] = field(default_factory=list)
    failed: str = ""
    unheard: int = 0

    def heard(self, replay: Replay) -> Callable[[KafkaError | None, Message], None]:
        """What takes the report of a record."""

        def heard(error: KafkaError | None, message: Message) -> None:
            self.unheard -= 1
            if error is None:
                self.acknowledged.append((replay, message.offset() or 0))
            else:
                self.not_taken(replay, error)

        return heard

    def not_taken(self, replay: Replay, error: KafkaError) -> None:
        """A record failed."""
        if error.code() in PERMANENT:
            self.refused.append((replay, error.name()))
        else:
            self.failed = self.failed or error.str()


class Resender:
    """A producer of the agent's settings; `patience_s`: how long it waits without word of any record."""

    def __init__(self, settings: Mapping[str, Any], patience_s: float) -> None:
        self._patience_s = patience_s
        self._producer = LastingProducer(settings, batch_records=1)

    def send(self, replays: Sequence[Replay]) -> Sent:
        """Send records, in order, and wait for word of each."""
        sent = Sent()
        for replay in replays:
            self._produce(replay, sent)
        word, since_s = sent.unheard, time.monotonic()
        while sent.unheard and not self._producer.fatal:
            self._producer.poll(0.1)
            if sent.unheard != word:
                word, since_s = sent.unheard, time.monotonic()
            elif time.monotonic() - since_s > self._patience_s:
                sent.failed = sent.failed or f"no answer for {self._patience_s:g} s"
                break
        if sent.unheard:
            self._producer.let_go()
            sent.failed = sent.failed or "the broker lets this user write nothing"
        return sent

    def _produce(self, replay: Replay, sent: Sent) -> None:
        while not sent.failed:
            try:
                self._producer.client.produce(
                    replay.name[0], replay.value, partition=replay.partition, on_delivery=sent.heard(replay),
                    timestamp=replay.timestamp_ms, headers=replay.headers or None,
                )  # fmt: skip
                sent.unheard += 1
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                sent.not_taken(replay, error.args[0])
                return

    def close(self) -> None:
        """Give up what is on its way."""
        self._producer.let_go()
