"""Where everything of one table lives, relative to the table's directory (landing.md, first picture)."""

from typing import Final

from headrace.errors import CorruptError

HIDDEN: Final = "_headrace"
LOG: Final = f"{HIDDEN}/log"
CHECKPOINTS: Final = f"{HIDDEN}/checkpoints"
STAGING: Final = f"{HIDDEN}/staging"
REMOVED: Final = f"{HIDDEN}/removed"
QUARANTINE: Final = f"{HIDDEN}/quarantine"
SHOWN: Final = f"{HIDDEN}/shown"
"""Leases of those who show the table's files in place, and not only those that are live (`sinks/iceberg/leases.py`)."""
HELD: Final = f"{HIDDEN}/held"
"""Leases of those who show the table's files by names that moving does not change, and need what is in `removed/`."""
SEEN: Final = f"{HIDDEN}/seen"
"""What loaders have seen of the ends of partitions (`seen.py`)."""
SUCCESS: Final = "_SUCCESS"
"""In a data directory while the audit calls its hour complete (jobs/audit/marks.py). No record names it; readers skip it."""

RECORD_SUFFIX: Final = ".json"
CHECKPOINT_SUFFIX: Final = ".json.zst"


def generation_name(generation: int) -> str:
    return f"g{generation:06d}"


def log_directory(generation: int) -> str:
    return f"{LOG}/{generation_name(generation)}"


def checkpoint_directory(generation: int) -> str:
    return f"{CHECKPOINTS}/{generation_name(generation)}"


def record_name(seq: int) -> str:
    return f"{seq:020d}{RECORD_SUFFIX}"


def checkpoint_name(seq: int) -> str:
    return f"{seq:020d}{CHECKPOINT_SUFFIX}"


def record_path(generation: int, seq: int) -> str:
    return f"{log_directory(generation)}/{record_name(seq)}"


def checkpoint_path(generation: int, seq: int) -> str:
    return f"{checkpoint_directory(generation)}/{checkpoint_name(seq)}"


def seq_of(name: str, suffix: str) -> int | None:
    """The number in a record's or checkpoint's file name; None for a temporary or a stranger."""
    stem = name.removesuffix(suffix)
    return int(stem) if stem != name and len(stem) == 20 and stem.isascii() and stem.isdigit() else None


def generation_and_seq(name: str, suffix: str) -> tuple[int, int] | None:
    """(generation, number) of a record or checkpoint listed with its generation's directory; None for anything else."""
    directory, _, file = name.partition("/")
    seq = seq_of(file, suffix)
    generation = directory.removeprefix("g")
    if seq is None or generation == directory or len(generation) < 6 or not (generation.isascii() and generation.isdigit()):
        return None
    return int(generation), seq


def staged(path: str) -> str:
    return f"{STAGING}/{path}"


def removed(path: str) -> str:
    return f"{REMOVED}/{path}"


def is_quarantine(path: str) -> bool:
    """Whether a file that a record names holds undecodable records, and not rows."""
    return path.startswith(f"{QUARANTINE}/")


def checked_path(path: str) -> str:
    """`path` itself, if it stays inside the table's directory.

    Raises:
        CorruptError: it is absolute or climbs out; no record of ours says such a thing.
    """
    if path.startswith("/") or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise CorruptError(f"a record names the path {path!r}, which is not inside its table")
    return path
