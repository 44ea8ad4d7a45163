"""The transactions that Apache Kafka aborted in a log that we took over: what a read_committed consumer must pass over.

`%020d.txnindex` beside each segment, entries of 34 bytes: version i16 (0), producer id i64, first offset i64, last offset i64,
last stable offset i64. Nothing is added here: this broker has no transactions. One that was open when Kafka stopped can never
be committed any more, and counts as aborted up to the end; the producers' states say where it began.
Source: KIP-98, Kafka's TransactionIndex, AbortedTxn, ProducerStateManager.
"""

import logging
import struct
from collections.abc import Sequence

from headrace.broker.log.disk import Disk, read_whole
from headrace.broker.log.file_names import TXN_INDEX

logger = logging.getLogger(__name__)
_ENTRY = struct.Struct(">hqqqq")
_VERSION = 0

Aborted = tuple[int, int, int]  # producer id, first offset, last offset


class AbortedTransactions:
    """Of one log; its files are read when first asked for, as most logs have none and most consumers do not ask."""

    __slots__ = ("_aborted", "_disk", "_end_offset", "_open", "_path")

    def __init__(self, disk: Disk, path: str, open_transactions: Sequence[tuple[int, int]], end_offset: int) -> None:
        """
        Args:
            open_transactions: (producer id, first offset).
            end_offset: of the log as it was opened: no transaction goes further.
        """
        self._disk, self._path, self._open, self._end_offset = disk, path, open_transactions, end_offset
        self._aborted: Sequence[Aborted] | None = None

    def reaching(self, offset: int) -> list[tuple[int, int]]:
        """(producer id, first offset) of those that end at `offset` or later, by first offset: what a Fetch from there names.

        Raises:
            OSError: the disk fails.
        """
        return [(producer_id, first) for producer_id, first, last in self._read() if last >= offset]

    def holds(self, producer_id: int, offset: int) -> bool:
        """Whether what a producer wrote at `offset`, in a transaction, was aborted. Raises OSError."""
        return any(of == producer_id and first <= offset <= last for of, first, last in self._read())

    def _read(self) -> Sequence[Aborted]:
        if self._aborted is None:
            found = [(producer_id, first, self._end_offset) for producer_id, first in self._open]
            for name in self._disk.list(self._path):
                if name.endswith(TXN_INDEX):
                    found += _entries(read_whole(self._disk, f"{self._path}/{name}") or b"", name)
            self._aborted = sorted(found, key=lambda each: each[1])
        return self._aborted


def _entries(data: bytes, name: str) -> list[Aborted]:
    """The entries of one file, up to one that a crash has torn."""
    found: list[Aborted] = []
    whole = len(data) - len(data) % _ENTRY.size
    for version, producer_id, first, last, _ in _ENTRY.iter_unpack(data[:whole]):
        if version != _VERSION or not 0 <= first <= last:
            logger.error("an index of aborted transactions is damaged", extra={"file": name})
            break
        found.append((producer_id, first, last))
    return found
