"""Which tables of a root have changed since one last looked: a list of names for each, no record is read twice."""

from pathlib import Path
from typing import Final

from headrace.errors import HeadraceError
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names
from headrace.sinks.table.reader import head, tables
from headrace.sinks.table.store import Store

_UNREADABLE: Final = (0, -1)


class Heads:
    """Remembers of each table which record is its last."""

    def __init__(self, root: Path | str) -> None:
        self._root = root
        self._last: dict[str, tuple[int, int]] = {}

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
        root, last = open_root(self._root), self._last.get(topic, _UNREADABLE)
        try:
            if last != _UNREADABLE and not _has_grown(root.table(topic), *last):
                return False
            fold = head(root, topic)
        except HeadraceError:
            self._last[topic] = _UNREADABLE
            return True
        self._last[topic] = fold.generation, fold.seq
        return True


def _has_grown(store: Store, generation: int, seq: int) -> bool:
    listed = store.list(names.log_directory(generation), after=names.record_name(seq), recursive=False)
    return any(names.seq_of(entry.name, names.RECORD_SUFFIX) is not None for entry in listed)
