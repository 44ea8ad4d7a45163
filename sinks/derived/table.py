"""A table that jobs write: below the same root as the landed ones, with the same log (landing.md), replaced slice by slice.

A *slice* is a directory, as `dt=2026-11-26`. What is in it is the whole output of one *run* of a job, and the next run replaces
all of it by one record; readers see the one or the other. Runs need no lock: the record names the run that it replaces, so of
two that race one wins, and the other is told (`OvertakenError`).

    table = DerivedTable(root, "sessions", SystemClock())
    run = table.begin(day("2026-11-26"), schema)        # the columns of the rows, without `dt`
    …                                                   # run.staging goes to the workers, pickled: any process, any number
    file = staging.write(batches)                       # → DataFile, or None where there are no rows; again for more files
    …                                                   # the files of those that count come back: the manifest
    run.commit(files, Job("sessions", "1", inputs=(input_of(snapshot, run.slice),)))

Files that the manifest leaves out are nobody's: of a worker that was tried again, of a run that died. They are swept after 7
days, as a loader's are; so a run has 24 hours from `begin` to `commit`. An empty manifest is a result: the slice has no rows.
"""

import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from headrace.clock import Clock, MonotonicMs
from headrace.errors import OvertakenError, StorageError, UsageError
from headrace.process import process_name
from headrace.schemas.unified import IncompatibleError, fit
from headrace.sinks.derived.slices import Slice
from headrace.sinks.derived.staging import OUTPUT, Staging
from headrace.sinks.formats.catalog import LandedRows, encoder
from headrace.sinks.stores.roots import Root, open_root
from headrace.sinks.table import slices, upkeep
from headrace.sinks.table.arrow_schema import decode_schema, encode_schema
from headrace.sinks.table.commit import Fenced, commit
from headrace.sinks.table.fold import Fold, Owner
from headrace.sinks.table.reader import find, head
from headrace.sinks.table.record import CommitRecord, DataFile, Job
from headrace.sinks.table.store import carry_out


@dataclass(frozen=True, slots=True)
class Committed:
    """What a run has made of its slice: its attempt, by which later runs replace it, and how much it is."""

    attempt: str
    seq: int
    files: int
    rows: int


class DerivedTable:
    """One table of jobs; nothing is read or made before the first run begins.

    Raises (all methods):
        StorageError, CorruptError, VersionError: the store failed, or the table's log cannot be read.
    """

    def __init__(self, root: Path | str, name: str, clock: Clock) -> None:
        """
        Raises:
            UsageError: no table may have that name.
        """
        if not name or "/" in name or name.startswith(("_", ".")) or "\0" in name:
            raise UsageError(f"a job's table cannot be called {name!r}; names begin with neither _ nor ., and have no /")
        self._root: Root = open_root(root)
        self.name, self._clock = name, clock

    @property
    def owners(self) -> Mapping[str, Owner]:
        """The run whose output each slice is, by directory: the ledger of the jobs that write here.

        Raises:
            UsageError: it is landed from a topic.
        """
        return self._head().slices

    def begin(self, of: Slice, schema: pa.Schema) -> "Run":
        """A run that is to replace a slice.

        Args:
            schema: of the rows, without the keys that the slice's directory says. Columns are added to the table's, widened or
                made optional, and never change otherwise.
        Raises:
            UsageError: the table is landed from a topic, has slices that overlap with this one, or columns that do not go
                with the schema; or files do not keep columns of it as they are.
        """
        started_ms = self._clock.monotonic_ms()
        fold = self._head()
        carry_out(upkeep.finish_moves(fold), self._root.table(self.name))
        owner = fold.slices.get(of.directory)
        draft = CommitRecord(
            "replace",
            str(uuid.uuid4()),
            process_name(),
            self._clock.wall_ms(),
            slice=of.directory,
            replaces=owner.attempt if owner else None,
        )
        if why := slices.overtaken(draft, fold):
            raise UsageError(f"table {self.name}: {why}; name another table for the job")
        columns = self._columns(fold, of, schema)
        staging = Staging(str(self._root), self.name, of, draft.attempt, columns.serialize().to_pybytes())
        return Run(self._root, self._clock, of, owner, staging, draft, fold, started_ms)

    def _head(self) -> Fold:
        fold = head(self._root, self.name)
        if why := slices.of_other_kind("replace", fold):
            where = self._root.location(self.name, "")
            raise UsageError(f"table {where}: {why}; name another table for the job")
        return fold

    def _columns(self, fold: Fold, of: Slice, schema: pa.Schema) -> pa.Schema:
        said = [name for name in schema.names if name.lower() in of.keys]
        if said:
            raise UsageError(f"table {self.name}: the directory {of.directory} says {said[0]}; leave that column out")
        known = decode_schema(fold.arrow_schema) if fold.arrow_schema is not None else None
        try:
            found = fit(known, schema, aside=False)
            if found.names != tuple(schema.names):
                raise IncompatibleError(f"columns {', '.join(schema.names)} differ in case only, or from the table's so")
        except IncompatibleError as error:
            raise UsageError(f"table {self.name}: {error}; name another table for this version of the job") from error
        self._check_kept(found.columns)
        return found.columns

    def _check_kept(self, columns: pa.Schema) -> None:
        """See that a file gives back the types that are written to it, or the hash of its rows would be another."""
        sink = io.BytesIO()
        try:
            encoder(sink, columns, OUTPUT).close()
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(f"table {self.name}: files cannot hold the columns of the rows: {error}") from error
        with LandedRows(io.BufferedReader(io.BytesIO(sink.getvalue())), OUTPUT.format, self.name) as written:
            for field, kept in zip(columns, written.schema, strict=True):
                if field.type != kept.type:
                    said = f"column {field.name} of type {field.type} would come back as {kept.type}"
                    raise UsageError(f"table {self.name}: {said}; give it that type")


@dataclass(frozen=True, slots=True)
class Run:
    """A run in progress; `replaced` is whose output the slice was when it began. It holds no resource: it may be dropped."""

    _root: Root
    _clock: Clock
    slice: Slice
    replaced: Owner | None
    staging: Staging
    _draft: CommitRecord
    _fold: Fold
    _started_ms: MonotonicMs

    @property
    def attempt(self) -> str:
        return self._draft.attempt

    def commit(self, files: Sequence[DataFile], job: Job) -> Committed:
        """Put these files in the slice's place; once, whatever answers are lost. The run is used up.

        Raises:
            OvertakenError: another run has replaced the slice since `begin`, or a day has passed. The files are deleted.
            StorageError: a file is not where this process looks for it: nothing is committed.
            UndecidedError: the store did not answer and then failed. The next `begin` sees which it was.
        """
        store = self._root.table(self.staging.table)
        self._check(files)
        columns = encode_schema(self.staging.schema)
        draft = replace(
            self._draft,
            add=tuple(files),
            job=job,
            created_ms=self._clock.wall_ms(),
            arrow_schema=None if columns == self._fold.arrow_schema else columns,
        )
        done = carry_out(commit(draft, self._fold, started_ms=self._started_ms), store, self._clock)
        if isinstance(done, Fenced):
            raise OvertakenError(f"table {self.staging.table}, {self.slice.directory}: nothing was replaced: {done.why}")
        carry_out(upkeep.finish_moves(done.fold), store)
        if upkeep.checkpoint_is_due(done.fold):
            carry_out(upkeep.write_checkpoint(done.fold), store)
        carry_out(upkeep.sweep(stages=store.stages), store)
        seq = next((seq for seq, attempt in done.fold.attempts.items() if attempt == draft.attempt), done.fold.seq)
        return Committed(draft.attempt, seq, len(files), sum(file.rows for file in files))

    def _check(self, files: Sequence[DataFile]) -> None:
        """What workers elsewhere say they have written is there: they may see another disk under the same name."""
        found = find(self._root.table(self.staging.table), [file.path for file in files])
        for file in files:
            there = found[file.path]
            if there is None or there.size_bytes != file.bytes:
                where = self._root.location(self.staging.table, file.path)
                raise StorageError(f"{where}: a worker has written it, and it is not there; workers must see the same root")
