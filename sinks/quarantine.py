"""The quarantine file of one attempt: undecodable records, whole, so that they can be looked at and replayed."""

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import IO, Any, Final

import zstandard

from headrace.audit import window_start_ms
from headrace.errors import StorageError
from headrace.sinks.messages import headers_of
from headrace.sinks.table import names
from headrace.sinks.table.record import Quarantine, WindowCount
from headrace.sinks.table.store import make_directory, sync_directory
from headrace.sinks.values import Bad

VERSION: Final = 1
MAX_REASON: Final = 1000
"""Characters: a library's message may repeat what it could not read."""


class QuarantineFile:
    """`quarantine/<attempt>.jsonl.zst`: one JSON object a record; key, value and header values in base64, or null.

    `headers` is null where the client cannot read them.
    """

    def __init__(self, table: Path, attempt: str) -> None:
        self.path = f"{names.QUARANTINE}/{attempt}.jsonl.zst"
        self._table = table
        self._raw: IO[bytes] | None = None
        self._stream: Any = None
        self._windows: dict[int, int] = {}
        self.count = 0
        self.closed: Quarantine | None = None

    def add(self, incarnation: int, partition: int, bad: Bad) -> None:
        """Append one record.

        Raises:
            StorageError: the disk failed or is full.
        """
        timestamp_ms = bad.message.timestamp()[1]
        headers = headers_of(bad.message)
        entry = {
            "version": VERSION,
            "incarnation": incarnation,
            "partition": partition,
            "offset": bad.message.offset(),
            "timestamp_ms": timestamp_ms,
            "reason": bad.reason[:MAX_REASON],
            "key": _text(bad.message.key()),
            "value": _text(bad.message.value()),
            "headers": None if headers is None else [[name, _text(value)] for name, value in headers],
        }
        try:
            if self._raw is None:
                self._open()
            self._stream.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise StorageError(f"{self._table / self.path}: {error.strerror or error}") from error
        window = window_start_ms(timestamp_ms)
        self._windows[window] = self._windows.get(window, 0) + 1
        self.count += 1

    def _open(self) -> None:
        path = self._table / self.path
        make_directory(path.parent, self._table)
        self._raw = path.open("xb")
        self._stream = zstandard.ZstdCompressor().stream_writer(self._raw, closefd=False)

    def close(self) -> Quarantine | None:
        """Make it durable; None if nothing was quarantined. From now on it is the commit protocol's to delete."""
        if self._raw is None:
            return None
        try:
            self._stream.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self._raw.close()
            sync_directory((self._table / self.path).parent)
        except OSError as error:
            raise StorageError(f"{self._table / self.path}: {error.strerror or error}") from error
        windows = tuple(WindowCount(start, count) for start, count in sorted(self._windows.items()))
        self._raw = None
        self.closed = Quarantine(self.path, self.count, windows)
        return self.closed

    def discard(self) -> None:
        """Give up the file that is still open; it is deleted, unless the disk refuses even that."""
        if self._raw is not None:
            with contextlib.suppress(OSError):  # a full disk refuses what is still buffered
                self._raw.close()
            with contextlib.suppress(OSError):
                (self._table / self.path).unlink(missing_ok=True)


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")
