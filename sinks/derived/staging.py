"""Where workers of a run write: files that nobody sees before the run's record names them, each under a name of its own."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from headrace.schemas.unified import project
from headrace.sinks.config import Output
from headrace.sinks.data_file import LandingFile
from headrace.sinks.derived.slices import Slice
from headrace.sinks.event_time import times_of
from headrace.sinks.formats.catalog import SUFFIXES
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.record import DataFile

OUTPUT: Final = Output()
"""How files of derived tables are written."""


@dataclass(frozen=True, slots=True)
class Staging:
    """The way into one run's slice; goes to workers pickled. Workers ask nobody: names are random below the attempt's."""

    root: str
    table: str
    slice: Slice
    attempt: str
    columns: bytes
    """The table's columns, as Arrow's IPC message."""

    @property
    def schema(self) -> pa.Schema:
        """The table's columns: those of the rows, and what other runs have beside them."""
        return pa.ipc.read_schema(pa.py_buffer(self.columns))

    def write(self, batches: Iterable[pa.RecordBatch | pa.Table]) -> DataFile | None:
        """Write one file, whole and durable when this returns; None, and no file, where there are no rows.

        Args:
            batches: of the schema that the run was begun with; one is held in memory at a time. `event_time`, where there is
                such a column, says the rows' times, and else the slice does.
        Raises:
            StorageError: the store failed or is full.
        """
        schema = self.schema
        file: LandingFile | None = None
        try:
            for batch in batches:
                rows = project(batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch]), schema)
                if not rows.num_rows:
                    continue
                if file is None:
                    name = f"{self.attempt}-{secrets.randbits(63)}{SUFFIXES[OUTPUT.format]}"
                    store = open_root(self.root).table(self.table)
                    file = LandingFile(store, f"{self.slice.directory}/{name}", schema, OUTPUT)
                file.append(rows, self._times(rows), ())
            return None if file is None else file.close(())
        except BaseException:
            if file is not None:
                file.discard()
            raise

    def _times(self, rows: pa.Table) -> pa.ChunkedArray:
        bounds = pa.array([self.slice.start_ms, self.slice.end_ms - 1], pa.int64())
        if "event_time" not in rows.column_names or not pa.types.is_timestamp(rows.schema.field("event_time").type):
            return pa.chunked_array([bounds])
        column = rows["event_time"].combine_chunks()
        return pa.chunked_array([pa.array(times_of(column, bounds.take(pa.array([0])).to_numpy().repeat(len(column))))])
