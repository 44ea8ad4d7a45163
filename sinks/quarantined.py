"""Quarantined records, read back: listed, shown, and sent to Kafka again."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from headrace.errors import CorruptError, VersionError
from headrace.sinks.quarantine import VERSION
from headrace.sinks.table.record import Quarantine
from headrace.sinks.table.store import Store

MAX_LINE_BYTES: Final = 256 << 20
"""Of one record: Kafka's largest, in base64, with room for its headers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One undecodable record; `headers` is None where the client could not read them. `body` is all that its file says."""

    incarnation: int
    partition: int
    offset: int
    timestamp_ms: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] | None
    body: dict[str, Any]


def entries(store: Store, quarantine: Quarantine) -> Iterator[Entry]:
    """The records of one quarantine file, in order.

    Raises:
        CorruptError: it is missing, damaged, or has not as many records as the log says.
        VersionError: a newer headrace has written it.
    """
    path, count = quarantine.path, 0
    try:
        with store.open(path) as raw, zstandard.ZstdDecompressor().stream_reader(raw) as data:
            lines = io.BufferedReader(data)
            while line := lines.readline(MAX_LINE_BYTES):
                yield _entry(json.loads(line), f"{path}, line {count + 1}")
                count += 1
    except (OSError, ValueError, KeyError, TypeError, zstandard.ZstdError) as error:
        raise CorruptError(f"{path} cannot be read: {error!r}") from error
    if count != quarantine.count:
        raise CorruptError(f"{path} has {count} records, the log says {quarantine.count}")


def _entry(body: dict[str, Any], where: str) -> Entry:
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
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)
