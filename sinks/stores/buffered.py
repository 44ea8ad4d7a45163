"""Files of other libraries, which read and seek, as Python's own buffered files, which formats read."""

import io
from typing import Final, Protocol

BUFFER_BYTES: Final = 1 << 20


class Readable(Protocol):
    """What pyarrow's, hdfs-native's and obstore's files have in common."""

    def read(self, size: int, /) -> object: ...
    def seek(self, offset: int, whence: int, /) -> object: ...
    def tell(self) -> int: ...
    def close(self) -> None: ...


def buffered(file: Readable) -> io.BufferedReader:
    """A file that is closed with the one returned."""
    return io.BufferedReader(_Raw(file), BUFFER_BYTES)


class _Raw(io.RawIOBase):
    def __init__(self, file: Readable) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, into: object) -> int:
        view = memoryview(into).cast("B")  # type: ignore[arg-type]  # a buffer
        data = memoryview(self._file.read(len(view)))  # type: ignore[arg-type]  # bytes, or what can be seen as bytes
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
