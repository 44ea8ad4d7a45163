"""The producers of one delivery: one for nearly all, one for each size of batch below the usual, one for single records."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import Producer

from headrace.agents.bounds import Bounds
from headrace.agents.producer import DEFAULTS, LastingProducer

logger = logging.getLogger(__name__)

_FRAMING_BYTES: Final = 200
"""Of a batch, with room to spare: its header has 61 (KIP-98)."""


class Clients:
    """Of one delivery.

    Args:
        settings: librdkafka's, as the user gave them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self.batched = LastingProducer(settings)
        self._single: LastingProducer | None = None
        self._by_bytes: dict[int, LastingProducer] = {}
        self._of: dict[str, LastingProducer] = {}
        self._bounds = Bounds(settings)

    def of(self, topic: str) -> LastingProducer:
        """The one whose batches a topic takes, as far as is known."""
        return self._of.get(topic, self.batched)

    def one_by_one(self) -> Producer:
        """The client whose batches hold one record, so that none is refused for another's sake."""
        if self._single is None:
            self._single = LastingProducer(self._settings, batch_records=1)
        return self._single.client

    def refused(self, topic: str) -> None:
        """A topic has refused a batch of several for its size."""
        self._bounds.ask(topic)

    def poll(self, timeout_s: float) -> None:
        """Serve librdkafka's reports, waiting for the first at most so long."""
        for topic, most_bytes in self._bounds.take():
            self._narrow(topic, most_bytes)
        for client in self._others():
            client.poll(0)
        self.batched.poll(timeout_s)

    def _narrow(self, topic: str, most_bytes: int) -> None:
        batch_bytes = max(1, most_bytes - _FRAMING_BYTES)
        if batch_bytes >= int(self._settings.get("batch.size", DEFAULTS["batch.size"])):
            return
        if batch_bytes not in self._by_bytes:
            self._by_bytes[batch_bytes] = LastingProducer({**self._settings, "batch.size": batch_bytes})
        self._of[topic] = self._by_bytes[batch_bytes]
        logger.info("batches are cut to what a topic takes", extra={"topic": topic, "max.message.bytes": most_bytes})

    def _others(self) -> Iterator[LastingProducer]:
        yield from self._by_bytes.values()
        if self._single is not None:
            yield self._single

    def renew(self) -> None:
        """Others in place of those that ended; to be called now and then."""
        self._bounds.rest()
        self.batched.renew()
        for client in self._others():
            client.renew()

    def let_go(self) -> None:
        """Give up what is on its way, at once."""
        self.batched.let_go()
        for client in self._others():
            client.let_go()
