"""librdkafka as an agent sees it, and a broker behind it: both simulated, for the delivery to meet.

As librdkafka documents it: records of a partition leave in the order of `produce`, in batches that are accepted or refused as
a whole; word of each comes later, by `poll` alone; what is purged is reported as failed, and may have arrived all the same; a
full queue is a BufferError, what is refused at once a KafkaException; `poll` raises what is fatal, once, and from then on the
client takes nothing (confluent_kafka calls no `error_cb` for it, as tests/unit/agents/test_producer.py shows).
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, KafkaException

LETTERS = "letters"
LOCAL, LARGE, INVALID, NO_LETTER = b"local", b"large", b"invalid", b"noletter"  # what a line holds says what becomes of it
FOR_A_WHILE = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError._MSG_TIMED_OUT,
)  # fmt: skip
FATAL = (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


@dataclass(slots=True, eq=False)
class Given:
    """A record that a client was given, and the report of it, with the methods of confluent_kafka's Message."""

    name: tuple[str, int]  # topic and partition
    payload: bytes
    headers: Mapping[str, Any]
    tell: Callable[[KafkaError | None, Any], None]
    at: int | None = None

    def value(self) -> bytes:
        return self.payload

    def topic(self) -> str:
        return self.name[0]

    def partition(self) -> int:
        return self.name[1]

    def offset(self) -> int | None:
        return self.at


@dataclass(slots=True)
class Broker:
    """Logs by topic and partition, and what is the matter with it."""

    rng: random.Random
    logs: dict[tuple[str, int], list[Given]] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)  # topics that may not be written for a while
    fail_rate: float = 0.0
    fatal_rate: float = 0.0
    small_rate: float = 0.0  # how often a batch of several is too large

    def append(self, given: Given) -> None:
        log = self.logs.setdefault(given.name, [])
        given.at = len(log)
        log.append(given)

    def take(self, batch: list[Given]) -> KafkaError | None:
        """Accept or refuse a batch. What is said to have timed out may be there all the same."""
        topic = batch[0].topic()
        for tag, code in ((LARGE, KafkaError.MSG_SIZE_TOO_LARGE), (INVALID, KafkaError.INVALID_RECORD)):
            if topic != LETTERS and any(tag in given.payload for given in batch):
                return KafkaError(code)
        if topic == LETTERS and any(NO_LETTER in given.payload for given in batch):
            return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        if len(batch) > 1 and self.rng.random() < self.small_rate:
            return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        if topic in self.refusing or self.rng.random() < self.fail_rate:
            code = self.rng.choice(FOR_A_WHILE)
            if code == KafkaError._MSG_TIMED_OUT and topic not in self.refusing:
                for given in batch[: self.rng.randint(0, len(batch))]:
                    self.append(given)
            return KafkaError(code)
        for given in batch:
            self.append(given)
        return None


class Client:
    """One producer.

    Args:
        room: how many records it takes before its queue is full.
        given: is told of each record that it takes, before it does.
        heard: is told of each report, before the agent is.
    """

    def __init__(
        self,
        broker: Broker,
        config: Mapping[str, Any],
        room: int,
        given: Callable[["Client", Given], None],
        heard: Callable[[Given, KafkaError | None], None],
    ) -> None:
        self._broker, self._rng, self._room, self._given, self._heard = broker, broker.rng, room, given, heard
        self._most = int(config.get("batch.num.messages", min(6, config["batch.size"])))
        self.is_single = self._most == 1 and "batch.num.messages" in config
        self.kind = (self.is_single, config["batch.size"])
        self._queues: dict[tuple[str, int], deque[Given]] = {}
        self._reports: deque[tuple[Given, KafkaError | None]] = deque()
        self._fatal: KafkaError | None = None
        self._raised = self.let_go = False

    def __len__(self) -> int:
        return len(self._reports) + sum(len(queue) for queue in self._queues.values())

    def produce(
        self, topic: str, value: bytes, key: bytes | None = None, partition: int = 0, callback: Any = None,
        on_delivery: Any = None, timestamp: int = 0, headers: Any = None,
    ) -> None:  # fmt: skip
        assert timestamp
        assert callback or on_delivery
        assert key is None or topic == LETTERS
        given = Given((topic, partition), value, dict(headers or ()), callback or on_delivery)
        if self._fatal is not None:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        if LOCAL in value and topic != LETTERS:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if self._rng.random() < (0.3 if topic in self._broker.refusing else self._broker.fail_rate):
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
        if len(self) >= self._room:
            raise BufferError("Local: Queue full")
        self._given(self, given)
        self._queues.setdefault(given.name, deque()).append(given)

    def poll(self, timeout_s: float) -> int:
        assert timeout_s >= 0
        served = self._rng.randint(0, len(self._reports))
        if self._fatal is not None and not self._raised and self._rng.random() < 0.5:
            self._raised = True
            raise KafkaException(self._fatal)
        for _ in range(served):
            given, error = self._reports.popleft()
            self._heard(given, error)
            given.tell(error, given)
        return served

    def purge(self) -> None:
        self.let_go = True
        self._report_all(KafkaError._PURGE_QUEUE)

    def _report_all(self, code: int) -> None:
        for queue in self._queues.values():
            arrived = self._rng.choice((0, 0, self._rng.randint(0, len(queue))))
            for index, given in enumerate(queue):
                if index < arrived and self._broker.take([given]) is None:
                    pass  # it was on the wire
                self._reports.append((given, KafkaError(code)))
            queue.clear()

    # ---- what happens to it

    def step(self) -> None:
        """Something happens on the wire: word of one batch, or an error that ends this client."""
        names = [name for name, queue in sorted(self._queues.items()) if queue]
        if not names:
            return
        if self._fatal is None and self._rng.random() < self._broker.fatal_rate:
            self._fatal = KafkaError(self._rng.choice(FATAL), "made up", fatal=True)
            self._report_all(KafkaError._PURGE_INFLIGHT)
            return
        queue = self._queues[self._rng.choice(names)]
        batch = [queue.popleft() for _ in range(min(len(queue), self._rng.randint(1, self._most)))]
        error = self._broker.take(batch)
        self._reports.extend((given, error) for given in batch)

    def die(self) -> None:
        """The process is gone; what was on the wire may arrive."""
        for _, queue in sorted(self._queues.items()):
            for given in list(queue)[: self._rng.randint(0, len(queue))]:
                if self._broker.take([given]) is not None:
                    break


class Admin:
    """Answers what a topic takes at most, sooner or later; or that this user may not ask."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._asked: list[Future[Any]] = []

    def describe_configs(self, resources: list[Any], request_timeout: float) -> dict[Any, Future[Any]]:
        assert request_timeout > 0
        answers: dict[Any, Future[Any]] = {resource: Future() for resource in resources}
        self._asked += answers.values()
        return answers

    def step(self) -> None:
        """Word of the oldest question."""
        if not self._asked:
            return
        answer = self._asked.pop(0)
        if self._rng.random() < 0.2:
            answer.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
        else:
            answer.set_result({"max.message.bytes": SimpleNamespace(value=str(200 + self._rng.choice((1, 3, 5, 10**6))))})
