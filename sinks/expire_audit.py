"""What of `_audit` may expire: only what no verdict needs any more (ADR 0056).

A message about a window is appended a day before it at the earliest: events that say they are from later have no time of their
own (interfaces.md). So a file of `_audit` is needed while any table has rows that are not a day younger than all of it; and as
long as it holds the last that was heard of an agent, which is waited for until it is retired.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from headrace.audit import AUDIT_TOPIC
from headrace.sinks.formats.catalog import LandedRows
from headrace.sinks.places import landed_topics
from headrace.sinks.stores.roots import Root
from headrace.sinks.table.audit_totals import DAY_MS
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import head, opened
from headrace.sinks.table.record import DataFile
from headrace.sinks.table.store import Store, missing

_PLACE: Final = ("_incarnation", "_partition", "_offset")
_Said = tuple[str, str]
"""Kind of a message (`agent`, `retired`), and the agent."""
_At = tuple[int, int, int]


def not_needed(root: Root, fold: Fold, old: Sequence[DataFile]) -> list[DataFile]:
    """Those of some old files of `_audit` that no verdict needs.

    Raises:
        StorageError, CorruptError: a table cannot be read, so that nobody knows.
    """
    oldest_ms = min(
        (file.min_event_time_ms for topic in landed_topics(str(root)) for file in head(root, topic).files.values()),
        default=None,
    )
    spent = [file for file in old if oldest_ms is None or file.max_event_time_ms < oldest_ms - DAY_MS]
    if not spent:
        return []
    store = root.table(AUDIT_TOPIC)
    heard = {file.path: _heard(store, file) for file in spent}
    last: dict[_Said, tuple[_At, str]] = {}
    for path, of_file in heard.items():
        for said, at in of_file.items():
            last[said] = max(last.get(said, (at, path)), (at, path))
    others = (file for path, file in fold.files.items() if path not in heard)
    for said in _said_later(store, others, set(last)):
        del last[said]
    needed = {path for _, path in last.values()}
    return [file for file in spent if file.path not in needed]


def _said_later(store: Store, files: Iterable[DataFile], wanted: set[_Said]) -> set[_Said]:
    """Which of these some file has, the newest first."""
    found: set[_Said] = set()
    for file in sorted(files, key=lambda file: file.max_event_time_ms, reverse=True):
        if found == wanted:
            break
        found |= wanted & _heard(store, file).keys()
    return found


def _heard(store: Store, file: DataFile) -> dict[_Said, _At]:
    """The last message of each standing kind and agent in a file."""
    if (data := opened(store, file.path)) is None:
        raise missing(file.path)
    found: dict[_Said, _At] = {}
    with LandedRows(data, file.format, file.path) as rows:
        for batch in rows.batches(["_key", *_PLACE]):
            keys = batch.column("_key").cast(pa.large_binary())
            standing = batch.filter(pc.match_substring_regex(keys, r"\A(agent|retired)/"))
            places = zip(*(standing.column(name).to_pylist() for name in _PLACE), strict=True)
            for key, at in zip(standing.column("_key").to_pylist(), places, strict=True):
                kind, agent = key.decode("utf-8", "replace").split("/")[:2]
                found[kind, agent] = max(found.get((kind, agent), at), at)
    return found
