"""Which tables of a root have changed since one last looked: a list of names for each, no record is read twice.

Of a table without an agent, what loaders have seen of its partitions' ends has a say too.
"""

from dataclasses import dataclass
from pathlib import Path

from headrace.audit import AUDIT_TOPIC
from headrace.errors import HeadraceError
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names
from headrace.sinks.table.reader import head, tables
from headrace.sinks.table.store import Store


@dataclass(frozen=True, slots=True)
class _Last:
    """A table as it was: its last record, and the files of `seen/` where no agent writes it (else none is looked at)."""

    generation: int
    seq: int
    seen: frozenset[str] | None


class Heads:
    """Remembers of each table which record is its last."""

    def __init__(self, root: Path | str) -> None:
        self._root = root
        self._last: dict[str, _Last | None] = {}
        """None: it cannot be read."""

    def moved(self) -> set[str]:
        """The tables that are new, gone, or whose log has grown since the last call; at first, all.

        A table whose log cannot be read has moved each time: whoever judges it says why.
        """
        there = tables(self._root)
        moved = set(self._last) - set(there)
        for topic in moved:
            del self._last[topic]
        return moved.union(topic for topic in there if self._has_moved(topic))

    def _has_moved(self, topic: str) -> bool:
        root, last = open_root(self._root), self._last.get(topic)
        store = root.table(topic)
        try:
            if last is not None and not _has_grown(store, last):
                return False
            fold = head(root, topic)
            seen = None if fold.audit or topic == AUDIT_TOPIC else _seen(store)
        except HeadraceError:
            self._last[topic] = None
            return True
        self._last[topic] = _Last(fold.generation, fold.seq, seen)
        return True


def _has_grown(store: Store, last: _Last) -> bool:
    listed = store.list(names.log_directory(last.generation), after=names.record_name(last.seq), recursive=False)
    is_longer = any(names.seq_of(entry.name, names.RECORD_SUFFIX) is not None for entry in listed)
    return is_longer or (last.seen is not None and last.seen != _seen(store))


def _seen(store: Store) -> frozenset[str]:
    return frozenset(entry.name for entry in store.list(names.SEEN, after="", recursive=False))
