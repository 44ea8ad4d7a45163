"""Lines of one request until all of it is known to be good: packed as the spool writes them, a piece in memory at a time."""

from collections.abc import Iterator, Sequence
from typing import Final

from headrace.agents.sources.intake import Pushed
from headrace.agents.sources.scratch import Scratch, Storage
from headrace.agents.spool.frames import decode_frame, encode_frame

_PIECE_BYTES: Final = 256 * 1024
_LINE_BYTES, _FIELD_BYTES = 300, 150  # what they take beside their texts
_NO_MARK: Final = bytes(8)


class Packed:
    """Lines that are added, then read in pieces; to be closed."""

    def __init__(self, storage: Storage) -> None:
        self._scratch = Scratch(storage)
        self._sizes: list[int] = []
        self._last: list[Pushed] = []
        self._last_bytes = 0

    def add(self, line: Pushed) -> None:
        """One more.

        Raises:
            RequestError: 503, there is no room.
        """
        self._last.append(line)
        self._last_bytes += _LINE_BYTES + len(line.line)
        if line.fields:
            self._last_bytes += sum(_FIELD_BYTES + len(name) + len(value) for name, value in line.fields.items())
        if self._last_bytes > _PIECE_BYTES:
            frame = encode_frame(_NO_MARK, 0, self._last, service="")
            self._scratch.add(frame)
            self._sizes.append(len(frame))
            self._last, self._last_bytes = [], 0

    def pieces(self) -> Iterator[Sequence[Pushed]]:
        """All of them, in order."""
        at = 0
        for size in self._sizes:
            yield _unpacked(self._scratch.read(at, size))
            at += size
        yield self._last

    def close(self) -> None:
        """They are gone."""
        self._scratch.close()


def _unpacked(frame: bytes) -> list[Pushed]:
    records = decode_frame(frame)
    return [
        Pushed(line, origin.received_ms, origin.source, origin.host, origin.service or None,
               None if beside is None else beside.event_time_us, {} if beside is None else beside.fields)
        for line, origin, beside in zip(records.lines, records.origins, records.beside, strict=True)
    ]  # fmt: skip
