"""A spool's folder: the few things that its log does with files. Shell: carries out, decides nothing.

All of them raise OSError. Reading and writing go through descriptors that are held open: one for what is appended to, one for
what is read.
"""

import contextlib
import os
from pathlib import Path
from typing import Protocol


class SpoolFiles(Protocol):
    """One folder of files; what `sync` and `sync_folder` have not returned for may be gone after a crash, in any part."""

    def sizes(self) -> dict[str, int]:
        """Every file's size by its name."""

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes, fewer only at the file's end."""

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write all of `data`, making the file where there is none; what fails may have been written in part."""

    def sync(self, name: str) -> None:
        """Make a file's bytes and size durable."""

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is no error."""

    def sync_folder(self) -> None:
        """Make the names durable."""


class FolderFiles:
    """The files of one folder of this host. `write`, `sync` and `truncate` belong to one thread, `read` to another."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: tuple[str, int] | None = None
        self._read: tuple[str, int] | None = None

    def sizes(self) -> dict[str, int]:
        with os.scandir(self._folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False)}

    def read(self, name: str, offset: int, length: int) -> bytes:
        if self._read is None or self._read[0] != name:
            self._close_read()
            self._read = (name, os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC))
        descriptor = self._read[1]
        pieces = []
        while length > 0 and (piece := os.pread(descriptor, length, offset)):
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, name: str, offset: int, data: bytes) -> None:
        descriptor = self._writable(name)
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def sync(self, name: str) -> None:
        os.fdatasync(self._writable(name))

    def truncate(self, name: str, size: int) -> None:
        os.ftruncate(self._writable(name), size)

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._folder / name)

    def sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of what is open."""
        self._close_read()
        if self._written is not None:
            os.close(self._written[1])
            self._written = None

    def _close_read(self) -> None:
        if self._read is not None:
            os.close(self._read[1])
            self._read = None

    def _writable(self, name: str) -> int:
        if self._written is None or self._written[0] != name:
            if self._written is not None:
                os.close(self._written[1])
                self._written = None
            self._written = (name, os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return self._written[1]
