"""Quarantined records, read back: listed, shown, and sent to Kafka again."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from headrace.audit import HASH_MODULUS
from headrace.errors import CorruptError, VersionError
from headrace.sinks.quarantine import VERSION, line_hash
from headrace.sinks.table.reader import opened
from headrace.sinks.table.record import Quarantine
from headrace.sinks.table.store import Store

MAX_LINE_BYTES: Final = 256 << 20
"""Of one record: Kafka's largest, in base64, with room for its headers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One undecodable record; `headers` is None where the client could not read them.

    `body` is all that its file says, by `line`.
    """

    incarnation: int
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None
    body: dict[str, Any]
    line: bytes


def entries(store: Store, quarantine: Quarantine) -> Iterator[Entry]:
    """The records of one quarantine file, in order, wherever a compaction has moved it meanwhile.

    Raises:
        CorruptError: it is missing, damaged, or holds not the records that the log says.
        VersionError: a newer headrace has written it.
    """
    path, count, total = quarantine.path, 0, 0
    if (raw := opened(store, path)) is None:
        raise CorruptError(f"{path} is missing")
    try:
        with raw, zstandard.ZstdDecompressor().stream_reader(raw) as data:
            lines = io.BufferedReader(data)
            while line := lines.readline(MAX_LINE_BYTES):
                line = line.removesuffix(b"\n")
                yield _entry(line, f"{path}, line {count + 1}")
                count, total = count + 1, (total + line_hash(line)) % HASH_MODULUS
    except (OSError, ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
        raise CorruptError(f"{path} cannot be read: {error!r}") from error
    if count != quarantine.count:
        raise CorruptError(f"{path} has {count} records, the log says {quarantine.count}")
    if quarantine.content_hash not in (None, f"{total:016x}"):
        raise CorruptError(f"{path} has the content hash {total:016x}, the log says {quarantine.content_hash}")


def _entry(line: bytes, where: str) -> Entry:
    body = json.loads(line)
    if body["version"] > VERSION:
        raise VersionError(f"{where} has version {body['version']}; this headrace reads up to {VERSION}: upgrade it")
    headers = body["headers"]
    return Entry(
        body["incarnation"],
        body["partition"],
        body["offset"],
        body["timestamp_ms"],
        body["reason"],
        _bytes(body["key"]),
        _bytes(body["value"]),
        None if headers is None else tuple((name, _bytes(value)) for name, value in headers),
        body,
        line,
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
