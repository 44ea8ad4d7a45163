"""Whose records are whose: identities as rows have them in columns, or as records have them in headers. Pure.

Events of ours, under the envelope or a typed schema, say it in columns. Records under a user's own schema, and dead letters,
say it in six headers, as decimal text: audit.md's five, and `end`, where the record's bytes end in its source. Nothing of such
a row says how long its line was, and by guessing from the next record's `since` a line that was rejected between the two, and
comes later, would be taken for landed (ADR 0053). A seventh, `timestamp`, is of records that their agent counts (ADR 0055).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from headrace.sinks.fetching.records import Records
from headrace.sinks.messages import Headers, Message, headers_of_all

_NUMBER: Final = re.compile(rb"\d{1,18}")
_NUMBERS: Final = ("position", "since", "part", "end")
_NAMES: Final = ("agent_id", "stream_id")
_MAX_NAME_BYTES: Final = 100
_FEWEST: Final = len(_NAMES) + len(_NUMBERS)

UNCOUNTED: Final = -1
"""As a timestamp: nobody has counted the record."""

Said = tuple[str, str, int, int, int, int, int]
"""agent_id, stream_id, position, since, part, end, timestamp."""


@dataclass(frozen=True, slots=True)
class Identities:
    """Of records, in offset order. `codes`: agent code · number of streams + stream code; `end`: of the source bytes.

    `timestamp`, of headers only: when their agent counts records, ms, or UNCOUNTED.
    """

    agents: list[str]
    agent_codes: np.ndarray
    streams: list[str]
    codes: np.ndarray
    position: np.ndarray
    since: np.ndarray
    part: np.ndarray
    end: np.ndarray
    timestamp: np.ndarray | None = None

    def only(self, mask: np.ndarray) -> "Identities":
        """Some of these."""
        timestamp = None if self.timestamp is None else self.timestamp[mask]
        arrays = (self.codes[mask], self.position[mask], self.since[mask], self.part[mask], self.end[mask])
        return Identities(self.agents, self.agent_codes[mask], self.streams, *arrays, timestamp)


def of_columns(rows: pa.Table, lengths: np.ndarray) -> Identities:
    """Of rows of events; `lengths`: of their messages, in the line's own bytes."""
    agents, agent_codes = _coded(rows.column("agent_id").combine_chunks())
    streams, stream_codes = _coded(rows.column("stream_id").combine_chunks())
    position, since, part = (rows.column(name).to_numpy() for name in ("position", "since", "part"))
    codes = agent_codes.astype(np.int64) * len(streams) + stream_codes
    return Identities(agents, agent_codes, streams, codes, position, since, part, position + np.maximum(lengths, 1))


def of_headers(messages: Sequence[Message]) -> tuple[np.ndarray, Identities] | None:
    """The indexes of those records whose headers name an identity, and these; None where no record's do."""
    if isinstance(messages, Records):  # decoded as a whole: none has headers
        return None
    return of_named(headers_of_all(messages))


def of_named(headers: Sequence[Headers | None]) -> tuple[np.ndarray, Identities] | None:
    """The same of headers."""
    if not any(headers):
        return None
    said = [_said(one) for one in headers]
    rows = np.array([index for index, one in enumerate(said) if one is not None], np.int64)
    if not len(rows):
        return None
    agents, streams, *numbers = zip(*filter(None, said), strict=True)
    known_agents, agent_codes = _coded(pa.array(agents))
    known_streams, stream_codes = _coded(pa.array(streams))
    codes = agent_codes.astype(np.int64) * len(known_streams) + stream_codes
    position, since, part, end, timestamp = (np.array(column, np.int64) for column in numbers)
    return rows, Identities(known_agents, agent_codes, known_streams, codes, position, since, part, end, timestamp)


def _said(headers: Headers | None) -> Said | None:
    """What one record's headers say; None where they are other headers, or not as an agent writes them."""
    if headers is None or len(headers) < _FEWEST:
        return None
    named = dict(headers)
    numbers = [named.get(name) for name in _NUMBERS]
    names = [named.get(name) for name in _NAMES]
    if not all(number is not None and _NUMBER.fullmatch(number) for number in numbers):
        return None
    if not all(name is not None and name.isascii() and 0 < len(name) <= _MAX_NAME_BYTES for name in names):
        return None
    position, since, part, end = (int(number or 0) for number in numbers)
    agent, stream = ((name or b"").decode() for name in names)
    at = named.get("timestamp")
    timestamp = int(at) if at is not None and _NUMBER.fullmatch(at) else UNCOUNTED
    return (agent, stream, position, since, part, end, timestamp) if since <= position < end else None


def _coded(column: pa.Array) -> tuple[list[str], np.ndarray]:
    coded = column.dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
