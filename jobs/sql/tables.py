"""The tables that statements are asked of: which there are, and the files of each as of a moment, before any is looked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from headrace.errors import UsageError
from headrace.jobs.sql import limits
from headrace.jobs.sql.views import key_types
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table.fold import Fold
from headrace.sinks.table.history import Moment, kept_since, read_as_of
from headrace.sinks.table.reader import LiveFile, find, head, located, tables
from headrace.sinks.table.record import DataFile
from headrace.sinks.table.store import carry_out


@dataclass(frozen=True)
class OpenTable:
    """A table as one statement sees it.

    `files` are all of its snapshot, by name; `locate` finds those that are needed. `arrow_schema` is its columns as the log
    says them (`arrow_schema.decode_schema`), None where it says none.
    """

    topic: str
    seq: int
    files: tuple[DataFile, ...]
    arrow_schema: str | None
    locate: Callable[[Sequence[DataFile]], list[LiveFile]]

    @cached_property
    def keys(self) -> dict[str, str]:
        """The keys in the paths of its files, and what they are to SQL (`views.key_types`)."""
        return key_types(file.path for file in self.files)


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

    def landed(self, topic: str) -> OpenTable:
        """One of them, of which only the columns matter: nothing else is asked for it."""
        ...


class LandedTables:
    """The tables below a root. What has been folded is kept, and gone on from for the next statement."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._folds: dict[str, Fold] = {}

    def names(self) -> list[str]:
        return tables(self.root)

    def landed(self, topic: str) -> OpenTable:
        return self.open(topic, None)

    def open(self, topic: str, as_of: str | None) -> OpenTable:
        root = open_root(self.root)
        with limits.uncollected():
            fold = self._folds[topic] = head(root, topic, self._folds.pop(topic, None))
        if as_of is None or (moment := Moment.parse(as_of)) is None:
            return opened(fold, topic, lambda files: located(root, topic, files))
        try:
            past = carry_out(read_as_of(moment, fold), root.table(topic))
        except UsageError as error:
            raise UsageError(f"{topic} {error}") from None
        return opened(past, topic, lambda files: _located_in_past(root, topic, files, past, fold))


def _located_in_past(root: Root, topic: str, files: Sequence[DataFile], past: Fold, now: Fold) -> list[LiveFile]:
    """Files of a table as it was: those that were taken out since are there for a day."""
    store = root.table(topic)
    gone = [name for name, found in find(store, [file.path for file in files]).items() if found is None]
    if not gone:
        return located(root, topic, files)
    since = carry_out(kept_since(past, now, lambda paths: all(find(store, paths).values())), store)
    which = "" if since is None else f"; whole are records {since} to {now.seq}"
    raise UsageError(
        f"{topic} as of record {past.seq}: {len(gone)} of its files were taken out since, and deleted after a day{which}"
    )


def opened(fold: Fold, topic: str, locate: Callable[[Sequence[DataFile]], list[LiveFile]]) -> OpenTable:
    """The table that a fold is."""
    files = tuple(fold.files[name] for name in sorted(fold.files))
    return OpenTable(topic, fold.seq, files, fold.arrow_schema, locate)
