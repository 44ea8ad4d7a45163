"""The spool's format: a segment's head, and frames of records. Pure: bytes in, bytes out.

A segment (`<number of its first record, 20 digits>.spool`) is a head and then frames, one for each commit. Integers are
little-endian.

    head    magic 8 B "\\x89HRSPOOL" | version u32 | length u32 of the JSON | CRC-32 u32 of both and it | JSON {"cursor"}
    frame   the spool's mark 8 B | length u32 of the whole frame | CRC-32 u32 of all behind it | number u64 of the first record
            | number u64 of the next frame's | count u32 | length u32 of the JSON | JSON | a length u32 for every record
            | the records' lines, joined

A record's number is what its position would be in a file of all lines, each with a newline: so the bytes that an event covers
are told by its position, as those of a file's are (sinks/repeats.py).

The mark is random, and known to nobody who pushes: bytes within a line cannot pass for a frame when what is torn is looked
through.

A frame's JSON is `{"origins": [[received_ms, source, host, service] …], "of": [index into origins …], "beside": {"index":
[event_time_us, fields]}, "cursor"}`: what the protocol said, once for all records that share it. `of` is left out where there
is one origin, `beside` where nothing was said beside a line. A frame is written and synced before the next one is begun, so
a torn one can only be the log's last: behind it there is nothing that anybody was answered for.
"""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headrace.agents.sources.intake import Pushed
from headrace.errors import VersionError

VERSION = 1
SUFFIX = ".spool"
_SEGMENT_MAGIC = b"\x89HRSPOOL"
_SEGMENT_HEAD = struct.Struct("<8sIII")
_HEAD_NUMBERS = struct.Struct("<II")
MARK_BYTES = 8
_FRAME_HEAD = struct.Struct("<8sIIQQII")
FRAME_HEAD_BYTES = _FRAME_HEAD.size
_CHECKED_FROM = 16  # what the checksum covers begins here
_SEARCH_BYTES = 256 * 1024
MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_SEGMENT_HEAD_BYTES = _SEGMENT_HEAD.size + 64 * 1024


class Origin(NamedTuple):
    """When a record came, and from where; `host` None: the agent's."""

    received_ms: int
    source: str
    host: str | None
    service: str


class Beside(NamedTuple):
    """What the protocol said beside a line."""

    event_time_us: int | None
    fields: dict[str, str]


def beside_bytes(beside: Beside | None) -> int:
    """How long the texts of fields are."""
    return 0 if beside is None else sum(map(len, beside.fields)) + sum(map(len, beside.fields.values()))


@dataclass(frozen=True, slots=True)
class Records:
    """A run of records, numbered on from `start`: three lists of one length."""

    start: int
    lines: list[bytes]
    origins: list[Origin]
    beside: list[Beside | None]

    @property
    def end(self) -> int:
        """The number behind the last."""
        return self.start + self.size_bytes + len(self.lines)

    def index_of(self, number: int) -> int:
        """Where the record of this number is."""
        at = self.start
        for index, line in enumerate(self.lines):
            if at >= number:
                return index
            at += len(line) + 1
        return len(self.lines)

    @property
    def size_bytes(self) -> int:
        """Of the lines."""
        return sum(map(len, self.lines))

    @property
    def beside_bytes(self) -> int:
        """Of what protocols said beside the lines."""
        return sum(map(beside_bytes, self.beside))

    def part(self, begin: int, stop: int) -> "Records":
        """Those from index `begin` to before `stop`."""
        start = self.start + sum(map(len, self.lines[:begin])) + begin
        return Records(start, self.lines[begin:stop], self.origins[begin:stop], self.beside[begin:stop])

    def extend(self, behind: "Records") -> None:
        """Take in those that follow; for whoever made this run."""
        self.lines.extend(behind.lines)
        self.origins.extend(behind.origins)
        self.beside.extend(behind.beside)


@dataclass(frozen=True, slots=True)
class FrameHead:
    """What a frame says of itself before its checksum is known to be right."""

    size: int
    checksum: int
    start: int
    end: int


def segment_name(base: int) -> str:
    """The name of the segment whose first record has this number."""
    return f"{base:020d}{SUFFIX}"


def base_of(name: str) -> int | None:
    """The number in a segment's name; None where it is no segment's."""
    digits = name.removesuffix(SUFFIX)
    return int(digits) if name.endswith(SUFFIX) and len(digits) == 20 and digits.isascii() and digits.isdigit() else None


def encode_segment_head(cursor: str) -> bytes:
    """The head of a segment begun when `cursor` was the last durable record's."""
    text = json.dumps({"cursor": cursor}).encode("ascii")
    checksum = zlib.crc32(text, zlib.crc32(_HEAD_NUMBERS.pack(VERSION, len(text))))
    return _SEGMENT_HEAD.pack(_SEGMENT_MAGIC, VERSION, len(text), checksum) + text


def decode_segment_head(data: bytes) -> tuple[int, str] | None:
    """A head's length and its cursor; None where there is no whole head.

    Args:
        data: the segment's first MAX_SEGMENT_HEAD_BYTES, or all of it.
    Raises:
        VersionError: a newer headrace wrote it.
    """
    if len(data) < _SEGMENT_HEAD.size:
        return None
    magic, version, length, checksum = _SEGMENT_HEAD.unpack_from(data)
    text = data[_SEGMENT_HEAD.size : _SEGMENT_HEAD.size + length]
    whole = len(text) == length and zlib.crc32(text, zlib.crc32(_HEAD_NUMBERS.pack(version, length))) == checksum
    if magic != _SEGMENT_MAGIC or not whole:
        return None
    if version > VERSION:
        raise VersionError(f"a spool has version {version}; this headrace reads up to {VERSION}: upgrade it")
    return _SEGMENT_HEAD.size + length, str(json.loads(text)["cursor"])


def encode_frame(mark: bytes, start: int, pushed: Sequence[Pushed], *, service: str) -> bytes:
    """One commit's records, numbered on from `start`; `service` is theirs whose protocol names none."""
    origins: dict[tuple[int, str, str | None, str], int] = {}
    of = [
        origins.setdefault((each.received_ms, each.source, each.host, each.service or service), len(origins)) for each in pushed
    ]
    beside = {
        index: (each.event_time_us, dict(each.fields))
        for index, each in enumerate(pushed)
        if each.fields or each.event_time_us is not None
    }
    head: dict[str, Any] = {"origins": list(origins), "cursor": pushed[-1].cursor}
    if len(origins) > 1:
        head["of"] = of
    if beside:
        head["beside"] = beside
    text = json.dumps(head, separators=(",", ":")).encode("ascii")
    lines = [each.line for each in pushed]
    body = b"".join((text, struct.pack(f"<{len(lines)}I", *map(len, lines)), *lines))
    size = FRAME_HEAD_BYTES + len(body)
    numbers = (start, start + sum(map(len, lines)) + len(lines), len(lines), len(text))
    checksum = zlib.crc32(body, zlib.crc32(_FRAME_HEAD.pack(mark, size, 0, *numbers)[_CHECKED_FROM:]))
    return _FRAME_HEAD.pack(mark, size, checksum, *numbers) + body


def frame_head(mark: bytes, data: bytes) -> FrameHead | None:
    """What begins like a frame's head; None where nothing does."""
    if len(data) < FRAME_HEAD_BYTES:
        return None
    found, size, checksum, start, end, count, text_length = _FRAME_HEAD.unpack_from(data)
    possible = FRAME_HEAD_BYTES + text_length + 4 * count <= size <= MAX_FRAME_BYTES
    return FrameHead(size, checksum, start, end) if found == mark and end > start and possible else None


def find_mark(mark: bytes, read: Callable[[int, int], bytes], at: int, size: int) -> int:
    """Where the next frame may begin, from `at` on; `size` where none does. `read` reads an offset and a length."""
    while at < size:
        block = read(at, min(_SEARCH_BYTES, size - at))
        found = block.find(mark)
        if found >= 0:
            return at + found
        if len(block) <= len(mark):
            break
        at += len(block) - len(mark) + 1
    return size


def is_whole(data: bytes, head: FrameHead) -> bool:
    """Whether these are the bytes that the frame was written with; `data` begins with its head."""
    return len(data) >= head.size and zlib.crc32(memoryview(data)[_CHECKED_FROM : head.size]) == head.checksum


def decode_frame(data: bytes) -> Records:
    """The records of a whole frame."""
    _, size, _, start, _, count, text_length = _FRAME_HEAD.unpack_from(data)
    head = _json_of(data, text_length)
    origins = [Origin(*values) for values in head["origins"]]
    at = FRAME_HEAD_BYTES + text_length
    lengths = struct.unpack_from(f"<{count}I", data, at)
    at += 4 * count
    lines = []
    for length in lengths:
        lines.append(data[at : at + length])
        at += length
    assert at == size, "a frame's lengths are not its lines'"
    beside: list[Beside | None] = [None] * count
    for index, values in head.get("beside", {}).items():
        beside[int(index)] = Beside(*values)
    of = head.get("of")
    return Records(start, lines, [origins[index] for index in of] if of else origins * count, beside)


def cursor_of(data: bytes) -> str:
    """The cursor of a whole frame's last record."""
    return str(_json_of(data, _FRAME_HEAD.unpack_from(data)[6])["cursor"])


def _json_of(data: bytes, length: int) -> dict[str, Any]:
    return dict(json.loads(data[FRAME_HEAD_BYTES : FRAME_HEAD_BYTES + length]))
