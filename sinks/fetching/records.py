"""Fetched records of one partition: as bytes for who decodes them by column, one by one for who asks.

    length varint | attributes i8 | timestamp delta varlong | offset delta varint | key length varint, key |
    value length varint, value | header count varint, headers (key length, key, value length, value)

Integers are zig-zag varints, lengths of -1 are nulls. Source: KIP-98, Kafka's DefaultRecord.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

import numpy as np

from headrace.schemas.arrow_records import RecordBytes, Split, split_records
from headrace.sinks.fetching.batches import Batch, UnreadableError

_CREATE_TIME, _APPEND_TIME = 1, 2
"""Kinds of timestamps, as Kafka's client says them."""
_MAX_SHIFT: Final = 63


class FetchedRecord:
    """One record, with the methods of Kafka's client that the loader calls (messages.py)."""

    __slots__ = ("_epoch", "_headers", "_key", "_offset", "_said", "_time", "_value")

    def __init__(
        self, offset: int, time: tuple[int, int], key: bytes | None, value: bytes | None, headers: Any, epoch: int
    ) -> None:
        """`headers`: (name, value) as bytes; None where there are none."""
        self._offset, self._time, self._key, self._value = offset, time, key, value
        self._headers, self._epoch = headers, epoch
        self._said: Any = None

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return self._time

    def headers(self) -> Any:
        """UnicodeDecodeError where a name is not UTF-8."""
        return self._said or (self._headers and [(name.decode(), value) for name, value in self._headers])

    def set_headers(self, value: list[Any], /) -> None:
        self._said = value

    def leader_epoch(self) -> int:
        return self._epoch


@dataclass(frozen=True, slots=True)
class Section:
    """The records of one batch, inflated."""

    batch: Batch
    data: bytes | memoryview

    def time(self, delta: int) -> tuple[int, int]:
        batch = self.batch
        if batch.append_ms is not None:
            return _APPEND_TIME, batch.append_ms
        return _CREATE_TIME, batch.base_timestamp_ms + delta

    def listed(self) -> Iterator[FetchedRecord]:
        """Its records; raises UnreadableError where bytes are none."""
        data, at, previous = bytes(self.data), 0, -1
        for _ in range(self.batch.count):
            record, delta, at = _parsed(self, data, at)
            if not previous < delta <= self.batch.last_offset - self.batch.base_offset:
                raise UnreadableError("a record's offset is not its batch's")
            previous = delta
            yield record
        if at != len(data):
            raise UnreadableError("bytes are left after a batch's records")


def _parsed(section: Section, data: bytes | memoryview, at: int) -> tuple[FetchedRecord, int, int]:
    """The record at a position, its offset delta, and where it ends."""
    try:
        size, at = _varint(data, at)
        end = at + size
        timestamp, at = _varint(data, at + 1)
        delta, at = _varint(data, at)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        count, at = _varint(data, at)
        headers = None
        if not 0 <= count <= end - at:
            raise UnreadableError("a record has more headers than bytes")
        if count:
            headers = []
            for _ in range(count):
                name, at = _bytes(data, at)
                content, at = _bytes(data, at)
                headers.append((name or b"", content))
    except IndexError:
        raise UnreadableError("a record is cut off") from None
    if at != end:
        raise UnreadableError("a record is not as long as it says")
    batch = section.batch
    record = FetchedRecord(batch.base_offset + delta, section.time(timestamp), key, value, headers, batch.leader_epoch)
    return record, delta, at


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 0x80:  # nearly always
        return (byte >> 1) ^ -(byte & 1), at + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        at += 1
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _MAX_SHIFT + 7:
            raise UnreadableError("a varint in a record is too long")
    return (value >> 1) ^ -(value & 1), at + 1


def _bytes(data: bytes | memoryview, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(data, at)
    if size < 0:
        return None, at
    if size > len(data) - at:
        raise UnreadableError("a record is cut off")
    return bytes(data[at : at + size]), at + size


class Records(Sequence[FetchedRecord]):
    """The records of whole batches, in offset order; at least one.

    Raises (whatever looks at a record):
        UnreadableError: bytes are no records.
    """

    def __init__(self, sections: Sequence[Section]) -> None:
        self._sections = sections
        self.is_mixed = False
        """Whether they had to be parsed one by one, which takes longer than Kafka's client does."""
        self._last: FetchedRecord | None = None
        self._list: list[FetchedRecord] | None = None

    def __len__(self) -> int:
        return sum(section.batch.count for section in self._sections)

    def __iter__(self) -> Iterator[FetchedRecord]:
        return iter(self.listed())

    @property
    def last_offset(self) -> int:
        """Of the last batch, which compaction may have left without its last records."""
        return self._sections[-1].batch.last_offset

    @overload
    def __getitem__(self, at: int) -> FetchedRecord: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[FetchedRecord]: ...
    def __getitem__(self, at: int | slice) -> FetchedRecord | Sequence[FetchedRecord]:
        if self._list is None and at == 0:
            return _parsed(self._sections[0], self._sections[0].data, 0)[0]
        if self._list is None and at == -1 and self._last is not None:
            return self._last
        return self.listed()[at]

    def as_bytes(self) -> list[RecordBytes]:
        """The records of each batch."""
        return [RecordBytes(section.batch.count, section.data) for section in self._sections]

    def places(self, decoded: Split) -> tuple[np.ndarray, np.ndarray] | None:
        """Offsets and timestamps (ms; int64) of records that have been decoded; None where an offset is not its batch's."""
        batches = [section.batch for section in self._sections]
        counts = [batch.count for batch in batches]
        ends = np.cumsum(counts)
        deltas = decoded.offset_deltas
        offsets = np.repeat([batch.base_offset for batch in batches], counts) + deltas
        most = np.array([batch.last_offset - batch.base_offset for batch in batches])
        if np.any(np.diff(offsets) <= 0) or np.any(deltas[ends - counts] < 0) or np.any(deltas[ends - 1] > most):
            return None
        times = np.repeat([batch.base_timestamp_ms for batch in batches], counts) + decoded.timestamp_deltas
        for batch, end in zip(batches, ends.tolist(), strict=True):
            if batch.append_ms is not None:
                times[end - batch.count : end] = batch.append_ms
        last = self._sections[-1]
        self._last = _parsed(last, last.data, len(last.data) - int(decoded.sizes[-1]))[0]
        return offsets, times

    def listed(self) -> list[FetchedRecord]:
        """All, each an object."""
        if self._list is None:
            self._list = self._split()
        if self._list is None:
            self.is_mixed = True
            self._list = [record for section in self._sections for record in section.listed()]
        return self._list

    def _split(self) -> list[FetchedRecord] | None:
        """All, where they are ordinary: no headers, no null values, keys everywhere or nowhere."""
        split = split_records(self.as_bytes(), keyed=self[0].key() is not None)
        places = None if split is None else self.places(split)
        if split is None or places is None:
            return None
        batches = [section.batch for section in self._sections]
        kinds = [_CREATE_TIME if batch.append_ms is None else _APPEND_TIME for batch in batches]
        counts = [batch.count for batch in batches]
        return list(
            map(
                FetchedRecord,
                places[0].tolist(),
                zip(np.repeat(kinds, counts).tolist(), places[1].tolist(), strict=True),
                itertools.repeat(None) if split.keys is None else split.keys.to_pylist(),
                split.values.to_pylist(),
                itertools.repeat(None),
                np.repeat([batch.leader_epoch for batch in batches], counts).tolist(),
            )
        )
