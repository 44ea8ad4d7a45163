"""The two sparse indexes of a segment, in memory as arrays and on disk in Kafka's format.

Offset index: 8-byte entries (relative last offset of a batch i32, position of that batch i32), both strictly rising.
Time index: 12-byte entries (the greatest timestamp so far i64, relative last offset of the batch that has it i32); timestamps
strictly rising. Entries are kept in memory and written when the log is synced, at roll and at close: what a crash takes is
rebuilt from the log. No file and no disk here.
"""

import struct
from array import array
from bisect import bisect_right
from operator import le, lt

OFFSET_ENTRY_SIZE = 8
TIME_ENTRY_SIZE = 12
_TIME_ENTRY = struct.Struct(">qi")
MAX_RELATIVE_OFFSET = (1 << 31) - 1


class OffsetIndex:
    """Relative offset → position of the batch that ends with it."""

    __slots__ = ("offsets", "positions")

    def __init__(self) -> None:
        self.offsets, self.positions = array("I"), array("I")

    def __len__(self) -> int:
        return len(self.offsets)

    def append(self, relative_offset: int, position: int) -> None:
        self.offsets.append(relative_offset)
        self.positions.append(position)

    def position_at_or_before(self, relative_offset: int) -> int:
        """Where to begin to look for a record: the start of a batch that begins at or before it."""
        at = bisect_right(self.offsets, relative_offset)
        return self.positions[at - 1] if at else 0

    def boundary_at_or_before(self, position: int) -> int:
        """The start of a batch, at or before `position`, in bytes."""
        at = bisect_right(self.positions, position)
        return self.positions[at - 1] if at else 0

    def names(self, position: int, relative_offset: int) -> bool:
        """Whether an entry for `position`, if there is one, says that the batch there ends with `relative_offset`."""
        at = bisect_right(self.positions, position) - 1
        return at < 0 or self.positions[at] != position or self.offsets[at] == relative_offset

    def truncate(self, relative_offset: int) -> None:
        """Forget entries for `relative_offset` and later."""
        at = bisect_right(self.offsets, relative_offset - 1) if relative_offset > 0 else 0
        del self.offsets[at:], self.positions[at:]

    def encode(self, start: int = 0) -> bytes:
        """Entries from number `start` on, as in the file."""
        count = len(self.offsets) - start
        both = array("I", bytes(OFFSET_ENTRY_SIZE * count))
        both[0::2], both[1::2] = self.offsets[start:], self.positions[start:]
        both.byteswap()
        return both.tobytes()


def decode_offset_index(data: bytes) -> OffsetIndex | None:
    """Read an `.index` file; None if it is not one (a size that is no multiple of 8, entries that do not rise)."""
    if len(data) % OFFSET_ENTRY_SIZE:
        return None
    both = array("I")
    both.frombytes(data)
    both.byteswap()
    index = OffsetIndex()
    index.offsets, index.positions = both[0::2], both[1::2]
    return index if _rises(index.offsets) and _rises(index.positions) else None


class TimeIndex:
    """Timestamp → relative offset of the batch that first reached it."""

    __slots__ = ("offsets", "timestamps")

    def __init__(self) -> None:
        self.timestamps, self.offsets = array("q"), array("I")

    def __len__(self) -> int:
        return len(self.timestamps)

    def append(self, timestamp_ms: int, relative_offset: int) -> None:
        """Add an entry, if its timestamp is later than the last one's."""
        if not self.timestamps or timestamp_ms > self.timestamps[-1]:
            self.timestamps.append(timestamp_ms)
            self.offsets.append(relative_offset)

    def at_or_before(self, timestamp_ms: int) -> tuple[int, int] | None:
        """The last entry (timestamp, relative offset) not after `timestamp_ms`: no earlier batch reaches its timestamp."""
        at = bisect_right(self.timestamps, timestamp_ms)
        return (self.timestamps[at - 1], self.offsets[at - 1]) if at else None

    def truncate(self, relative_offset: int) -> None:
        """Forget entries for `relative_offset` and later."""
        while self.offsets and self.offsets[-1] >= relative_offset:
            self.offsets.pop()
            self.timestamps.pop()

    def encode(self, start: int = 0) -> bytes:
        """Entries from number `start` on, as in the file."""
        return b"".join(map(_TIME_ENTRY.pack, self.timestamps[start:], self.offsets[start:]))


def decode_time_index(data: bytes) -> TimeIndex | None:
    """Read a `.timeindex` file; None if it is not one."""
    if len(data) % TIME_ENTRY_SIZE:
        return None
    count = len(data) // TIME_ENTRY_SIZE
    numbers = struct.unpack(">" + "qi" * count, data)
    if min(numbers[1::2], default=0) < 0:
        return None
    index = TimeIndex()
    index.timestamps, index.offsets = array("q", numbers[0::2]), array("I", numbers[1::2])
    return index if _rises(index.timestamps) and all(map(le, index.offsets, index.offsets[1:])) else None


def _rises(numbers: "array[int]") -> bool:
    """Strictly, and offsets and positions stay below 2³¹ (the entries are signed in the file)."""
    if numbers and numbers.typecode == "I" and numbers[-1] > MAX_RELATIVE_OFFSET:
        return False
    return all(map(lt, numbers, numbers[1:]))
