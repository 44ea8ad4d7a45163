"""The tables that statements are asked of: which there are, and the files of each as of a moment, before any is looked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace.errors import UsageError
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.reader import LiveFile, head, located, tables
from headrace.sinks.table.record import DataFile


@dataclass(frozen=True, slots=True)
class OpenTable:
    """A table as one statement sees it.

    `files` are all of its snapshot, by name; `locate` finds those that are needed. `arrow_schema` is its columns as the log
    says them (`evolution.decode_schema`), None where it says none.
    """

    topic: str
    seq: int
    files: tuple[DataFile, ...]
    arrow_schema: str | None
    locate: Callable[[Sequence[DataFile]], list[LiveFile]]


class Tables(Protocol):
    """Where a session finds tables; `headrace query --live` has another one than `LandedTables`."""

    @property
    def root(self) -> str:
        """The path or URL below which they lie."""
        ...

    def names(self) -> list[str]:
        """The topics that are tables, by name."""
        ...

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        """One of them, now, or as of a record's number or a time.

        Raises:
            UsageError: there is no such moment. StorageError: its log cannot be read.
        """
        ...


class LandedTables:
    """The tables below a root. What has been folded is kept, and gone on from for the next statement."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._folds: dict[str, Fold] = {}

    def names(self) -> list[str]:
        return tables(self.root)

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        if as_of is not None:
            raise UsageError(f"{topic}: as it is now only; leave {as_of!r} away")
        root = open_root(self.root)
        fold = self._folds[topic] = head(root, topic, self._folds.pop(topic, None))
        return opened(fold, topic, lambda files: located(root, topic, files))


def opened(fold: Fold, topic: str, locate: Callable[[Sequence[DataFile]], list[LiveFile]]) -> OpenTable:
    """The table that a fold is."""
    files = tuple(fold.files[name] for name in sorted(fold.files))
    return OpenTable(topic, fold.seq, files, fold.arrow_schema, locate)
