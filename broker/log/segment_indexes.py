"""The two index files of one segment: in memory while they are used, and how much of that is in the files.

They are loaded, saved in pieces at the end, cut and written whole here; what an entry must say, `Segment` knows.
"""

from headrace.broker.log.disk import Disk, is_full, read_whole, remove_if_there, write_whole
from headrace.broker.log.file_names import INDEX, TIME_INDEX
from headrace.broker.log.index import (
    OFFSET_ENTRY_SIZE,
    TIME_ENTRY_SIZE,
    OffsetIndex,
    TimeIndex,
    decode_offset_index,
    decode_time_index,
)


class SegmentIndexes:
    """Of the segment whose files begin with `stem` and end with `suffix`.

    `offsets` and `times` are None while they are not in memory, both or neither.
    """

    __slots__ = ("_disk", "_saved_entries", "_saved_times", "_stem", "_suffix", "offsets", "times")

    def __init__(self, disk: Disk, stem: str, suffix: str) -> None:
        self._disk, self._stem, self._suffix = disk, stem, suffix
        self.offsets: OffsetIndex | None = None
        self.times: TimeIndex | None = None
        self._saved_entries = self._saved_times = 0

    def begin(self) -> None:
        """Begin without entries; the files are as they were."""
        self.offsets, self.times = OffsetIndex(), TimeIndex()
        self._saved_entries = self._saved_times = 0

    def take(self, offsets: OffsetIndex, times: TimeIndex) -> None:
        """Go on with entries that are all in the files."""
        self.offsets, self.times = offsets, times
        self._saved_entries, self._saved_times = len(offsets), len(times)

    def stored(self, size_bytes: int) -> tuple[OffsetIndex, TimeIndex] | None:
        """The files, if both are there and well formed, and point into a segment of so many bytes."""
        entries, times = read_whole(self._disk, self._path(INDEX)), read_whole(self._disk, self._path(TIME_INDEX))
        if entries is None or times is None:
            return None
        offset_index, time_index = decode_offset_index(entries), decode_time_index(times)
        if offset_index is None or time_index is None:
            return None
        if offset_index.positions and offset_index.positions[-1] >= size_bytes:
            return None
        return offset_index, time_index

    def unsaved(self) -> list[tuple[str, int, bytes]]:
        """What must be written to the files: (path, position, bytes)."""
        chunks = []
        if self.offsets is not None and len(self.offsets) > self._saved_entries:
            data = self.offsets.encode(self._saved_entries)
            chunks.append((self._path(INDEX), self._saved_entries * OFFSET_ENTRY_SIZE, data))
        if self.times is not None and len(self.times) > self._saved_times:
            data = self.times.encode(self._saved_times)
            chunks.append((self._path(TIME_INDEX), self._saved_times * TIME_ENTRY_SIZE, data))
        return chunks

    def lengths(self) -> tuple[int, int]:
        """Entries in memory: (offset index, time index)."""
        return len(self.offsets or ()), len(self.times or ())

    def saved(self, entries: int, times: int) -> None:
        """So many entries are in the files now."""
        self._saved_entries, self._saved_times = max(self._saved_entries, entries), max(self._saved_times, times)

    def cut(self) -> None:
        """Cut the files to the entries that were taken over from them, or to none."""
        self._cut(self._path(INDEX), self._saved_entries * OFFSET_ENTRY_SIZE)
        self._cut(self._path(TIME_INDEX), self._saved_times * TIME_ENTRY_SIZE)

    def write(self) -> None:
        """Both files, whole and durably; on a full disk neither, so that they are built again when they are loaded again."""
        assert self.offsets is not None
        assert self.times is not None
        files = ((self._path(INDEX), self.offsets), (self._path(TIME_INDEX), self.times))
        try:
            for path, index in files:
                directory, _, name = path.rpartition("/")
                write_whole(self._disk, directory, name, index.encode())
        except OSError as error:
            if not is_full(error):
                raise
            for path, _ in files:
                remove_if_there(self._disk, path)
                remove_if_there(self._disk, path + ".tmp")
        self.saved(*self.lengths())

    def forget(self) -> None:
        """Give the memory back, if all is in the files."""
        if not self.unsaved():
            self.offsets = self.times = None

    def _path(self, kind: str) -> str:
        return self._stem + kind + self._suffix

    def _cut(self, path: str, size_bytes: int) -> None:
        try:
            file = self._disk.open(path, create=True)
        except OSError as error:
            if is_full(error):  # then it is not there, and needs no cutting
                return
            raise
        try:
            file.truncate(size_bytes)
        finally:
            file.close()
