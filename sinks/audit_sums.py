"""Sums of events by agent and window, as the audit compares them (audit.md): of an attempt, or of a landed file. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from headrace.audit import WINDOW_MS
from headrace.sinks.identities import Identities
from headrace.sinks.table.audit_totals import AuditTotal, WindowKey

_TYPES: Final[Mapping[str, tuple[pa.DataType, ...]]] = {
    "agent_id": (pa.string(),),
    "stream_id": (pa.string(),),
    "position": (pa.int64(),),
    "since": (pa.int64(),),
    "part": (pa.int32(), pa.int64()),
    "message": (pa.string(),),
    "encoding": (pa.string(),),
}
EVENT_COLUMNS: Final = tuple(_TYPES)


def has_identity(schema: pa.Schema) -> bool:
    """Whether rows are events of ours: the envelope's identity and message are there, under their types."""
    return all(name in schema.names and schema.field(name).type in kinds for name, kinds in _TYPES.items())


@dataclass(frozen=True, slots=True)
class Messages:
    """What a batch's events say, in the line's own bytes; `lengths` are theirs."""

    texts: list[bytes]
    lengths: np.ndarray


def messages_of(rows: pa.Table) -> Messages:
    """The messages of rows of events."""
    messages = rows.column("message")
    texts = messages.cast(pa.binary()).to_pylist()
    lengths = pc.binary_length(messages).to_numpy().astype(np.int64)
    encodings = rows.column("encoding")
    utf8 = pc.equal(encodings, "utf-8")
    if not pc.all(utf8).as_py():
        other = np.flatnonzero(~utf8.to_numpy())
        for row in other.tolist():
            texts[row] = _original(texts[row], encodings[row].as_py())
            lengths[row] = len(texts[row])
    return Messages(texts, lengths)


def _original(message: bytes, encoding: str) -> bytes:
    """The line's bytes; a message that its encoding cannot say (no agent of ours makes one) counts as its UTF-8."""
    try:
        return message.decode("utf-8").encode(encoding)
    except (LookupError, UnicodeError):
        return message


def runs(codes: np.ndarray) -> list[np.ndarray]:
    """The indexes of each distinct code, in order."""
    if np.all(codes == codes[0]):
        return [np.arange(len(codes))]
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def window_starts(event_time_ms: np.ndarray) -> np.ndarray:
    """The start of the window that each event falls into, ms."""
    return event_time_ms // WINDOW_MS * WINDOW_MS


def hashes_of(events: Identities, messages: Messages) -> np.ndarray:
    """`headrace.audit.event_hash` of every row, uint64; the prefix is put together once per stream."""
    digest = xxhash.xxh64_intdigest
    codes = events.codes.tolist()
    count = len(events.streams)
    prefixes = {
        code: f"{events.agents[code // count]}/{events.streams[code % count]}/".encode("ascii", "replace")
        for code in set(codes)
    }
    rest = zip(codes, events.position.tolist(), events.part.tolist(), messages.texts, strict=True)
    return np.array(
        [digest(b"%b%d/%d\n%b" % (prefixes[code], position, part, message)) for code, position, part, message in rest],
        np.uint64,
    )


def add_events(
    totals: dict[WindowKey, AuditTotal],
    events: Identities,
    messages: Messages,
    windows: np.ndarray,
    fresh: np.ndarray | None = None,
) -> None:
    """Add a batch's events to sums; those that are not `fresh` (a mask; None: all are) count as duplicates."""
    coded = pa.array(windows).dictionary_encode()
    hashes = hashes_of(events, messages)
    for mine in runs(events.agent_codes.astype(np.int64) * len(coded.dictionary) + coded.indices.to_numpy()):
        landed = mine if fresh is None else mine[fresh[mine]]
        key = (events.agents[events.agent_codes[mine[0]]], int(windows[mine[0]]))
        total = AuditTotal(
            len(landed),
            int(messages.lengths[landed].sum()),
            int(hashes[landed].sum(dtype=np.uint64)),
            len(mine) - len(landed),
        )
        totals[key] = totals.get(key, AuditTotal()) + total
