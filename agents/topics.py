"""Which topics can be sent to: partitions and ids of schemas are known. Those that are not are asked for again and again."""

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, Producer

from headrace.agents.effects import Input
from headrace.agents.events.encoder import ChunkEncoder
from headrace.agents.events.pipeline import compiled
from headrace.agents.events.schemas.choice import TopicSchema
from headrace.agents.metrics import Metrics
from headrace.agents.state import AgentState
from headrace.clock import Clock
from headrace.errors import PeerError, RefusedError, StorageError
from headrace.schemas.framing import header

if TYPE_CHECKING:
    from headrace.schemas.client import RegistryClient
    from headrace.schemas.registry_keys import RegistryKeys

logger = logging.getLogger(__name__)

RETRY_MS, SHARE = 100, 5  # topics that are not ready are asked for so often, or for a fifth of the time
_REFUSED_RETRY_MS = 5000
_SAID = 600  # characters of a registry's reason
_REGISTRY_TIMEOUT_S, _BROKER_TIMEOUT_S = 3, 1


class Topics:
    """The topics of one agent.

    Args:
        schemas: what is written to each topic, by the topic's name; nearly always one, but a spool may hold what is shipped as
            an earlier configuration had it.
        state: where ids of schemas are kept, so that a registry that is away stops nobody who has shipped before.
    """

    def __init__(
        self,
        schemas: Mapping[str, Sequence[TopicSchema]],
        registry: "RegistryKeys",
        state: AgentState,
        clock: Clock,
        metrics: Metrics,
        *,
        once: bool,
    ) -> None:
        self.names = tuple(schemas)
        self._schemas, self._once = schemas, once
        self._registry_keys = registry
        self._state, self._clock, self._metrics = state, clock, metrics
        self._partitions: dict[str, int] = {}
        self._registered: set[str] = set()
        self._encoders: dict[tuple[str, str], ChunkEncoder] = {}  # by topic and pipeline
        self._due_ms = 0
        self._refused_ms: dict[str, int] = {}  # when a refused schema is shown to the registry again
        self._complaints: dict[str, tuple[str, str]] = {}

    def use(self, schemas: Mapping[str, Sequence[TopicSchema]]) -> None:
        """Others are shipped to from now on; what is known of the former ones stays, for what is on its way."""
        self.names, self._due_ms = tuple(schemas), 0
        self._registered -= {topic for topic, found in schemas.items() if found != self._schemas.get(topic)}
        self._schemas = {**self._schemas, **schemas}

    def is_ready(self, topic: str) -> bool:
        """Whether a topic's partitions and schema id are known."""
        return topic in self._registered and topic in self._partitions

    @property
    def any_ready(self) -> bool:
        return any(self.is_ready(topic) for topic in self.names)

    def why_not_ready(self) -> str | None:
        """Why nothing can be shipped yet; None if something can. Asked from another thread."""
        if self.any_ready:
            return None
        said = "; ".join(f"{message}: {error}" for message, error in self._complaints.values())
        return f"no topic and schema are known yet: {said or 'are the broker and the registry there?'}"

    def encoder(self, topic: str, pipeline: str) -> ChunkEncoder:
        """Makes records for a topic that is ready, under the schema that a pipeline names; it was registered before."""
        encoder = self._encoders.get((topic, pipeline))
        if encoder is None:
            schema = compiled(pipeline).schema or self._schemas[topic][0]
            schema_id = self._known_id(topic, schema)
            assert schema_id is not None
            encoder = self._encoders[topic, pipeline] = ChunkEncoder(self._state.agent_id, header(schema_id), schema.text)
        return encoder

    def _known_id(self, topic: str, schema: TopicSchema) -> int | None:
        return self._state.schema_id(schema.registry, _subject(topic), schema.text)

    def partition_of(self, topic: str, stream_id: str) -> int:
        """The partition of a new stream, in a topic that is ready."""
        return uuid.UUID(stream_id).int % self._partitions[topic]

    def ask(self, producer: Producer, beat: Callable[[], None]) -> bool:
        """Ask for those that are not ready, when it is time to; returns whether it was. `beat` is called before each."""
        began_ms = self._clock.monotonic_ms()
        if began_ms < self._due_ms:
            return False
        for topic in self.names:
            if not self.is_ready(topic) and began_ms >= self._refused_ms.get(topic, began_ms):
                beat()
                self._learn(topic, producer)
        done_ms = self._clock.monotonic_ms()
        self._due_ms = done_ms + max(RETRY_MS, SHARE * (done_ms - began_ms))
        return True

    @cached_property
    def _registry(self) -> "RegistryClient":
        """Made, and imported, when the first id is asked for: an agent that has shipped before knows its own."""
        from headrace.schemas.client import RegistryClient

        keys = self._registry_keys
        user_info = None if keys.basic_auth_user_info is None else keys.basic_auth_user_info.get_secret_value()
        return RegistryClient(keys.url, timeout_s=_REGISTRY_TIMEOUT_S, user_info=user_info, ca_file=keys.ssl_ca_location)

    def _learn(self, topic: str, producer: Producer) -> None:
        """Ask for a topic, which makes it where the broker allows that, and for the id of its schema.

        Raises:
            RefusedError: the registry refuses the schema of a finite run's topic.
        """
        try:
            self._register(topic)
            found = producer.list_topics(topic, timeout=_BROKER_TIMEOUT_S).topics[topic]
            if found.partitions:
                self._partitions[topic] = len(found.partitions)
            elif found.error is not None:
                self._complain(topic, f"waiting for topic {topic}", found.error.str())
        except RefusedError as error:
            self._metrics.error("schema_refused", "sending")
            self._refused_ms[topic] = self._clock.monotonic_ms() + _REFUSED_RETRY_MS
            what, why = f"the registry refuses the schema of topic {topic}", _shortened(str(error))
            self._complain(topic, what, why)
            if self._once:
                raise RefusedError(f"{what}: {why}", status=error.status, code=error.code) from error
        except (PeerError, StorageError) as error:
            self._metrics.error("registry", "sending")
            self._complain(topic, "waiting for the registry", str(error))
        except KafkaException as error:
            self._metrics.error("broker", "sending")
            self._complain(topic, "waiting for the broker", error.args[0].str())

    def _register(self, topic: str) -> None:
        """Get the ids of a topic's schemas, once for ever: kept, so that a dead registry stops nobody who knew them."""
        if topic in self._registered:
            return
        for schema in self._schemas[topic]:
            if self._known_id(topic, schema) is None:
                schema_id = self._registry.register(_subject(topic), schema.text)
                self._state.keep_schema_id(schema.registry, _subject(topic), schema.text, schema_id)
        self._registered.add(topic)

    def _complain(self, topic: str, message: str, error: str) -> None:
        """Log what is waited for, once as long as it stays the same."""
        if self._complaints.get(topic) != (message, error):
            self._complaints[topic] = (message, error)
            logger.warning(message, extra={"error": error})


def schemas_of(inputs: Iterable[Input], default: Callable[[str], TopicSchema]) -> dict[str, list[TopicSchema]]:
    """The schemas that inputs ship under, by topic; `default` is a topic's where a pipeline names none."""
    found: dict[str, list[TopicSchema]] = {}
    for each in inputs:
        schema = compiled(each.pipeline).schema or default(each.topic)
        if schema not in found.setdefault(each.topic, []):
            found[each.topic].append(schema)
    return dict(sorted(found.items()))


def _shortened(reason: str) -> str:
    """A registry's words without the schemas that it says behind them."""
    return reason if len(reason) <= _SAID else f"{reason[:_SAID]}…"


def _subject(topic: str) -> str:
    return f"{topic}-value"
