"""Statements over landed tables, one after the other, on one DuckDB connection that is locked before the first.

Each statement sees a snapshot of the tables that it names. What its plan filters leaves out files by the table log
(planning.py), and the rest become views for the length of one transaction, which the plan is part of: so `now()` is one moment.
DuckDB may open files of the tables and nothing else, loads no extension, sees no Python variable, and its settings are locked.
What a statement may be is decided on its syntax tree (statement.py). Parquet files on HDFS and object stores are read where
they lie (in_place.py); files of Avro and JSON are copied to Parquet first, whole.
"""

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import UsageError
from headrace.jobs.sql import limits, planning, running, statement, walls
from headrace.jobs.sql.converted import as_parquet
from headrace.jobs.sql.keys_only import values, view_of_keys
from headrace.jobs.sql.options import DEFAULTS, Options
from headrace.jobs.sql.pinned import pin
from headrace.jobs.sql.planning import Needed
from headrace.jobs.sql.statement import Statement
from headrace.jobs.sql.tables import LandedTables, OpenTable, Tables
from headrace.jobs.sql.views import NO_ROWS, Paths, Source, View, definition, empty, identifier, literal
from headrace.sinks.stores.roots import scheme_of
from headrace.sinks.table.reader import LiveFile

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from headrace.jobs.sql.in_place import LandedFiles

_SETTINGS: Final = (
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET enable_progress_bar_print = false",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a statement is: files of the tables that it names, those that it needs, and DuckDB's percentage (0 to 100)."""

    files: int = 0
    needed: int = 0
    percent: float = 0.0


class Session:
    """Use it as a context manager, from one thread but for `interrupt` and `progress`.

    Args:
        tables: where the tables are.
    """

    def __init__(self, tables: Tables, options: Options = DEFAULTS) -> None:
        self._tables, self._options = tables, options
        self.as_of = options.as_of
        """How tables are seen that the next statement does not name as of something."""
        self._memory_bytes = options.memory_bytes or limits.default_memory_bytes()
        self._stack = ExitStack()
        self._files = self._needed = 0
        self._variables: set[str] = set()
        self._folder = self._stack.enter_context(limits.own_folder())
        self._elsewhere = None if scheme_of(tables.root) == "file" else _files_of(tables.root)
        self._root = self._folder / "elsewhere" if self._elsewhere else Path(tables.root.removeprefix("file://"))
        try:
            self.is_confined = self._confine()
            self._connection = self._connect()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, where: Path | str, options: Options = DEFAULTS) -> "Session":
        """A session over the tables below a root, a path or a URL."""
        return cls(LandedTables(str(where)), options)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection and of everything that was written for it."""
        self._stack.close()

    def abandon(self) -> None:
        """Remove what was written; the connection, which works on a statement that does not end, goes with the process."""
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def tables(self) -> list[str]:
        """The topics that are tables now, by name."""
        return self._tables.names()

    def interrupt(self) -> None:
        """End the statement that runs, from any thread: who reads its answer gets a KeyboardInterrupt."""
        self._connection.interrupt()

    @property
    def progress(self) -> Progress:
        """How far the statement is that runs, or was the last."""
        return Progress(self._files, self._needed, max(0.0, self._connection.query_progress()))

    @property
    def told(self) -> str:
        """What `--verbose` says of a statement, in one line."""
        guard = "Landlock keeps this process from other files" if self.is_confined else "there is no Landlock around it"
        return f"{self._needed:,} of {self._files:,} files were needed; {guard}"

    @contextmanager
    def ask(self, sql: str) -> Iterator["pa.RecordBatchReader"]:
        """Run one statement over a snapshot of the tables that it names; the answer is read in batches, in UTC.

        The one before must have been left. Where a file is taken out before the first rows are there, it begins anew.

        Raises:
            UsageError: the SQL is wrong, does more than read, or names a table that does not exist.
            StorageError: a table's log or a live file cannot be read.
            KeyboardInterrupt: SIGINT came while it ran, or `interrupt` was called.
        """
        with ExitStack() as stack:
            for is_last in (False, False, True):
                attempt = stack.enter_context(ExitStack())
                try:
                    with self.errors():
                        reader = self._begin(attempt, sql)
                    break
                except running.TakenOutError:  # by compaction or expiry, since the table was folded
                    if is_last:
                        raise
                    attempt.close()
            with self.errors():
                yield reader

    def _begin(self, stack: ExitStack, sql: str) -> "pa.RecordBatchReader":
        """Compute a statement's first rows; what it holds is let go of with the stack."""
        self._files = self._needed = 0
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder)))
        known = self.tables
        asked = statement.read(self._connection, sql, known, unsafe=self._options.unsafe)
        tables = {table: self._open(table.topic, table.as_of) for table in {*asked.views.values()}}
        opened = {view: tables[table] for view, table in asked.views.items()}
        schemas = {view: planning.schema_of(table) for view, table in opened.items()}
        stack.callback(self._end)
        with self._bounded():  # what is constant is computed as it is planned
            needed = self._plan(asked, opened, schemas)
        lists: list[Paths] = []
        for table in tables.values():
            mine = {view: needed[view] for view in opened if opened[view] is table}
            lists += self._define(stack, folder, table, planning.schema_of(table), mine)
        if asked.asks_catalog:
            self._list(topic for topic in known if topic not in opened)
        stack.enter_context(self._bounded())
        if not asked.is_planned:
            self._name_all(lists)
        return stack.enter_context(running.answer(self._connection, asked.sql, lambda: self._name_all(lists)))

    def errors(self) -> AbstractContextManager[None]:
        """Raise DuckDB's errors as ours; for who reads an answer elsewhere than in `ask`."""
        memory = limits.shown_size(self._memory_bytes)
        return running.errors_of_sql(self._root, self._tables.root, memory=memory, unsafe=self._options.unsafe)

    def _bounded(self) -> AbstractContextManager[None]:
        if not self._options.bounded:
            return nullcontext()
        ((threads,),) = self._connection.execute("SELECT current_setting('threads')").fetchall()
        return limits.bounded(self._memory_bytes, threads)

    def _confine(self) -> bool:
        """Build the second wall, where it was asked for; whether it stands.

        Raises:
            UsageError: SQL may do everything, and nothing would keep it from writing to the tables.
        """
        if not self._options.confine:
            return False
        if self._options.unsafe:
            if self._elsewhere is None and not walls.confine_writes(self._root):
                raise UsageError("--unsafe: this kernel has no Landlock, so nothing would keep SQL from changing the tables")
            return self._elsewhere is None
        writes = [self._folder, *map(Path, self._options.writable)]
        if self._elsewhere is not None:
            return walls.confine(reads=None, writes=[*writes, Path(tempfile.gettempdir())])
        reads = [self._root, self._root.resolve(), *map(Path, self._options.readable)]
        return walls.confine(reads=reads, writes=writes)

    def _connect(self) -> "duckdb.DuckDBPyConnection":
        import duckdb

        unsafe = self._options.unsafe
        config: dict[str, Any] = {
            "autoinstall_known_extensions": unsafe,
            "autoload_known_extensions": unsafe,
            "memory_limit": f"{self._memory_bytes}B",
            "temp_directory": str(self._folder / "spill"),
            "max_temp_directory_size": f"{limits.spill_bytes(self._folder)}B",
        }
        if self._options.threads is not None:
            config["threads"] = self._options.threads
        connection = self._stack.enter_context(duckdb.connect(":memory:", config=config))
        folders = [self._root.absolute(), self._root.resolve(), self._folder.resolve(), *map(Path, self._options.readable)]
        allowed = [f"{folder}/" for folder in folders]
        if self._elsewhere is not None:
            connection.register_filesystem(self._elsewhere)
            allowed.append(f"{self._elsewhere.protocol}://")
        else:
            connection.execute("SET enable_external_file_cache = false")  # of a local disk it keeps nothing, at a price
        for setting in _SETTINGS:
            connection.execute(setting)
        if not self._options.unsafe:
            connection.execute(f"SET allowed_directories = [{', '.join(map(literal, allowed))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        return connection

    def _open(self, topic: str, as_of: str | None) -> OpenTable:
        return self._tables.open(topic, self.as_of if as_of is None else as_of)

    def _end(self) -> None:
        """Nothing of a statement is left behind it."""
        import duckdb

        with suppress(duckdb.Error):
            self._connection.rollback()
        while self._variables:
            with suppress(duckdb.Error):
                self._connection.execute(f"RESET VARIABLE {self._variables.pop()}")

    def _plan(
        self, asked: Statement, opened: dict[str, OpenTable], schemas: "dict[str, pa.Schema | None]"
    ) -> dict[str, Needed]:
        """What the statement needs of each view's table; it is to run in the transaction begun here."""
        import duckdb

        for most_plans in (2, 1, 0) if asked.is_planned else (0,):
            self._connection.begin()
            try:
                found = planning.needed(self._connection, asked.sql, opened, schemas, most_plans=most_plans)
                break
            except duckdb.Error:  # it may be the statement that is wrong: then that is what it says when it runs
                self._connection.rollback()
        tables = {id(table): table for table in opened.values()}
        self._files = sum(len(table.files) for table in tables.values())
        self._needed = len(
            {(id(opened[view]), file.path) for view, needed in found.items() if not needed.keys for file in needed.files}
        )
        return found

    def _define(
        self, stack: ExitStack, folder: Path, table: OpenTable, schema: "pa.Schema | None", views: dict[str, Needed]
    ) -> list[Paths]:
        """Make the views of one table, over as few files as tell its columns; each file is found, and held, once."""
        from headrace.sinks.table.arrow_schema import fingerprint

        files = {file.path: file for needed in views.values() if not needed.keys for file in needed.files}
        with limits.uncollected():
            live = as_parquet(
                folder / "copies", self._root, table.topic, table.locate(list(files.values())), url=self._tables.root
            )
            shown = self._reachable(stack, folder, table.topic, live)
            sources = {file.name: Source(file, files[file.name].columns) for file in shown}
        columns = cache(lambda: planning.columns_of(self._connection, schema) if schema is not None else ())
        own = fingerprint(table.arrow_schema) if table.arrow_schema is not None else None
        lists: list[Paths] = []
        for view, needed in views.items():
            variable = f"files_{secrets.token_hex(8)}"
            if needed.keys:
                self._set(variable, values(needed.files, needed.keys))
                made = View(view_of_keys(columns(), needed.keys, variable), ())
            else:
                mine = [sources[file.path] for file in needed.files]
                made = definition(self._root, mine, table.keys, columns, own, variable)
            for paths in made.lists:
                self._set(paths.variable, paths.first)
            self._connection.execute(f"CREATE VIEW {identifier(view)} AS {made.text}")
            lists += made.lists
        return lists

    def _name_all(self, lists: list[Paths]) -> None:
        while lists:
            paths = lists.pop()
            self._set(paths.variable, paths.all)

    def _set(self, variable: str, value: Sequence[object]) -> None:
        self._variables.add(variable)
        self._connection.execute(f"SET VARIABLE {variable} = $1", [value])

    def _reachable(self, stack: ExitStack, folder: Path, topic: str, files: list[LiveFile]) -> tuple[LiveFile, ...]:
        """The files by paths that stay while a statement runs."""
        if self._elsewhere is not None:
            return self._elsewhere.add(topic, files)
        pinned = pin(stack, folder / "pinned", self._root, topic, files)
        pinned.link()
        return pinned.files

    def _list(self, topics: Iterator[str]) -> None:
        """Tables that only their names and columns are asked of."""
        for topic in topics:
            schema = planning.schema_of(self._tables.landed(topic))
            text = empty(planning.columns_of(self._connection, schema)) if schema is not None else NO_ROWS
            self._connection.execute(f"CREATE VIEW {identifier(topic)} AS {text}")


def _files_of(url: str) -> "LandedFiles":
    from headrace.jobs.sql.in_place import LandedFiles

    return LandedFiles(url)
