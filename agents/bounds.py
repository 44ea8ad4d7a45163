"""What topics take at most in one batch (`max.message.bytes`): asked of the broker once it has refused a batch of several.

Most agents never ask: the default of brokers is above that of `batch.size`. Who may not ask (DESCRIBE_CONFIGS on the topic) is
told once, and sends record by record what was refused together.
"""

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException

from headrace.agents.producer import connection_of
from headrace.librdkafka import reason

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

logger = logging.getLogger(__name__)

_KEY: Final = "max.message.bytes"
_REST: Final = 60
"""Rounds in which a topic is not asked for again."""
_TIMEOUT_S: Final = 10.0


class Bounds:
    """Of one agent's topics.

    Args:
        settings: librdkafka's, as the user gave them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._asked: dict[str, Future[Any]] = {}
        self._rests: dict[str, int] = {}

    def ask(self, topic: str) -> None:
        """Ask for a topic's bound, unless that was done a moment ago; `take` has the answer later."""
        if topic in self._rests:
            return
        from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are there, and most agents never need them
            AdminClient,
            ConfigResource,
            ResourceType,
        )

        self._rests[topic] = _REST
        self._admin = self._admin or AdminClient(connection_of(self._settings))  # held until all have answered
        resource = ConfigResource(ResourceType.TOPIC, topic)
        self._asked[topic] = self._admin.describe_configs([resource], request_timeout=_TIMEOUT_S)[resource]

    def take(self) -> list[tuple[str, int]]:
        """Topics whose bounds were told since, and these, in bytes."""
        told = []
        for topic in [topic for topic, answer in self._asked.items() if answer.done()]:
            try:
                told.append((topic, int(self._asked.pop(topic).result()[_KEY].value)))
            except (KafkaException, KeyError, TypeError, ValueError) as error:
                words = "the broker does not tell what a topic takes at most: what it refuses is sent twice"
                logger.warning(words, extra={"topic": topic, "error": reason(error)})
        if not self._asked:
            self._admin = None
        return told

    def rest(self) -> None:
        """A round has passed."""
        self._rests = {topic: rounds - 1 for topic, rounds in self._rests.items() if rounds > 1}
