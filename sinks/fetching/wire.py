"""Fetch, version 12: the request as bytes, and the answer as what it says of each partition. Pure.

Version 12 (Kafka 2.7) names topics, and tells a reader of a diverged log so, because it says the epoch of its last record; what
a broker answers that does not know it ends the connection. Sessions are not used. Source: Kafka's FetchRequest.json,
FetchResponse.json; KIP-482 (compact forms), KIP-595 (last fetched epoch).
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from headrace.errors import CorruptError
from headrace.varints import unsigned

_FETCH, _VERSION = 1, 12
_HEAD: Final = struct.Struct(">hhih")
_LIMITS: Final = struct.Struct(">iiiibii")
_PARTITION: Final = struct.Struct(">iiqiqib")
_ANSWER: Final = struct.Struct(">ihqqq")
_READ_COMMITTED: Final = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A partition in a request; `last_epoch`: of the last record read before `offset`, -1 where unknown."""

    topic: str
    partition: int
    offset: int
    last_epoch: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a broker says of a partition: an error code, or whole and cut-off batches."""

    topic: str
    partition: int
    error: int
    last_stable_offset: int
    aborted: tuple[tuple[int, int], ...]
    """(producer id, first offset) of transactions that were aborted."""
    has_diverged: bool
    batches: memoryview


def request(wanted: Iterable[Wanted], correlation_id: int, client_id: str, *, wait_ms: int, max_bytes: int) -> bytes:
    """A framed request, answered at once where there is anything, or after `wait_ms`; `max_bytes`: of one partition, too."""
    name = client_id.encode()
    parts = [_HEAD.pack(_FETCH, _VERSION, correlation_id, len(name)), name, b"\0"]
    parts.append(_LIMITS.pack(-1, wait_ms, 1, max_bytes, _READ_COMMITTED, 0, -1))
    topics: dict[str, list[Wanted]] = {}
    for one in wanted:
        topics.setdefault(one.topic, []).append(one)
    parts.append(_count(len(topics)))
    for topic, partitions in topics.items():
        encoded = topic.encode()
        parts += [_count(len(encoded)), encoded, _count(len(partitions))]
        parts += [_PARTITION.pack(one.partition, -1, one.offset, one.last_epoch, -1, max_bytes, 0) for one in partitions]
        parts.append(b"\0")
    parts.append(b"\1\1\0")  # no partitions to forget, no rack, no tags
    body = b"".join(parts)
    return struct.pack(">i", len(body)) + body


def _count(number: int) -> bytes:
    """A compact length: one more than it is, as an unsigned varint."""
    return unsigned(number + 1)


class _Cursor:
    """Bytes that are not trusted; every step is checked against their end."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> memoryview:
        end = self._at + size
        if not 0 <= size <= len(self._data) - self._at:
            raise CorruptError("a fetch response is cut off")
        found = self._data[self._at : end]
        self._at = end
        return found

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise CorruptError("a length in a fetch response is too long")

    def count(self) -> int:
        """A compact length; that of null is 0 here."""
        return max(0, self.varint() - 1)

    def tags(self) -> set[int]:
        """The numbers of the tagged fields, which are skipped."""
        found = set()
        for _ in range(self.varint()):
            found.add(self.varint())
            self.take(self.varint())
        return found


_CORRELATION: Final = struct.Struct(">i")
_TOP: Final = struct.Struct(">ihi")
_ABORTED: Final = struct.Struct(">qq")
_REPLICA: Final = struct.Struct(">i")


def answers(frame: memoryview, correlation_id: int) -> tuple[int, list[Answer]]:
    """What a response, without the length before it, says: (throttle time in ms, partitions).

    Raises:
        CorruptError: it is no response to that request, or refuses all of it.
    """
    cursor = _Cursor(frame)
    if cursor.unpack(_CORRELATION) != (correlation_id,):
        raise CorruptError("a response to another request")
    cursor.tags()
    throttle_ms, error, _ = cursor.unpack(_TOP)
    if error:
        raise CorruptError(f"a fetch is refused with error {error}")
    return throttle_ms, [answer for _ in range(cursor.count()) for answer in _of_topic(cursor)]


def _of_topic(cursor: _Cursor) -> Iterator[Answer]:
    topic = str(cursor.take(cursor.count()), "utf-8", "replace")
    for _ in range(cursor.count()):
        partition, error, _, last_stable_offset, _ = cursor.unpack(_ANSWER)
        aborted = []
        for _ in range(cursor.count()):
            producer_id, first_offset = cursor.unpack(_ABORTED)
            aborted.append((producer_id, first_offset))
            cursor.tags()
        cursor.unpack(_REPLICA)
        batches = cursor.take(cursor.count())
        tags = cursor.tags()
        yield Answer(topic, partition, error, last_stable_offset, tuple(aborted), 0 in tags, batches)
    cursor.tags()
