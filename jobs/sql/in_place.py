"""Landed files of a store elsewhere as files of DuckDB: only what a statement needs of them is read, where they lie.

DuckDB asks for files by `landed://…` whenever it comes to them (so does Arrow, in a dataset), and
reads footers and the chunks of the columns that it wants.
Sizes are known from the table's log; the store is asked when something is read, and the file is found wherever it has moved to
since (landing.md, Readers).
"""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from fsspec import AbstractFileSystem

from headrace.jobs.sql.views import SCHEME
from headrace.sinks.stores.roots import scheme_of
from headrace.sinks.table.reader import LiveFile, open_live

_WRITTEN: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Of every file: none is ever written again under its name."""


class LandedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """The live files that a statement may read; a file system as DuckDB wants one."""

    protocol = SCHEME
    cachable = False

    def __init__(self, root: str) -> None:
        super().__init__()
        self._root, self._is_elsewhere = root, scheme_of(root) != "file"
        self._files: dict[str, tuple[str, LiveFile]] = {}

    def add(self, topic: str, files: Sequence[LiveFile]) -> tuple[LiveFile, ...]:
        """The files of a table by their names here. Elsewhere, those on the local disk stay: copies, a broker's rows."""
        shown = []
        for file in files:
            if self._is_elsewhere and "://" not in file.path:
                shown.append(file)
                continue
            name = f"{topic}/{file.name}"
            self._files[name] = topic, file
            shown.append(replace(file, path=f"{SCHEME}://{name}"))
        return tuple(shown)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> "_LazyFile":  # noqa: ARG002 - its signature there
        topic, file = self._files[self._strip_protocol(path)]
        return _LazyFile(lambda: open_live(self._root, topic, file.name), file.bytes)

    def info(self, path: str, **options: Any) -> dict[str, Any]:  # noqa: ARG002 - its signature there
        _, file = self._files[self._strip_protocol(path)]
        return {"name": path, "size": file.bytes, "type": "file"}

    def glob(self, path: str, **options: Any) -> list[str]:  # noqa: ARG002 - its signature there
        """The file of that very name: no pattern is meant."""
        return [path]

    def modified(self, path: str) -> datetime:  # noqa: ARG002 - its signature there
        return _WRITTEN


class _LazyFile:
    """A file that is opened when it is first read.

    DuckDB and Arrow may read one from several threads, each of which seeks and then reads: so each has a place of its own.
    """

    def __init__(self, open_file: Callable[[], io.BufferedReader], size: int) -> None:
        self._open, self._size, self._lock, self._at = open_file, size, threading.Lock(), threading.local()
        self._file: io.BufferedReader | None = None
        self.closed = False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence in (io.SEEK_SET, io.SEEK_END), "neither DuckDB nor Arrow goes on from where it is"
        self._at.position = offset + (self._size if whence == io.SEEK_END else 0)
        return self.tell()

    def tell(self) -> int:
        return int(getattr(self._at, "position", 0))

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer at the end only; past what is asked for nothing is read ahead but by the store's client."""
        pieces, left = [], size
        with self._lock:
            if self._file is None:
                self._file = self._open()
            raw: Any = self._file.raw
            raw.seek(self.tell())
            while left and (piece := raw.read(left)):
                pieces.append(piece)
                left -= len(piece)
        self._at.position = self.tell() + size - left
        return b"".join(pieces)

    def close(self) -> None:
        self.closed = True
        if self._file is not None:
            self._file.close()
