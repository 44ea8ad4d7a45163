"""The keys of records: read from a batch without making records, and the offset of each key's last record.

0.45 µs a record (CPython 3.11, keys of 12 bytes): lengths, the offset delta and the key are read, the rest is jumped over.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

from headrace.broker.log.batch import BatchHeader
from headrace.errors import CorruptError

Entry = tuple[int, int, bytes | None, bool]
"""Of one record: the byte at which it begins, its offset delta, its key, and whether it has no value (a tombstone)."""

ENTRY_BYTES = 200
"""What a key costs in memory, at most: two small objects, and its place in a dictionary that has just grown."""
_LONGEST_KEY = 32  # a longer one is represented by a digest of 33 bytes, which no shorter key can be mistaken for
_LENGTH_BITS = 28
_NULL = 1  # the length -1, as a zig-zag varint


def entries(records: bytes, header: BatchHeader) -> list[Entry]:
    """What must be known of each record of a batch; `records` are uncompressed.

    Raises:
        CorruptError: they are not as many as the header says, one after another to the end, with rising offsets.
    """
    found: list[Entry] = []
    position, last, total = 0, -1, len(records)
    try:
        for _ in range(header.record_count):
            start = position
            size, position = records[position], position + 1
            if size >= 0x80:  # mostly two bytes
                high = records[position]
                if high < 0x80:
                    size, position = size & 0x7F | high << 7, position + 1
                else:
                    size, position = _longer(records, position, size)
            end = position + (size >> 1)
            position += 1  # attributes: none are in use
            while records[position] >= 0x80:  # the time
                position += 1
            delta, position = records[position + 1], position + 2
            if delta >= 0x80:
                delta, position = _longer(records, position, delta)
            length, position = records[position], position + 1
            if length >= 0x80:
                length, position = _longer(records, position, length)
            value = position if length == _NULL else position + (length >> 1)
            if value >= end or end > total or delta <= last or (size | delta) & 1:
                raise CorruptError("a record goes beyond its end, or its offset does not rise")
            found.append((start, delta >> 1, None if length == _NULL else records[position:value], records[value] == _NULL))
            last, position = delta, end
    except IndexError:
        raise CorruptError("a record is cut off") from None
    if position != total or last >> 1 > header.last_offset_delta:
        raise CorruptError(
            f"the records do not fit a batch of {header.record_count} with {header.last_offset_delta} as last offset delta"
        )
    return found


def _longer(records: bytes, position: int, low: int) -> tuple[int, int]:
    """A varint whose first byte was `low`, still zig-zag, and the position after it."""
    value, shift = low & 0x7F, 7
    while True:
        byte = records[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _LENGTH_BITS:
            raise CorruptError("a varint in a record is too long")


class KeyMap:
    """The last offset of every key from the first dirty offset up to `end`, in bounded memory; `None` where there is none."""

    __slots__ = ("_last", "_limit", "_offsets", "_tombstones", "end")

    def __init__(self, size_bytes: int, dirty_from: int) -> None:
        """`size_bytes` is what it may take, about; at least one batch always fits."""
        self._limit = size_bytes
        self._offsets: dict[bytes, int] = {}
        self._tombstones = array("q")  # base offsets of the batches that have any
        self._last = array("q")
        self.end = dirty_from

    @property
    def share(self) -> float:
        """How much of the memory is taken, from 0; from 1 on nothing may be added, and cleaning ends at `end`."""
        return (len(self._offsets) * ENTRY_BYTES + len(self._tombstones) * self._tombstones.itemsize) / self._limit

    def add(self, header: BatchHeader, found: Iterable[Entry]) -> None:
        """The records of the next batch; those without a key have no place here."""
        offsets, base_offset, any_tombstone = self._offsets, header.base_offset, False
        for _, delta, key, is_tombstone in found:
            if key is not None:
                offsets[key if len(key) <= _LONGEST_KEY else _digest(key)] = base_offset + delta
            any_tombstone |= is_tombstone
        if any_tombstone:
            self._tombstones.append(base_offset)

    def finish(self) -> None:
        """All is added: from now on it is asked."""
        self._last = array("q", sorted(self._offsets.values()))

    def is_last(self, key: bytes, offset: int) -> bool:
        """Whether no later record than the one at `offset` has this key."""
        return self._offsets.get(key if len(key) <= _LONGEST_KEY else _digest(key), -1) <= offset

    def count_last(self, header: BatchHeader) -> int:
        """How many records of a batch that was added are the last of their keys; its records need not be looked at for that."""
        return bisect_left(self._last, header.last_offset + 1) - bisect_left(self._last, header.base_offset)

    def has_tombstone(self, header: BatchHeader) -> bool:
        """Whether a batch that was added has a record without a value."""
        at = bisect_left(self._tombstones, header.base_offset)
        return at < len(self._tombstones) and self._tombstones[at] == header.base_offset


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=_LONGEST_KEY + 1).digest()
