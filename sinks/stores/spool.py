"""A new file for a store that takes files whole: written to a local spool, and uploaded when it is finished.

Two hundred files may be open for half an hour (sinks/buckets.py). As streams into the store they would hold a buffer or a lease
each, and the loss of one connection would lose what has been read since; the spool costs a write and a read of local disk. It
has no name, so that nothing of it outlives this process, however it ends.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Final

from headrace.errors import StorageError
from headrace.sinks.stores.watch import Carried

TRIES: Final = 5
PAUSE_S: Final = 1.0
PATIENCE_S: Final = 20.0
"""After the first failure: a try at a store that does not answer takes half a minute, and a loader that is to end waits."""
BUFFER_BYTES: Final = 1 << 17

Upload = Callable[[Carried], None]


class SpooledFile:
    """A NewFile.

    Args:
        upload: puts a local file, read from its start, into the store, whole and durable; StorageError: it may be there in
            part.
        remove: deletes what is there of it; StorageError.
        heard: told whenever the store has taken some.
    """

    def __init__(self, directory: str | None, upload: Upload, remove: Callable[[], None], heard: Callable[[], None]) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=BUFFER_BYTES)  # noqa: SIM115 - outlives this block
        except OSError as error:
            raise StorageError(f"spool {directory or tempfile.gettempdir()}: {error.strerror or error}") from error
        self._upload, self._remove, self._heard = upload, remove, heard
        self._is_begun = False
        self._is_finished = False

    def write(self, data: bytes | memoryview) -> int:
        return self._file.write(data)

    def finish(self) -> None:
        """Upload it; a failed upload is removed and tried again, since nobody knows the name yet."""
        self._is_begun = True
        carried = Carried(self._file, self._heard)  # type: ignore[arg-type]  # it is a binary file
        first_failure_s: float | None = None
        for tries in range(TRIES):
            try:
                carried.seek(0)
                if tries:
                    time.sleep(PAUSE_S * tries)
                    self._remove()
                self._upload(carried)
                break
            except StorageError:
                first_failure_s = first_failure_s or time.monotonic()
                if tries == TRIES - 1 or time.monotonic() - first_failure_s > PATIENCE_S:
                    raise
            except OSError as error:
                raise StorageError(f"the spool: {error.strerror or error}") from error
        self._is_finished = True
        self._close()

    def discard(self) -> None:
        self._close()
        if self._is_begun and not self._is_finished:
            try:
                self._remove()
            except StorageError:
                return  # swept later

    def _close(self) -> None:
        try:
            self._file.close()
        except OSError:  # a full disk refuses what is still buffered
            return
