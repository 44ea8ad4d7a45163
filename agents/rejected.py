"""`rejected/` in the state directory: what could not be shipped for what it is, kept before its position is passed.

One file a topic, `<topic>.jsonl`, one JSON object a line: the fields of `RejectedRecord`, and `version`. `value` is base64: of
the encoded record where `content` is `record`, of the line's bytes where it is `line` (it fits its topic's schema in no form).
After a crash a record may be there twice, under the same identity; what is counted of it is counted once, with the position.

The directory has a bound. At the bound, as on a full disk, the agent waits: nothing kept here is ever deleted by it. A replay
takes out what was acknowledged (replays.py).
"""

import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from headrace.agents.events.encoded import Headers, Told
from headrace.errors import CorruptError, StorageError, VersionError

_VERSION = 1
_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """One record that is not shipped; the first field is why, the next are where it was to go, then its identity (audit.md).

    The rest is for its replay: the window that counts it, whether its identity is in headers, what a line's event says beside.
    """

    error: str
    topic: str
    partition: int
    timestamp_ms: int
    agent_id: str
    stream_id: str
    position: int
    since: int
    part: int
    end: int
    content: Literal["record", "line"]
    value: bytes
    window_start_ms: int
    in_headers: bool = False
    told: Told | None = None

    def headers(self) -> Headers:
        """All but the value, as headers of a dead letter."""
        named = {"reason": self.error, **{name: value for name, value in asdict(self).items() if name not in _NO_HEADERS}}
        return [(name, str(value).encode("utf-8", "backslashreplace")) for name, value in named.items()]

    def row(self) -> bytes:
        """The line of JSON, its newline included."""
        return json.dumps({"version": _VERSION, **asdict(self), "value": b64encode(self.value).decode()}).encode() + b"\n"


_NO_HEADERS = frozenset({"error", "timestamp_ms", "value", "window_start_ms", "in_headers", "told"})


class Rejected:
    """The directory, within `max_bytes`."""

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory, self._max_bytes = directory, max_bytes
        self._whole: set[str] = set()  # topics whose file ends with a whole row

    def keep(self, records: Sequence[RejectedRecord]) -> None:
        """Make records of one topic durable, all or none.

        Raises:
            StorageError: the disk refuses, or the bound is reached; they must not be passed over, and may be given again.
        """
        rows = b"".join(record.row() for record in records)
        file = self._directory / f"{records[0].topic}{_SUFFIX}"
        try:
            self._directory.mkdir(exist_ok=True)
            used_bytes = sum(each.stat().st_size for each in self._directory.iterdir())
            if used_bytes + len(rows) > self._max_bytes:
                raise StorageError(
                    f"{self._directory} holds {used_bytes} bytes of the {self._max_bytes} of agent.rejected_max_bytes: move "
                    "its files away, or raise it; the agent waits"
                )
            self._append(file, rows)
        except OSError as error:
            raise StorageError(f"{error.filename or file}: {error.strerror}; make room, the agent waits") from error

    def _append(self, file: Path, rows: bytes) -> None:
        """Append; what a crash or a full disk left of a row is cut off first."""
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if file.name not in self._whole:
                end = _end_of_rows(descriptor, end)
                os.ftruncate(descriptor, end)
            self._whole.discard(file.name)
            view = memoryview(rows)
            while view:
                written = os.pwrite(descriptor, view, end)
                view, end = view[written:], end + written
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync(self._directory)
        self._whole.add(file.name)


def _sync(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def without(directory: Path, topic: str, is_gone: Callable[[dict[str, Any]], bool]) -> None:
    """Take rows out of a topic's file, durably, while no agent writes it.

    Raises:
        StorageError: the disk refuses; the file is as it was.
    """
    file, new = directory / f"{topic}{_SUFFIX}", directory / f"{topic}{_SUFFIX}.new"
    try:
        with file.open("rb") as rows, new.open("wb") as kept:
            os.fchmod(kept.fileno(), 0o600)
            kept.writelines(row for row in rows if row.endswith(b"\n") and not is_gone(_row(row, str(file))))
            kept.flush()
            os.fsync(kept.fileno())
            is_empty = not kept.tell()
        new.replace(file)
        if is_empty:
            file.unlink()
        _sync(directory)
    except OSError as error:
        raise StorageError(f"{error.filename or new}: {error.strerror}; make room, and replay again") from error


def rows_in(directory: Path) -> Iterator[dict[str, Any]]:
    """Every row once, by identity, as an object; one that is being written is left out.

    Raises:
        CorruptError: a row is none of ours. VersionError: a newer headrace wrote it. StorageError: the disk refuses.
    """
    seen: set[tuple[Any, ...]] = set()
    try:
        for file in sorted(directory.glob(f"*{_SUFFIX}")):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.endswith(b"\n"):
                        break
                    row = _row(line, f"{file}:{number}")
                    identity = tuple(row.get(name) for name in ("topic", "agent_id", "stream_id", "position", "part"))
                    if identity[1] is None or identity not in seen:
                        seen.add(identity)
                        yield row
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}") from error


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = json.loads(line)
        version = row["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{where}: no row of a rejected record") from error
    if version > _VERSION:
        raise VersionError(f"{where} has version {version}; this headrace reads up to {_VERSION}: upgrade it")
    return row


def _end_of_rows(descriptor: int, size: int) -> int:
    """Where the last whole row ends."""
    end = size
    while end:
        start = max(0, end - 65_536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
