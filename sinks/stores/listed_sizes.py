"""The sizes of many files on a store where asking for one costs a request: their directories are listed instead."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from headrace.sinks.table.store import Entry


def listed_sizes(
    list_directory: Callable[[str], tuple[Entry, ...]], threads: ThreadPoolExecutor, paths: tuple[str, ...]
) -> tuple[int | None, ...]:
    """Bytes of each, None for what is absent; one request for each directory: tables have few files an hour, and many hours."""
    directories = sorted({path.rpartition("/")[0] for path in paths})
    listed = threads.map(list_directory, directories)
    found = {
        f"{directory}/{entry.name}": entry.size_bytes
        for directory, entries in zip(directories, listed, strict=True)
        for entry in entries
    }
    return tuple(found.get(path) for path in paths)
