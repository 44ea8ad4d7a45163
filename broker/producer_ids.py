"""Producer ids for idempotent producers: each is given once, for ever. Source: KIP-98, Kafka's ProducerIdManager."""

from functools import partial

from headrace.broker.coordination.changes import Change
from headrace.broker.coordination.store import CoordinationStore

_BLOCK = 1000


class ProducerIds:
    """Taken from the store in blocks, so that most cost no disk write; what is left of a block is lost with the process."""

    def __init__(self, store: CoordinationStore) -> None:
        self._store = store
        self._block = range(0)

    def next(self) -> Change[int]:
        """One that nobody ever had. Raises StorageError."""
        if not self._block:
            first = yield partial(self._store.allocate_producer_ids, _BLOCK)
            self._block = range(first, first + _BLOCK)
        producer_id, self._block = self._block[0], self._block[1:]
        return producer_id
