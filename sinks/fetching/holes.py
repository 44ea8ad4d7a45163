"""Why there is nothing between two records that the broker still has both of: a look at the batches that lie there.

Readers of committed records see neither transactions' markers nor what was aborted; the headers of the batches say which of the
two lies where. Offsets that no batch explains are for the caller to judge.
"""

import select
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from headrace.errors import CorruptError, PeerError
from headrace.sinks.fetching import wire
from headrace.sinks.fetching.batches import UnreadableError, walk
from headrace.sinks.fetching.connection import Address, Connection
from headrace.sinks.fetching.security import Security
from headrace.sinks.topics import Where

Unread = Sequence[tuple[int, int, str]]
"""Offsets [start, end) and why readers see nothing of them, ascending."""
MOST_KEPT: Final = 10_000
_ANSWER_BYTES: Final = 4 << 20
_WAIT_MS: Final = 3000


class Holes:
    """What is known of the batches that readers of some partitions do not see."""

    def __init__(self, look: Callable[[Where, int, int], Unread]) -> None:
        """`look`: asks the broker about [start, end) of a partition; may raise PeerError."""
        self._look = look
        self._known: dict[Where, list[tuple[int, int, str]]] = {}

    def note(self, where: Where, unread: Unread) -> None:
        """Keep what was met while a partition was read; of one that is read again, only that."""
        known = self._known.setdefault(where, [])
        if known and unread and unread[0][0] < known[-1][1]:
            known.clear()
        known += unread
        del known[:-MOST_KEPT]

    def cause(self, where: Where, start: int, end: int) -> tuple[int, str | None]:
        """Up to which offset of [start, end) there is one cause, and which; None where no batch explains it.

        Raises:
            PeerError: the broker had to be asked, and did not answer.
        """
        found = _cause(self._known.get(where, ()), start, end)
        if found[1] is None:
            found = _cause(self._look(where, start, end), start, end)
        return found


def _cause(unread: Unread, start: int, end: int) -> tuple[int, str | None]:
    at = bisect_right(unread, start, key=lambda piece: piece[1])
    if at == len(unread) or unread[at][0] >= end:
        return end, None
    first, last, why = unread[at]
    return (first, None) if first > start else (min(last, end), why)


def look(address: Address, where: Where, start: int, end: int, client_id: str, security: Security) -> Unread:
    """What readers do not see of [start, end) of a partition, by the batches that its leader has there.

    Raises:
        UnsecuredError: it cannot be asked by such a connection.
        PeerError: it does not answer, or not with batches.
    """
    connection = Connection(address, security, client_id)
    try:
        found: list[tuple[int, int, str]] = []
        offset, number = start, 0
        while offset < end:
            number += 1
            wanted = [wire.Wanted(*where, offset, -1)]
            connection.send(wire.request(wanted, number, client_id, wait_ms=0, max_bytes=_ANSWER_BYTES))
            _, (answer,) = wire.answers(_received(connection), number)
            if answer.error:
                raise PeerError(f"kafka: topic {where[0]}, partition {where[1]}: a fetch is refused with error {answer.error}")
            walked = walk(answer.batches, offset, -1, answer.aborted)
            if not len(answer.batches) and answer.last_stable_offset >= end:
                break
            if walked.next_offset == offset:
                raise PeerError(f"kafka: topic {where[0]}, partition {where[1]}: nothing can be read from offset {offset} on")
            found += walked.unread
            offset = walked.next_offset
        return found
    except (CorruptError, UnreadableError, ValueError) as error:
        raise PeerError(f"kafka: topic {where[0]}, partition {where[1]}: {error}") from error
    finally:
        connection.close()


def _received(connection: Connection) -> memoryview:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    while True:
        if (frame := connection.receive()) is not None:
            return frame
        if not poll.poll(_WAIT_MS):
            break
    raise PeerError("kafka: no answer to a fetch")
