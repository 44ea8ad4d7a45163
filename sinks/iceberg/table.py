"""The shell of the projection: carries the core's steps out on our table log and on an Iceberg table through pyiceberg.

pyiceberg repeats a refused commit by itself on whatever is there by then, without asking whether the files are there already
(measured: late appends were accepted, and rows repeated). `commit.retry.num-retries=0` turns that off; what is tried again, and
with what, is the core's to decide. The check of the current snapshot in the same request is Iceberg's `assert-ref-snapshot-id`.
"""

import contextlib
import logging
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, ManifestContent
from pyiceberg.table import Table

from headrace.clock import Clock
from headrace.errors import StorageError, UsageError
from headrace.sinks.iceberg import data_files, forgetting, schema
from headrace.sinks.iceberg.fitting import fit
from headrace.sinks.iceberg.location import METADATA
from headrace.sinks.iceberg.projection import (
    Commit,
    CreateTable,
    Head,
    HoldFiles,
    ListLive,
    Live,
    LoadTable,
    Marks,
    Projected,
    ReadHead,
    ReadRecords,
    Shown,
    Step,
    project,
)
from headrace.sinks.iceberg.shown_files import ATTEMPT_MS, shown_files
from headrace.sinks.table import names, record, upkeep
from headrace.sinks.table.commit import read_head
from headrace.sinks.table.reader import opened
from headrace.sinks.table.record import CommitRecord, DataFile
from headrace.sinks.table.store import Get, Store, carry_out, missing
from headrace.sinks.table.store import Steps as StoreSteps

logger = logging.getLogger(__name__)

NO_BLIND_RETRIES: Final = {"commit.retry.num-retries": "0"}
NOT_VECTORIZED: Final = {"read.parquet.vectorization.enabled": "false"}
"""Iceberg's vectorized reader for Spark (1.10) fails on timestamps in milliseconds, such as `_timestamp`."""
OWNER: Final = "headrace.table"
PROPERTIES: Final = {
    **NO_BLIND_RETRIES,
    **NOT_VECTORIZED,
    "format-version": "2",
    "gc.enabled": "false",  # the files are our log's: no engine may delete them with a snapshot or with the table
    "commit.manifest-merge.enabled": "true",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
MOST_FOOTERS: Final = 1_000
"""Footers that are kept between looking at the files and adding them, 50 KB each; those of more files are read twice."""
_MARKS: Final = ("headrace.generation", "headrace.seq", "headrace.attempt")


@dataclass(frozen=True, slots=True)
class State:
    """How far an Iceberg table is: the record of our log that it shows, and how many came after it.

    `seq` is None where it shows none, `behind` where that record is not one of this log: the next sync compares the files.
    Records without rows (gaps, quarantine) change nothing in it, and are counted as behind until the next file.
    """

    seq: int | None
    behind: int | None
    files: int
    rows: int


class ProjectedTable:
    """One landed table and the Iceberg table that shows it."""

    def __init__(
        self, catalog: Catalog, identifier: tuple[str, str], store: Store, url: str, keep_s: float, clock: Clock
    ) -> None:
        self._catalog, self._identifier, self._store, self._url = catalog, identifier, store, url
        self._keep_s, self._clock, self._has_forgotten = keep_s, clock, False
        self._shown_files, self._loaded_ms = shown_files(store, url), clock.monotonic_ms()
        self.name = ".".join(identifier)
        self._loaded: Table | None = None
        self._is_derived = False
        self._live: dict[str, IcebergFile] = {}
        self._footers: dict[str, pq.FileMetaData] = {}

    def sync(self) -> Projected:
        steps, answer = project(), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                if self._has_forgotten:
                    self._delete_metadata()
                    self._let_go()
                return done.value  # type: ignore[no-any-return]  # the steps say which type
            answer = self._answer(step)

    def _delete_metadata(self) -> None:
        assert self._loaded is not None, "it was committed to"
        directory = self._loaded.location().removeprefix(f"{self._url}/")
        if directory == self._loaded.location():
            return  # the catalog keeps it elsewhere: that place is not ours to clean
        candidates = carry_out(forgetting.old_metadata(f"{directory}/metadata"), self._store)
        if candidates and self.load() is not None:
            number = carry_out(forgetting.delete_metadata(candidates, self._loaded), self._store)
            logger.info("old iceberg metadata deleted", extra={"table": self.name, "files": number})

    def _let_go(self) -> None:
        assert self._loaded is not None, "it was committed to"
        candidates = self._shown_files.old(self._loaded)
        if candidates and self.load() is not None:
            number = self._shown_files.let_go(candidates, self._loaded)
            logger.info("files that no iceberg snapshot has", extra={"table": self.name, "files": number})

    def _answer(self, step: Step) -> Any:
        match step:
            case LoadTable():
                return self.load()
            case HoldFiles():
                if self._loaded is not None:
                    self._shown_files.hold(self._loaded, self._clock.wall_ms())
                return None
            case CreateTable(sample):
                return self._create(sample)
            case ListLive(of):
                self._shown_files.learn(of)
                return self._list_live()
            case ReadHead():
                return self.head()
            case ReadRecords(generation, first, last):
                return self._records(generation, first, last)
            case Commit():
                return self._commit(step)

    # Our log.

    def head(self) -> Head:
        """The head of our log; whatever was landed and not moved yet is in its place after this."""
        fold = carry_out(read_head(), self._store)
        carry_out(upkeep.finish_moves(fold), self._store)
        self._is_derived = fold.is_derived
        files = {path: file for path, file in fold.files.items() if file.format == "parquet"}
        return Head(None if fold.attempt is None else Marks(fold.generation, fold.seq, fold.attempt), files)

    def _records(self, generation: int, first: int, last: int) -> tuple[CommitRecord | None, ...]:
        paths = tuple(names.record_path(generation, seq) for seq in range(first, last + 1))
        found: tuple[bytes | None, ...] = carry_out(_get(paths), self._store)
        return tuple(None if data is None else record.decode(data, path) for path, data in zip(paths, found, strict=True))

    def _footer(self, file: DataFile) -> pq.FileMetaData:
        if file.path not in self._footers:
            url = f"{self._url}/{file.path}"
            if (data := opened(self._store, file.path)) is None:
                raise missing(url)
            with data:
                footer = pq.read_metadata(data)
            if footer.num_rows != file.rows:
                said = f"{url} has {footer.num_rows} rows, the log says {file.rows}"
                raise StorageError(f"{said}; a landed file was changed; restore it")
            if len(self._footers) >= MOST_FOOTERS:
                return footer
            self._footers[file.path] = footer
        return self._footers[file.path]

    # The Iceberg table.

    def load(self) -> Shown | None:
        """The Iceberg table as it is now.

        Raises:
            UsageError: it shows something else.
        """
        self._live.clear()
        self._loaded_ms = self._clock.monotonic_ms()
        try:
            table = self._catalog.load_table(self._identifier)
        except NoSuchTableError:
            self._loaded = None
            return None
        if (owner := table.properties.get(OWNER)) != self._url:
            whose = f"shows {owner}" if owner else "was not made by headrace"
            raise UsageError(f"iceberg table {self.name} {whose}, not {self._url}; choose another namespace, or drop it")
        wanted = NOT_VECTORIZED | table.properties | NO_BLIND_RETRIES
        if wanted != table.properties:
            with table.transaction() as transaction:
                transaction.set_properties(wanted)
        self._loaded = table
        snapshot = table.current_snapshot()
        if snapshot is None:
            return Shown(None, None)
        marks = _marks(table.properties)
        said = _marks(snapshot.summary.additional_properties if snapshot.summary else {})
        return Shown(snapshot.snapshot_id, marks if marks == said else None)

    def drop(self) -> None:
        """Take it and its links out, unless it is somebody else's; also where its metadata cannot be read any more."""
        try:
            self.load()
        except (OSError, ValueError):
            logger.warning("the iceberg table's metadata cannot be read", extra={"table": self.name})
        with contextlib.suppress(NoSuchTableError):
            self._catalog.drop_table(self._identifier)
        if self._loaded is not None:
            self._shown_files.drop(self._loaded)

    def state(self) -> "State":
        """Where the table stands, for people."""
        shown = self.load()
        fold = carry_out(read_head(), self._store)
        snapshot = self._loaded.current_snapshot() if self._loaded else None
        if shown is None or snapshot is None:
            return State(None, fold.seq + 1, 0, 0)
        said = snapshot.summary.additional_properties if snapshot.summary else {}
        files, rows = (int(said.get(key, 0)) for key in ("total-data-files", "total-records"))
        if shown.marks is None or shown.marks.generation != fold.generation:
            return State(None, None, files, rows)
        return State(shown.marks.seq, fold.seq - shown.marks.seq, files, rows)

    def _said_by(self, file: DataFile) -> tuple[str, ...]:
        """The columns of a table that jobs write which only the files' directories say."""
        return tuple(data_files.keys_of(file.path))[:1] if self._is_derived else ()

    def _create(self, sample: DataFile) -> None:
        shown = schema.shown_schema(self._footer(sample).schema.to_arrow_schema())
        for name in self._said_by(sample):
            shown = shown.append(pa.field(name, pa.string()))
        try:
            self._catalog.create_table(
                self._identifier,
                shown,
                location=f"{self._url}/{METADATA}/{uuid.uuid4()}",  # nobody else's: what is there may be deleted
                properties={**PROPERTIES, OWNER: self._url},
            )
        except TableAlreadyExistsError:
            return
        logger.info("iceberg table made", extra={"table": self.name})

    def _list_live(self) -> Live:
        assert self._loaded is not None, "it was loaded"
        snapshot = self._loaded.current_snapshot()
        altered = False
        for manifest in snapshot.manifests(self._loaded.io) if snapshot else ():
            altered |= manifest.content == ManifestContent.DELETES
            for entry in manifest.fetch_manifest_entry(self._loaded.io, discard_deleted=True):
                if entry.data_file.content == DataFileContent.DATA:
                    name = self._shown_files.path(entry.data_file.file_path, self._loaded.location())
                    altered |= name in self._live
                    self._live[name] = entry.data_file
        return Live(frozenset(self._live), altered)

    def _commit(self, step: Commit) -> bool:
        table = self._loaded
        assert table is not None, "it was loaded"
        urls = self._shown_files.show((file.path for file in step.add), table.location())
        marks = dict(zip(_MARKS, (str(step.marks.generation), str(step.marks.seq), step.marks.attempt), strict=True))
        try:
            with table.transaction() as transaction:
                files = ((file.path, self._footer(file)) for file in step.add)
                said = self._said_by(step.add[0]) if step.add else ()
                fit(transaction, self.name, files, said=said, is_new=table.current_snapshot() is None)
                metadata = transaction.table_metadata
                update = transaction.update_snapshot(snapshot_properties=marks)
                with update.overwrite() if step.remove else update.merge_append() as snapshot:
                    for name in step.remove:
                        snapshot.delete_data_file(self._live[name])
                    for file in step.add:
                        shown = data_files.iceberg_file(urls[file.path], file, self._footer(file), metadata)
                        snapshot.append_data_file(shown)
                transaction.set_properties(marks)
                if self._clock.monotonic_ms() - self._loaded_ms > ATTEMPT_MS:
                    raise CommitFailedException("it took too long")
                self._has_forgotten = forgetting.forget_snapshots(transaction, self._keep_s, self._clock.wall_ms())
        except CommitFailedException:
            logger.info("another has committed to the iceberg table meanwhile", extra={"table": self.name})
            time.sleep(random.uniform(0, 0.05))
            return False
        return True


def _get(paths: tuple[str, ...]) -> StoreSteps[tuple[bytes | None, ...]]:
    found: tuple[bytes | None, ...] = yield Get(paths)
    return found


def _marks(said: Mapping[str, Any]) -> Marks | None:
    generation, seq, attempt = (said.get(key) for key in _MARKS)
    if generation is None or seq is None or attempt is None or not (generation.isdecimal() and seq.isdecimal()):
        return None
    return Marks(int(generation), int(seq), attempt)
