"""DuckDB's work beside the main thread, which stays free for Ctrl-C; and its errors as ours."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Final, TypeVar

from headrace.errors import HeadraceError, StorageError, UsageError
from headrace.jobs.output import escaped
from headrace.jobs.sql.views import SCHEME

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

T = TypeVar("T")
_NO_MEMORY: Final = "Out of Memory Error"
_NAMED: Final = re.compile(r'file "([^"]+)"')
_WALLED: Final = (
    "--unsafe writes neither to the tables nor directly into the folders above them: name a subfolder, or another folder"
)
_MISSING: Final = ("No files found that match the pattern", "No such file or directory")


class TakenOutError(StorageError):
    """A file that the log named when the statement began is not where it was."""


BATCH_ROWS: Final = 10_000
_SIGNALS_EVERY_S: Final = 0.1


def run(connection: "duckdb.DuckDBPyConnection", work: Callable[[], T]) -> T:
    """Do something that DuckDB takes long for; Ctrl-C interrupts it, and waits until it has ended.

    Python handles signals in its main thread, between two steps of its own: that thread must not sit in DuckDB. It waits for an
    event: a `Thread.join` with a timeout that Ctrl-C breaks off takes the thread for one that has ended (CPython, bpo-45274).
    """
    if current_thread() is not main_thread():
        return work()
    results: list[T] = []
    errors: list[BaseException] = []
    is_done = Event()

    def worker() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
            errors.append(error)
        finally:
            is_done.set()

    try:
        Thread(target=worker, name="duckdb", daemon=True).start()
        while not is_done.wait(_SIGNALS_EVERY_S):
            pass
    except KeyboardInterrupt:
        connection.interrupt()
        while not is_done.wait(_SIGNALS_EVERY_S):
            connection.interrupt()  # the one before may have come between two statements
        raise
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def answer(connection: "duckdb.DuckDBPyConnection", sql: str, name_all: Callable[[], None]) -> Iterator["pa.RecordBatchReader"]:
    """The answer of a statement, after its first batch computed as it is read; DuckDB lets go of it afterwards, read or not.

    Args:
        name_all: lets a SELECT's tables have all their files. DuckDB looks for each file that it names when it binds one, and
            binds twice: for the columns, and to run it.
    """
    import pyarrow as pa

    begun: list[pa.RecordBatchReader] = []  # one that Ctrl-C came too late for, too

    def begin() -> None:
        relation = connection.sql(sql)
        name_all()
        begun.append(relation.to_arrow_reader(BATCH_ROWS))

    def following() -> pa.RecordBatch | None:
        return run(connection, lambda: next(begun[0], None))

    def batches() -> Iterator[pa.RecordBatch]:
        batch = first
        while batch is not None:
            yield batch
            batch = following()

    try:
        run(connection, begin)
        first = following()
        yield pa.RecordBatchReader.from_batches(begun[0].schema, batches())
    finally:
        for reader in begun:
            reader.close()


@contextmanager
def errors_of_sql(root: Path, url: str, *, memory: str, unsafe: bool) -> Iterator[None]:
    """DuckDB's errors as ours, in one line: the user's SQL is a usage error; what names a file of `root` is the disk's fault.

    So is an error of no kind: the Parquet reader raises these for bytes that it cannot make out.

    Args:
        memory: what statements may take, for people. unsafe: SQL may name other files, too.
    """
    import duckdb

    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except RuntimeError as error:
        if "interrupted" in str(error).lower():
            raise KeyboardInterrupt from None
        raise
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        raise _of_memory(error, memory) from error
    except OSError as error:
        if _NO_MEMORY in str(error):  # Arrow's reader knows no other kind
            raise _of_memory(error, memory) from error
        raise
    except duckdb.Error as error:
        said = f"SQL: {one_line(error)}"
        if isinstance(error, duckdb.InternalException | duckdb.FatalException):
            raise HeadraceError(said) from error
        raise (_of_files(error, said, str(root), url, unsafe=unsafe) or UsageError(said)) from error


def _of_files(error: "duckdb.Error", said: str, root: str, url: str, *, unsafe: bool) -> StorageError | None:
    """What an error says of a file; None: nothing."""
    import duckdb

    is_io = isinstance(error, duckdb.IOException)
    is_ours = type(error) is duckdb.Error or any(place in said for place in (root, f"{url}/", f"{SCHEME}://"))
    if is_io and "Permission denied" in said:
        do = _WALLED if unsafe and _is_walled(said, Path(root)) else "let this user open it"
        return StorageError(f"{said}; {do}")
    if is_ours and any(missing in said for missing in _MISSING):
        return TakenOutError(f"{said}; it was taken out meanwhile, or is lost: ask again, and then run: headrace check {url}")
    if is_ours:
        return StorageError(f"{said}; verify the tables: headrace check --deep {url}")
    return StorageError(said) if is_io else None


def _is_walled(said: str, root: Path) -> bool:
    """Whether the file that an error names may not be written for Landlock alone, which `access` knows nothing of."""
    named = _NAMED.search(said)
    if named is None:
        return False
    file, tables = Path(named[1]).absolute(), root.resolve()
    folder = file.parent.resolve()
    is_kept = folder.is_relative_to(tables) or tables.is_relative_to(folder)
    return is_kept and os.access(file if file.exists() else folder, os.W_OK)


def _of_memory(error: BaseException, memory: str) -> HeadraceError:
    said = one_line(error).partition(" Possible solutions")[0].removeprefix(f"{_NO_MEMORY}: ")  # the user may SET nothing
    why = f" ({said})" if said else ""
    return HeadraceError(
        f"the statement needs more than --memory {memory}: give it more, or fewer --threads, or ask for less{why}"
    )


def one_line(error: BaseException) -> str:
    """DuckDB's message without the drawing of the statement below it."""
    said = str(error).split("\n\nLINE ")[0]
    return escaped(" ".join(said.split()))
