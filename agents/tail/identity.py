"""What makes a file the same file: its stat, fingerprints of its bytes, and the names that rotation gives.

Pure: no I/O. Source: audit.md, Files. Device + inode + birth time name a file while it exists; an inode is used again, and a
file is truncated and filled again in place, so every claim is checked against bytes: the first KiB (as far as it was read), the
256 bytes before the position, and for a copy all bytes up to the position.
"""

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache

import xxhash

HEAD_BYTES = 1024
GUARD_BYTES = 256

# What logrotate, log4j, Python's logging and people append: `.1`, `-20260131`, `.2026-01-31_12`, `.old`. A number must be in it
# or a known word, so that `app.log.err` beside `app.log` is a log of its own.
_ROTATION_SUFFIX = re.compile(r"[._-](?:\d[\w.:+-]*|old|bak|orig|save|prev)\Z")
_GZIP = ".gz"
_UNREADABLE = (".bz2", ".xz", ".zst", ".lz4", ".Z")


FileKey = tuple[str, int, int]  # topic, device, inode


@dataclass(frozen=True, slots=True)
class FileStat:
    """What the system says of a file. `birth_ns` is 0 where it was not asked for or the file system does not give it.

    `target` is given for a file that was opened through a link: where it really lies.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    links: int
    birth_ns: int = 0
    target: str = ""

    @property
    def key(self) -> tuple[int, int]:
        return self.device, self.inode


def may_be_rotated(name: str) -> bool:
    """Whether a file's name (without its folder) may be a rotation of another's."""
    return name.endswith(_GZIP) or _ROTATION_SUFFIX.search(name) is not None


def rotated_from(path: str) -> tuple[str, ...]:
    """The names that `path` may be a rotation of: itself without a rotation suffix, the longest first.

    A gzip file may be that of the name without `.gz`, or of what that is a rotation of.
    """
    return _rotated_from(path) if may_be_rotated(path) else ()  # of most names there is nothing to be remembered


@lru_cache(maxsize=16_384)
def _rotated_from(path: str) -> tuple[str, ...]:
    if is_gzip_name(path):
        name = path.removesuffix(_GZIP)
        return (name, *rotated_from(name))
    first = path.rfind("/") + 2  # a name is not a suffix only
    return tuple(path[:at] for at in range(len(path) - 1, first - 1, -1) if _ROTATION_SUFFIX.match(path, at))


def stem_of(path: str) -> str:
    """A file's name without its folder and its last suffix: pathlib's `stem`, which would intern every name."""
    name = path.rstrip("/").rpartition("/")[2]
    dot = name.rfind(".")
    return name[:dot] if 0 < dot < len(name) - 1 else name


def is_gzip_name(path: str) -> bool:
    """Whether a name says that it is a gzip file."""
    return path.endswith(_GZIP) and not path.endswith("/" + _GZIP)


def is_unreadable_name(path: str) -> bool:
    """Whether a name says that its content is compressed in a way that is not read here."""
    return path.endswith(_UNREADABLE)


def digest(data: bytes) -> str:
    """The fingerprint of a head, a guard or a chunk: xxh64 as 16 hexadecimal digits."""
    return xxhash.xxh64_hexdigest(data)


def running_hash(data: bytes, before: int) -> int:
    """The hash of all bytes of a stream up to some position, continued by `data`.

    CRC-32, because its state is its value and so can be saved: what it proves is also proved by 64-bit digests of the head
    and of the bytes before the position.
    """
    return zlib.crc32(data, before)
