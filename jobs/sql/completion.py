"""What may come next in a statement: tables, columns, keys of maps, DuckDB's keywords and functions, the shell's commands."""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.jobs.sql.session import Session

_KEY: Final = re.compile(r"""(\w+|"[^"]+")\s*\[\s*'([^']*)$""")
_WORD: Final = re.compile(r"""("[^"]*|[\w.]+)$""")
_PLAIN: Final = re.compile(r"[A-Za-z_]\w*")
_LOOKED_AT_ROWS: Final = 2_000
"""In which keys of a map are looked for."""


class Catalog(Protocol):
    """What a completion can be chosen from."""

    def tables(self) -> Sequence[str]: ...
    def columns(self, table: str) -> Mapping[str, str]:
        """Types by name."""
        ...

    def keys(self, table: str, column: str) -> Sequence[str]: ...
    def words(self) -> Sequence[str]:
        """Keywords and functions."""
        ...


class SqlCompleter(Completer):
    """Completes statements, and commands that begin with a dot."""

    def __init__(self, catalog: Catalog, commands: Sequence[str]) -> None:
        self._catalog, self._commands, self._asking = catalog, commands, Lock()

    @property
    def is_asking(self) -> bool:
        """Whether the catalog has not answered yet."""
        return self._asking.locked()

    async def get_completions_async(self, document: Document, event: CompleteEvent) -> AsyncGenerator[Completion, None]:
        """The same, from a thread that nobody waits for: a store may hang, and what is typed goes on. One asks at a time."""
        if not self._asking.acquire(blocking=False):
            return
        loop, found = asyncio.get_running_loop(), asyncio.Queue[list[Completion]]()

        def ask() -> None:
            try:
                completions = list(self.get_completions(document, event))
            finally:
                self._asking.release()
            with contextlib.suppress(RuntimeError):  # the prompt is over
                loop.call_soon_threadsafe(found.put_nowait, completions)

        Thread(target=ask, name="completion", daemon=True).start()
        for completion in await found.get():
            yield completion

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:  # noqa: ARG002
        """What goes on from the cursor; nothing where the tables cannot be read."""
        before = document.text_before_cursor
        try:
            yield from self._found(before, document.text)
        except HeadraceError:
            return

    def _found(self, before: str, text: str) -> Iterator[Completion]:
        if before.startswith("."):
            command, space, behind = before.partition(" ")
            options = map(quoted, self._catalog.tables()) if space else self._commands
            yield from _that_begin(behind if space else command, options)
        elif key := _KEY.search(before):
            column = key[1].strip('"')
            found = {name for table in self._named(text) for name in self._catalog.keys(table, column)}
            yield from _that_begin(key[2], sorted(found), then="']")
        elif word := _WORD.search(before):
            yield from _that_begin(word[1].rpartition(".")[2], self._words(text))

    def _named(self, text: str) -> list[str]:
        """The tables that a statement names so far."""
        there = set(re.findall(r"[\w.\-]+", text))
        return [table for table in self._catalog.tables() if table in there]

    def _words(self, text: str) -> list[str]:
        named = self._named(text)
        columns = [quoted(column) for table in named for column in self._catalog.columns(table)]
        return list(dict.fromkeys([*columns, *map(quoted, self._catalog.tables()), *self._catalog.words()]))


def _that_begin(word: str, options: Iterable[str], *, then: str = "") -> Iterator[Completion]:
    for option in options:
        if option.lower().startswith(word.lower()) or option.strip('"').lower().startswith(word.lower()):
            shown = option.upper() if option.isupper() else option
            yield Completion(shown + then, start_position=-len(word), display=option)


def quoted(name: str) -> str:
    """A name as a statement has it."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


class LandedCatalog:
    """The landed tables, asked in a session of its own: while one statement is typed, another may run.

    What was found of a table is true of it until a statement has run: `forget`.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._session: Session | None = None
        self._columns: dict[str, dict[str, str]] = {}
        self._keys: dict[tuple[str, str], list[str]] = {}
        self._words: list[str] = []

    def close(self) -> None:
        """Let go of the session."""
        if self._session is not None:
            self._session.close()

    def forget(self) -> None:
        """Ask again which columns and keys tables have, when that is needed next."""
        self._columns, self._keys = {}, {}

    def tables(self) -> list[str]:
        """All there are."""
        from headrace.sinks.table.reader import tables

        return tables(self._root)

    def columns(self, table: str) -> dict[str, str]:
        """The types of a table's columns, by name."""
        known = self._columns
        if table not in known:
            rows = self._rows(f"DESCRIBE {quoted(table)}")
            known[table] = {row["column_name"]: row["column_type"] for row in rows}
        return known[table]

    def keys(self, table: str, column: str) -> list[str]:
        """The keys that the first rows have in a column, if it is a map of texts."""
        if not self.columns(table).get(column, "").startswith("MAP(VARCHAR"):
            return []
        known = self._keys
        if (table, column) not in known:
            some = f"SELECT {quoted(column)} AS m FROM {quoted(table)} LIMIT {_LOOKED_AT_ROWS}"  # noqa: S608 - quoted
            rows = self._rows(f"SELECT DISTINCT unnest(map_keys(m)) AS k FROM ({some}) ORDER BY 1")  # noqa: S608 - quoted
            known[table, column] = [row["k"] for row in rows if row["k"].isprintable()]
        return known[table, column]

    def words(self) -> list[str]:
        """DuckDB's keywords, and its functions that have names."""
        if not self._words:
            import duckdb

            with duckdb.connect(":memory:") as connection:
                keywords = connection.execute("SELECT upper(keyword_name) FROM duckdb_keywords() ORDER BY 1").fetchall()
                functions = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions() ORDER BY 1").fetchall()
            named = [f"{name}(" for (name,) in functions if _PLAIN.fullmatch(name) and not name.startswith("__")]
            self._words = [*(word for (word,) in keywords), *named]
        return self._words

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        from headrace.jobs.sql.session import Session

        if self._session is None:
            self._session = Session.open(self._root)
        with self._session.ask(sql) as reader:
            rows: list[dict[str, Any]] = reader.read_all().to_pylist()
            return rows
