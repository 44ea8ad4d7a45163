"""librdkafka: what it says when it refuses, keys as a ConfigError and errors as words, how often it says the same, batches
whose CRC is wrong, and how long it may take to close."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from headrace.errors import ConfigError
from headrace.flood import MAX_KINDS, WINDOW_S

logger = logging.getLogger(__name__)
CLOSE_BOUND_S: Final = 3.0
CHECKED: Final = {"check.crcs": True}
"""Of a consumer that looks at the CRC of each batch. It tells of a wrong one, and goes on behind it: who may leave nothing out
reads again from there on (`is_refuted`)."""
REFUTED_REST_MS: Final = 1000
"""Before a batch whose CRC was wrong is read again."""
_TELL_REFUTED_MS: Final = 60_000


@contextlib.contextmanager
def checked_keys(where: str = "kafka") -> Iterator[None]:
    """Put around the making of a client, whose keys stand at `where`.

    Raises:
        ConfigError: librdkafka does not know a key, or refuses its value.
    """
    try:
        yield
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(f"{where}{': ' if where else ''}{reason(error)}; see librdkafka's CONFIGURATION.md") from error


def reason(error: Exception) -> str:
    """What librdkafka says of an error, in its words."""
    detail = error.args[0] if error.args else None
    return str(detail.str()) if isinstance(detail, KafkaError) else str(error) or type(error).__name__


def is_refuted(event: Message) -> bool:
    """Whether a consumer says that the CRC of a batch is wrong."""
    error = event.error()
    return error is not None and error.code() == KafkaError._BAD_MSG


class Refuted:
    """Batches whose CRC is wrong and that are read again until it is right: told at once, and then each minute."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[str, int], int] = {}
        self._told_ms: int | None = None

    def note(self, topic: str, partition: int, offset: int, now_ms: int) -> None:
        """One was read, again perhaps."""
        self._offsets[topic, partition] = offset
        if self._told_ms is not None and now_ms - self._told_ms < _TELL_REFUTED_MS:
            return
        self._told_ms = now_ms
        logger.error(
            "the CRC of a batch is wrong: nothing is read from it on. It is read again each second; if it stays so, the"
            " broker's log is damaged: restore that partition's files, or give the batch up by deleting records up to behind"
            " it (Kafka's kafka-delete-records.sh): the audit tells what is lost then",
            extra={"topic": topic, "partition": partition, "offset": offset, "partitions": len(self._offsets)},
        )

    def passed(self, topic: str, partition: int, offset: int) -> None:
        """A partition has been read up to an offset."""
        if self._offsets and self._offsets.get((topic, partition), offset) < offset:
            del self._offsets[topic, partition]
            self._told_ms = None if not self._offsets else self._told_ms
            logger.info("a batch whose CRC was wrong has been read", extra={"topic": topic, "partition": partition})

    def forget(self, topic: str, partition: int) -> None:
        """Nobody reads it any more here."""
        self._offsets.pop((topic, partition), None)


class _Repeated(logging.Filter):
    """Keeps a line of librdkafka's back that has been written in the last ten seconds: while a broker is away it says of each
    attempt to connect why it failed, twenty times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage().partition(" (after ")[0]
        if said not in self._written and len(self._written) >= MAX_KINDS:
            self._written.clear()
        if 0 <= record.created - self._written.get(said, -WINDOW_S) < WINDOW_S:
            return False
        self._written[said] = record.created
        return True


def unrepeated(name: str) -> logging.Logger:
    """The logger of that name, for a client to write to: it says the same no oftener than every ten seconds."""
    own = logging.getLogger(name)
    if not any(isinstance(each, _Repeated) for each in own.filters):
        own.addFilter(_Repeated())
    return own


def close_consumer(consumer: Consumer) -> None:
    """Close a consumer, or leave it behind after three seconds, for a process that is about to end.

    While an asynchronous commit waits for a group coordinator that has gone, librdkafka's close waits too: 45 s were seen.
    """
    closing = threading.Thread(target=consumer.close, name="close", daemon=True)
    closing.start()
    closing.join(CLOSE_BOUND_S)
    if closing.is_alive():
        logger.warning("kafka has gone: a consumer is not closed in order", extra={"seconds": CLOSE_BOUND_S})
