"""The quarantine file of one attempt: undecodable records, whole, so that they can be looked at and replayed."""

import base64
import json
from typing import Any, Final

import xxhash
import zstandard

from headrace.audit import HASH_MODULUS, window_start_ms
from headrace.errors import StorageError
from headrace.sinks.messages import headers_of
from headrace.sinks.table import names
from headrace.sinks.table.record import Quarantine, WindowCount
from headrace.sinks.table.store import NewFile, Store
from headrace.sinks.table.window_counts import with_counts
from headrace.sinks.values import Bad

VERSION: Final = 1
_MOST_APART: Final = 10_000
"""Windows that are counted apart until they are joined to no more than a record may say."""
MAX_REASON: Final = 1000
"""Characters: a library's message may repeat what it could not read."""


class QuarantineFile:
    """`quarantine/<attempt>.jsonl.zst`: one JSON object a record; key, value and header values in base64, or null.

    `headers` is null where the client cannot read them.
    """

    def __init__(self, store: Store, attempt: str, now_ms: int) -> None:
        """`now_ms`: the table's time; where there are many windows, those about it stay apart."""
        self.path = f"{names.QUARANTINE}/{attempt}.jsonl.zst"
        self._store, self._now_ms = store, now_ms
        self._raw: NewFile | None = None
        self._stream: Any = None
        self._windows: dict[int, int] = {}
        self._counts: tuple[WindowCount, ...] = ()
        self._hash = 0
        self.count = 0
        self.closed: Quarantine | None = None

    def add(self, incarnation: int, partition: int, bad: Bad) -> None:
        """Append one record.

        Raises:
            StorageError: the store failed or is full.
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
        self.add_line(json.dumps(entry).encode(), timestamp_ms)

    def add_line(self, line: bytes, timestamp_ms: int) -> None:
        """Append a record as it is written in such a file, without the line's end.

        Raises:
            StorageError: the disk failed or is full.
        """
        try:
            if self._raw is None:
                self._open()
            self._stream.write(line + b"\n")
        except OSError as error:
            raise self._failed(error) from error
        self._hash = (self._hash + line_hash(line)) % HASH_MODULUS
        window = window_start_ms(timestamp_ms)
        self._windows[window] = self._windows.get(window, 0) + 1
        self.count += 1
        if len(self._windows) >= _MOST_APART:
            self._join()

    def _join(self) -> None:
        counts = (WindowCount(start, count) for start, count in sorted(self._windows.items()))
        self._counts = with_counts(self._counts, counts, self._now_ms)
        self._windows.clear()

    def _open(self) -> None:
        self._raw = self._store.create(self.path)
        self._stream = zstandard.ZstdCompressor().stream_writer(self._raw, closefd=False)  # type: ignore[arg-type]  # it only writes

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path}: {error.strerror or error}")

    def close(self) -> Quarantine | None:
        """Make it durable; None if nothing was quarantined. From now on it is the commit protocol's to delete."""
        if self._raw is None:
            return None
        try:
            self._stream.close()
        except OSError as error:
            raise self._failed(error) from error
        self._raw.finish()
        self._join()
        self._raw = None
        self.closed = Quarantine(self.path, self.count, self._counts, f"{self._hash:016x}")
        return self.closed

    def discard(self) -> None:
        """Give up the file that is still open; it is deleted, unless the store refuses even that."""
        if self._raw is not None:
            self._raw.discard()


def line_hash(line: bytes) -> int:
    """What a record adds to its file's content hash, which depends neither on order nor on how records are cut into files."""
    return xxhash.xxh64_intdigest(line)


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")
