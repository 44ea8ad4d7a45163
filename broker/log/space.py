"""The free-space floor: when the disk is nearly full, producers are refused with a retriable error and reads go on.

Own key `log.dirs.free.bytes.min`; by default 256 MiB, or 5 % of the file system where that is less. What the broker itself must
write (group offsets, checkpoints) may use the room below the floor. Refusal is KAFKA_STORAGE_ERROR: Java and librdkafka retry
it as not persisted, and refresh metadata. Source: design D3; Kafka's log directories go offline instead (KAFKA-13773).
"""

from headrace.broker.log.disk import Disk

DEFAULT_FLOOR_BYTES = 256 * 1024 * 1024
DEFAULT_FLOOR_FRACTION = 0.05
_RECHECK_BYTES = 16 * 1024 * 1024


class FreeSpace:
    """How much room one log directory has left; asks the disk again after 16 MiB of appends, and when told to."""

    __slots__ = ("_appended_since_check", "_disk", "_free", "_path", "floor_bytes")

    def __init__(self, disk: Disk, path: str, floor_bytes: int | None) -> None:
        """`floor_bytes` None means the default. Raises OSError."""
        self._disk, self._path, self._appended_since_check = disk, path, 0
        self._free, total = disk.space(path)
        default = min(DEFAULT_FLOOR_BYTES, int(total * DEFAULT_FLOOR_FRACTION))
        self.floor_bytes = default if floor_bytes is None else floor_bytes

    @property
    def free_bytes(self) -> int:
        """The room there was when the disk was last asked."""
        return self._free

    @property
    def is_nearly_full(self) -> bool:
        """Whether, when the disk was last asked, it had less room than the floor."""
        return self._free < self.floor_bytes

    @property
    def shortfall_bytes(self) -> int:
        """How much room was missing to the floor, when the disk was last asked; 0 if none."""
        return max(self.floor_bytes - self._free, 0)

    def refresh(self) -> None:
        """Ask the disk; once a second is enough, as other programs fill disks too. Raises OSError."""
        self._free, _ = self._disk.space(self._path)
        self._appended_since_check = 0

    def admits(self, size_bytes: int) -> bool:
        """Whether a producer may append so many bytes."""
        self._appended_since_check += size_bytes
        if self._appended_since_check > _RECHECK_BYTES:
            try:
                self.refresh()
            except OSError:
                return False
        return self._free - self._appended_since_check >= self.floor_bytes
