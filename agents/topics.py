"""Which topics can be sent to: partitions and ids of schemas are known. Those that are not are asked for again and again."""

import logging
import uuid
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaException, Producer

from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.state import AgentState
from headrace.clock import Clock
from headrace.errors import PeerError, StorageError
from headrace.schemas.envelope import ENVELOPE_JSON
from headrace.schemas.framing import header
from headrace.schemas.registry_keys import RegistryKeys

logger = logging.getLogger(__name__)

RETRY_MS, SHARE = 100, 5  # topics that are not ready are asked for so often, or for a fifth of the time
_REGISTRY_TIMEOUT_S, _BROKER_TIMEOUT_S = 3, 1


class Topics:
    """The topics of one agent.

    Args:
        names: those that its inputs ship to.
        state: where ids of schemas are kept, so that a registry that is away stops nobody who has shipped before.
    """

    def __init__(self, names: Sequence[str], registry: RegistryKeys, state: AgentState, clock: Clock) -> None:
        self.names = tuple(names)
        self._url, self._registry = registry.url, registry.client(timeout_s=_REGISTRY_TIMEOUT_S)
        self._state, self._clock = state, clock
        self._partitions: dict[str, int] = {}
        self._encoders: dict[str, ChunkEncoder] = {}
        self._due_ms = 0
        self._complaint = ("", "")

    def is_ready(self, topic: str) -> bool:
        """Whether a topic's partitions and schema id are known."""
        return topic in self._encoders and topic in self._partitions

    @property
    def any_ready(self) -> bool:
        return any(self.is_ready(topic) for topic in self.names)

    def why_not_ready(self) -> str | None:
        """Why nothing can be shipped yet; None if something can. Asked from another thread."""
        return None if self.any_ready else "no topic and schema are known yet: are the broker and the registry there?"

    def encoder(self, topic: str) -> ChunkEncoder:
        """Makes records for a topic that is ready."""
        return self._encoders[topic]

    def partition_of(self, topic: str, stream_id: str) -> int:
        """The partition of a new stream, in a topic that is ready."""
        return uuid.UUID(stream_id).int % self._partitions[topic]

    def ask(self, producer: Producer, beat: Callable[[], None]) -> bool:
        """Ask for those that are not ready, when it is time to; returns whether it was. `beat` is called before each."""
        began_ms = self._clock.monotonic_ms()
        if began_ms < self._due_ms:
            return False
        for topic in self.names:
            if not self.is_ready(topic):
                beat()
                self._learn(topic, producer)
        done_ms = self._clock.monotonic_ms()
        self._due_ms = done_ms + max(RETRY_MS, SHARE * (done_ms - began_ms))
        return True

    def _learn(self, topic: str, producer: Producer) -> None:
        """Ask for a topic, which makes it where the broker allows that, and for the id of the envelope's schema."""
        subject = f"{topic}-value"
        try:
            schema_id = self._state.schema_id(self._url, subject, ENVELOPE_JSON)
            if schema_id is None:
                schema_id = self._registry.register(subject, ENVELOPE_JSON)
                self._state.keep_schema_id(self._url, subject, ENVELOPE_JSON, schema_id)
            self._encoders[topic] = ChunkEncoder(self._state.agent_id, header(schema_id))
            found = producer.list_topics(topic, timeout=_BROKER_TIMEOUT_S).topics[topic]
            if found.partitions:
                self._partitions[topic] = len(found.partitions)
            elif found.error is not None:
                self._complain(f"waiting for topic {topic}", found.error.str())
        except (PeerError, StorageError) as error:
            self._complain("waiting for the registry", str(error))
        except KafkaException as error:
            self._complain("waiting for the broker", error.args[0].str())

    def _complain(self, message: str, error: str) -> None:
        """Log what is waited for, once as long as it stays the same."""
        if (message, error) != self._complaint:
            self._complaint = (message, error)
            logger.warning(message, extra={"error": error})
