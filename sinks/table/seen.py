"""What loaders have seen of the ends of partitions that had landed whole: how far an idle one has come (ADR 0056). Pure.

A file below `seen/` says of partitions: what had been appended before broker time `at_ms` lies below `offset`. That stays true
whatever comes after, so files are only ever put and taken away: who has something to say puts a new one that says all that the
others say too, and takes those away. Whoever dies in between leaves one file too many, which the next one takes away.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headrace.errors import CorruptError, VersionError
from headrace.sinks.table import names
from headrace.sinks.table.fold import PartitionKey
from headrace.sinks.table.record import check_version
from headrace.sinks.table.store import Delete, Entry, Get, List, Put, PutIfAbsent, Steps

VERSION: Final = 1
_LOOKS: Final = 10


@dataclass(frozen=True, slots=True)
class SeenEnd:
    """All that a partition was given before `at_ms` (the broker's clock, ms) lies below `offset`."""

    offset: int
    at_ms: int


THERE: Final = SeenEnd(0, 0)
"""Says no more than that there is a partition."""
Seen = Mapping[PartitionKey, SeenEnd]


def read_seen() -> Steps[Seen]:
    """What all loaders say, of each partition the latest. A file that cannot be read says nothing."""
    files = yield from _files()
    return merged(*files.values())


def tell_seen(news: Seen, name: str) -> Steps[None]:
    """Say something more, in a file of a name that nobody has used before."""
    known = yield from _files()
    answer: Put = yield PutIfAbsent(f"{names.SEEN}/{name}{names.RECORD_SUFFIX}", encode(merged(*known.values(), news)))
    if answer is Put.CREATED and known:
        yield Delete(tuple(known))


def merged(*many: Seen) -> dict[PartitionKey, SeenEnd]:
    """Of each partition what was seen last, of its newest incarnation."""
    found: dict[PartitionKey, SeenEnd] = {}
    for seen in many:
        for key, end in seen.items():
            if key not in found or found[key].at_ms < end.at_ms:
                found[key] = end
    newest = {partition: incarnation for incarnation, partition in sorted(found)}
    return {key: end for key, end in found.items() if newest[key[1]] == key[0]}


def _files() -> Steps[dict[str, Seen]]:
    """By path. One that was listed and is gone is in a newer one by now."""
    paths: tuple[str, ...] = ()
    data: tuple[bytes | None, ...] = ()
    for _ in range(_LOOKS):
        listed: tuple[Entry, ...] = yield List(names.SEEN)
        paths = tuple(f"{names.SEEN}/{entry.name}" for entry in listed if entry.name.endswith(names.RECORD_SUFFIX))
        data = (yield Get(paths)) if paths else ()
        if None not in data:
            break
    found: dict[str, Seen] = {}
    for path, one in zip(paths, data, strict=True):
        try:
            if one is not None:
                found[path] = decode(one, path)
        except (CorruptError, VersionError):
            continue
    return found


def encode(seen: Seen) -> bytes:
    """One file."""
    ends = [[incarnation, partition, end.offset, end.at_ms] for (incarnation, partition), end in sorted(seen.items())]
    return json.dumps({"version": VERSION, "ends": ends}, separators=(",", ":")).encode()


def decode(data: bytes, where: str) -> Seen:
    """Read one; `where` names it in errors.

    Raises:
        VersionError: a newer version. CorruptError: it is none.
    """
    try:
        body: dict[str, Any] = json.loads(data)
        check_version(body, where, newest=VERSION)
        found = {}
        for one in body["ends"]:
            incarnation, partition, offset, at_ms = one
            if any(type(number) is not int or number < 0 for number in one):
                raise ValueError(one)
            found[incarnation, partition] = SeenEnd(offset, at_ms)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"{where} does not say what was seen: {error!r}") from error
    return found
