"""One librdkafka producer: idempotent, acks=all, with no time limit (design D6), made anew after an error that ended it."""

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from headrace.librdkafka import checked_keys, reason, unrepeated

logger = logging.getLogger(__name__)

DEFAULTS: Mapping[str, Any] = {
    "client.id": "headrace-agent",
    "compression.type": "lz4",
    "linger.ms": 20,
    "batch.size": 900_000,
    "message.max.bytes": 1_000_000,
    "queue.buffering.max.kbytes": 16 * 1024,
    "queue.buffering.max.messages": 100_000,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 60_000,
    "log_level": 4,
}
OURS: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "message.timeout.ms": 0,
    "allow.auto.create.topics": True,
}
_CONNECTION = frozenset({"bootstrap.servers", "security.protocol", "client.id", "log_level", "broker.address.family"})


def connection_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a producer's settings by which another client reaches the same cluster."""
    return {key: value for key, value in settings.items() if key in _CONNECTION or key.startswith(("sasl.", "ssl."))}


# Refused for what a record itself is: it would be refused for ever. The broker says it of a batch, so of each of its records.
PERMANENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_TIMESTAMP,
    }
)


TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


class LastingProducer:
    """A producer that survives its fatal errors: what it had on its way fails, and `client` is another one then.

    Args:
        settings: librdkafka's, as the user gave them.
        batch_records: how many records a batch holds at most; None for no such bound.
    """

    def __init__(self, settings: Mapping[str, Any], *, batch_records: int | None = None) -> None:
        bounds = {} if batch_records is None else {"batch.num.messages": batch_records}
        self._settings = {**DEFAULTS, **settings, **OURS, **bounds}
        self.client = self._made()

    def _made(self) -> Producer:
        self.fatal = self._over = False
        with checked_keys():
            return Producer({**self._settings, "error_cb": self._on_error}, logger=unrepeated("headrace.agents.librdkafka"))

    def _on_error(self, error: KafkaError) -> None:
        logger.warning("broker connection", extra={"error": error.str()})

    def poll(self, timeout_s: float) -> None:
        """Serve librdkafka's reports, waiting for the first at most so long."""
        try:
            self.client.poll(timeout_s)
        except KafkaException as error:  # so confluent_kafka tells what is fatal, and calls no error_cb then
            self._end(error)
        if self.fatal and not self._over:
            self._over = True
            self.let_go()

    def _end(self, error: KafkaException) -> None:
        of_rights = error.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED  # a user that may write nothing at all
        if not of_rights and not error.args[0].fatal():
            raise error
        if not self.fatal:
            words = (
                "waiting for the broker: give the agent's user WRITE on its topics" if of_rights else "the producer has ended"
            )
            logger.error(words, extra={"error": reason(error)})
        self.fatal = True

    def renew(self) -> None:
        """Another producer in place of one that ended, once all it had on its way is reported; to be called now and then."""
        if self.fatal and not len(self.client):
            logger.warning("the producer had a fatal error; what it had on its way is sent again by a new one")
            self.client = self._made()

    def let_go(self) -> None:
        """Give up what is on its way, at once: each record's report is an error (closing would wait for it without end)."""
        self.client.purge()
        with contextlib.suppress(KafkaException):
            self.client.poll(0)
