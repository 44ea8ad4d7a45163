"""Rows of a chunk → records under one of our own schemas, and what they count. Pure and deterministic.

The hot path of the agent: what is the same for many records is encoded once, and each is put together from bytes, without an
object or a dict where the parser finds no fields. What it writes is what any Avro library writes for `schemas/envelope.py`
(the tests compare). Every step goes over all rows before the next one, which is half the cost of doing one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from xxhash import xxh64_intdigest

from headrace.agents.events.encoded import Encoded, Rows, Tally
from headrace.agents.events.lines import ISO_8859_1, UTF_8
from headrace.agents.events.schemas.binary import length, lengths, string, zigzags
from headrace.agents.events.schemas.columns import Columns
from headrace.agents.events.timestamps import DAY_US, TEN_YEARS_US
from headrace.audit import HASH_MODULUS, WINDOW_MS

MAX_VALUE_BYTES: Final = 900_000
WINDOW_US: Final = WINDOW_MS * 1000
_NO_FIELDS: Final[Mapping[str, str]] = {}
_ENCODINGS: Final = {encoding: string(encoding) for encoding in (UTF_8, ISO_8859_1)}
_FROM_LINE, _FROM_READ = string("line"), string("read")
_WHOLE: Final = length(0)


class Moments:
    """Which of the times that lines say are believed (interfaces.md): else it is the read time.

    Args:
        read_time_us: when the chunk was read.
    """

    __slots__ = ("_earliest_us", "_latest_us", "_read_time_us")

    def __init__(self, read_time_us: int) -> None:
        self._read_time_us = read_time_us
        self._earliest_us, self._latest_us = read_time_us - TEN_YEARS_US, read_time_us + DAY_US

    def of(self, times_us: Sequence[int | None]) -> tuple[list[int], list[bool]]:
        """Each line's event time (µs), and whether it is the line's own."""
        earliest, latest, read = self._earliest_us, self._latest_us, self._read_time_us
        own = [time_us is not None and earliest <= time_us <= latest for time_us in times_us]
        return [time_us if time_us is not None and is_own else read for time_us, is_own in zip(times_us, own, strict=True)], own


class EnvelopeRecords:
    """Writes the records of one chunk.

    Args:
        header: the five bytes before each payload (schemas/framing.py).
        columns: writes what an event has behind the envelope's fixed fields.
        into: takes the records, and what they count.
    """

    __slots__ = ("_columns", "_header", "_into", "_moments", "_no_columns")

    def __init__(self, header: bytes, read_time_us: int, columns: Columns, into: Encoded) -> None:
        self._header, self._columns, self._into = header, columns, into
        self._moments = Moments(read_time_us)
        self._no_columns = columns(_NO_FIELDS)

    def write(self, rows: Rows) -> None:
        """Put records together, in the order of the envelope's fields, and count them."""
        header, columns, none, join = self._header, self._columns, self._no_columns, b"".join
        moments, own = self._moments.of(rows.times_us)
        positions = zigzags(rows.positions)
        sinces = positions if rows.sinces == rows.positions else zigzags(rows.sinces)
        behind = [columns(fields) if fields else none for fields in rows.fields]
        values = [
            join((
                header, time, _FROM_LINE if is_own else _FROM_READ, whence.identity, position, since,
                length(part) if part else _WHOLE, whence.origin, size, message, _ENCODINGS[encoding], more,
            ))
            for time, is_own, whence, position, since, part, size, message, encoding, more in zip(
                zigzags(moments), own, rows.whences, positions, sinces, rows.parts, lengths(rows.messages), rows.messages,
                rows.encodings, behind, strict=True,
            )
        ]  # fmt: skip
        if max(map(len, values)) > MAX_VALUE_BYTES:
            values = [self._bounded(value, more) for value, more in zip(values, behind, strict=True)]
        self._into.values += values
        self._count(rows, moments)

    def _bounded(self, value: bytes, more: bytes) -> bytes:
        """A record that would be too long goes without its fields."""
        return value if len(value) <= MAX_VALUE_BYTES else value[: -len(more)] + self._no_columns

    def _count(self, rows: Rows, moments: Sequence[int]) -> None:
        hashes = [
            xxh64_intdigest(b"%b%d/%d\n%b" % (whence.hash_start, position, part, line))
            for whence, position, part, line in zip(rows.whences, rows.positions, rows.parts, rows.lines, strict=True)
        ]
        sizes = list(map(len, rows.lines))
        for first, end in _runs(moments):
            tally = self._into.windows.setdefault(moments[first] // WINDOW_US * WINDOW_MS, Tally())
            tally.count += end - first
            tally.bytes_total += sum(sizes[first:end])
            tally.content_hash = (tally.content_hash + sum(hashes[first:end])) % HASH_MODULUS


def _runs(moments: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbours that lie in one window: nearly always all of them."""
    if min(moments) // WINDOW_US == max(moments) // WINDOW_US:
        yield 0, len(moments)
        return
    windows = [moment // WINDOW_US for moment in moments]
    first = 0
    for index, window in enumerate(windows):
        if window != windows[first]:
            yield first, index
            first = index
    yield first, len(windows)
