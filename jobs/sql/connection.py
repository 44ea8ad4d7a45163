"""`headrace.connect`: landed tables in a Python program, by SQL or as Arrow datasets, with nothing else running."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ArgumentError, ArgumentTypeError, MissingError, UsageError
from headrace.jobs.sql import planning
from headrace.jobs.sql.options import LEAST_MEMORY, MOST_MEMORY, MOST_THREADS, Options
from headrace.jobs.sql.session import Session
from headrace.jobs.sql.tables import LandedTables, OpenTable
from headrace.sinks.places import tables_within, unknown_table
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table.history import Moment
from headrace.sinks.table.reader import LiveFile

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds

When = str | int | datetime
"""A record's number, a time (UTC without an offset), or `latest`."""


class Connection:
    """The tables below a root. Use it as a context manager, or close it; from one thread.

    Args:
        root: the directory or URL that `headrace load` writes to; of a data directory that is its `landed`.
        as_of: how tables are seen that a statement or a call does not ask for as of something; None: as they are then.
        memory_bytes: of DuckDB, 16 MiB or more, beyond which it spills; None: half of what this process may have.
        threads: of DuckDB, 1 to 1,024; None: one a core.
    Raises:
        ArgumentTypeError, ArgumentError: an argument is of no such type or value; a TypeError and a ValueError, too.
        MissingError: there is no such directory; a FileNotFoundError, too.
        UsageError (of which those are): no such moment, or the extra `query` is not installed.
        StorageError: the store cannot be asked.
    """

    def __init__(
        self, root: str | Path, *, as_of: When | None = None, memory_bytes: int | None = None, threads: int | None = None
    ) -> None:
        self._as_of = _text(as_of)
        _check_number("memory_bytes", memory_bytes, LEAST_MEMORY, MOST_MEMORY)
        _check_number("threads", threads, 1, MOST_THREADS)
        self._landed = LandedTables(_checked_root(root))
        self._answer, self._is_closed = ExitStack(), False
        try:
            self._session = Session(self._landed, Options(memory_bytes, threads, as_of=self._as_of))
        except ModuleNotFoundError as error:
            raise UsageError(
                f"headrace.connect: {error.name} is not installed; install it with: pip install 'headrace[query]'"
            ) from error

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the answer that is being read, and remove what was written for it. Datasets go on."""
        self._is_closed = True
        self._answer.close()
        self._session.close()

    def tables(self) -> list[str]:
        """The topics that are tables now, by name."""
        return self._landed.names()

    def sql(self, query: str) -> "pa.RecordBatchReader":
        """Run one statement, as `headrace query` does, over a snapshot of the tables that it names.

        The answer is computed as it is read, and ends with the next statement or `close`; `read_all()` makes it a table.

        Raises:
            UsageError: the SQL is wrong, does more than read, or names a table that does not exist; also from the reader.
            StorageError: a table's log or a live file cannot be read; also from the reader.
            ArgumentTypeError: it is no text. ArgumentError: the connection is closed.
        """
        import pyarrow as pa

        if not isinstance(query, str):
            raise ArgumentTypeError(f"headrace.connect: sql({query!r}): give one statement as a text")
        if self._is_closed:
            raise ArgumentError(f"headrace.connect: sql() after close(): connect to {self._landed.root} again")
        self._answer.close()
        reader = self._answer.enter_context(self._session.ask(query))

        def batches() -> "Iterator[pa.RecordBatch]":
            with self._session.errors():
                yield from reader

        return pa.RecordBatchReader.from_batches(reader.schema, batches())

    def table(self, topic: str, *, as_of: When | None = None) -> "ds.Dataset":
        """A snapshot of one table as an Arrow dataset: exactly its files, wherever they lie and move to.

        `dt` and `hour` are columns, and filters on them leave files out.

        Raises:
            UsageError: no such table or moment, or its files are no Parquet. StorageError: its log or a file cannot be read.
            ArgumentTypeError: the topic is no text.
        """
        if not isinstance(topic, str):
            raise ArgumentTypeError(f"headrace.connect: table({topic!r}): name a topic as a text")
        if topic not in (known := self.tables()):
            raise unknown_table(topic, known)
        table = self._landed.open(topic, _text(as_of) or self._as_of)
        files = table.locate(table.files)
        if others := sorted({file.format for file in files} - {"parquet"}):
            raise UsageError(f"{topic} has files of {', '.join(others)}, which are no Arrow dataset; ask it by sql()")
        return _dataset(self._landed.root, table, files)


def _checked_root(root: str | Path) -> str:
    if not isinstance(root, str | Path):
        raise ArgumentTypeError(
            f"headrace.connect: the root is {root!r}: name the directory or URL that `headrace load` writes to"
        )
    if not str(root):
        raise ArgumentError(
            "headrace.connect: the root is an empty text: name the directory or URL that `headrace load` writes to"
        )
    if not open_root(root).is_there():
        raise MissingError(
            f"headrace.connect: {root}: no such directory; name the directory or URL that `headrace load` writes to"
        )
    if (inner := tables_within(root)) is not None:
        raise ArgumentError(f"headrace.connect: {root} is a data directory: its tables are in {inner}")
    return str(root)


def _check_number(name: str, value: int | None, least: int, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArgumentTypeError(f"headrace.connect: {name}={value!r}: give a whole number, or None")
    if not least <= value <= most:
        raise ArgumentError(f"headrace.connect: {name}={value}: give {least:,} to {most:,}, or None")


def _text(as_of: When | None) -> str | None:
    """Raises UsageError: it is no moment."""
    if as_of is None:
        return None
    if not isinstance(as_of, str | int | datetime) or isinstance(as_of, bool):
        raise ArgumentTypeError(f"headrace.connect: as_of={as_of!r}: give a record's number, a datetime, or a text of either")
    text = as_of.isoformat() if isinstance(as_of, datetime) else str(as_of)
    Moment.parse(text)
    return text


def _dataset(root: str, table: OpenTable, files: list[LiveFile]) -> "ds.Dataset":
    import pyarrow as pa
    import pyarrow.dataset as ds
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    from headrace.jobs.sql.in_place import LandedFiles

    landed, parquet = LandedFiles(root), ds.ParquetFileFormat()
    filesystem, keys = PyFileSystem(FSSpecHandler(landed)), planning.keys_of(table)
    in_path = ds.HivePartitioning(keys)
    fragments = [
        parquet.make_fragment(file.path, filesystem, in_path.parse(file.name)) for file in landed.add(table.topic, files)
    ]
    schema = planning.schema_of(table)
    if schema is None:  # an earlier headrace has landed them: what they have is in their footers only
        found = [fragment.physical_schema for fragment in fragments]
        schema = pa.unify_schemas([*found, keys], promote_options="permissive")
    return ds.FileSystemDataset(fragments, schema, parquet, filesystem)
