"""What the table log asks of a store. No protocol lives here, only durable single steps.

The cores (commit.py, upkeep.py) are generators that yield the operations below, in the order in which they must be carried
out, and are sent the answers; `carry_out` does that on a Store. Paths are relative to the table's directory. The stores
themselves are in headrace.sinks.stores, and made from a root's URL by `stores.roots.open_root`.

Data files take no part in this. A writer asks the store for a new file, writes it, and closes it: before a record names it,
it is whole and durable under a name that no other file ever had or will have (`create`).
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from io import BufferedReader
from typing import Any, Protocol, TypeVar

from headrace.clock import Clock
from headrace.errors import StorageError, UndecidedError
from headrace.sinks.table import names

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A listed file: path relative to the listed directory, size, when it was written or moved (the store's clock, ms)."""

    name: str
    size_bytes: int
    changed_ms: int


class Put(Enum):
    """The answer to a conditional put. UNKNOWN: it may have happened, or may happen yet."""

    CREATED = "created"
    EXISTS = "exists"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class List:
    """Answer: tuple[Entry, …], by name; of files directly in `directory` (or anywhere below) with a name after `after`."""

    directory: str
    after: str = ""
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    """Answer: tuple[bytes | None, …], None for what is absent. One request, however many: stores fetch them together."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutIfAbsent:
    """Answer: Put."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Move:
    """Move each (source, target), if the source exists; never over another file. Answer: None."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete what exists of `paths`. Answer: None."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SyncLog:
    """Make durable whatever a reader of the log can see in `directory`. Answer: None."""

    directory: str


@dataclass(frozen=True, slots=True)
class Now:
    """Answer: MonotonicMs, of a clock that counts suspension."""


@dataclass(frozen=True, slots=True)
class StoreNow:
    """Answer: ms since the epoch by the clock that stamps the store's entries."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Answer: whether what was read still is what the topic holds (fingerprints, topic ids); asked of Kafka, not the store."""


Operation = List | Get | PutIfAbsent | Move | Delete | SyncLog | Now | StoreNow | Verify
Steps = Generator[Operation, Any, T]


class NewFile(Protocol):
    """A file on its way into a store. Nothing of it can be seen under its name, or be relied on, before `finish` returns."""

    def write(self, data: bytes | memoryview) -> int:
        """Append; how many bytes: all. Raises OSError: the disk failed or is full."""
        ...

    def finish(self) -> None:
        """Make it, and the names that lead to it, durable: from now on it survives whatever the store survives.

        Raises:
            StorageError: it did not come to that; `discard` it.
        """
        ...

    def discard(self) -> None:
        """Give it up. What of it cannot be deleted now is swept. Never raises; does nothing after `finish`."""
        ...


class Store(Protocol):
    """One table's directory on some store. All methods raise StorageError."""

    @property
    def stages(self) -> bool:
        """Whether a file is moved in one step, so that it waits in staging until its record is committed (see `landing`)."""
        ...

    def list(self, directory: str, *, after: str, recursive: bool) -> tuple[Entry, ...]: ...
    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]: ...

    def put_if_absent(self, path: str, data: bytes) -> Put:
        """Raises StorageError only where this put has not happened and never will."""
        ...

    def move(self, source: str, target: str) -> None:
        """Nothing, if there is no source, or it is the target. Raises CorruptError: another file is there."""
        ...

    def delete(self, path: str) -> None: ...
    def sync_log(self, directory: str) -> None: ...
    def now_ms(self) -> int: ...

    def create(self, path: str) -> NewFile:
        """A new file; `path` is a name that nobody has used before: nothing is ever overwritten."""
        ...

    def open(self, path: str) -> BufferedReader:
        """A file to read and to seek in. Raises FileNotFoundError: it is not there, or not any more."""
        ...

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        """The files' sizes in bytes, None for what is absent; fetched together."""
        ...


def missing(where: object, root: str = "") -> StorageError:
    """What to raise for a file that the log names and that is nowhere."""
    return StorageError(f"{where}: the log names this file, and it is missing; run: headrace check {root}".rstrip())


def landing(store: Store, path: str) -> str:
    """Where a data file that is to be at `path` is written first."""
    return names.staged(path) if store.stages else path


def _verified(operation: object) -> bool:
    assert isinstance(operation, Verify), f"{operation} is nothing that a store can do"
    return True


def carry_out(
    steps: Generator[Any, Any, T],
    store: Store,
    clock: Clock | None = None,
    others: Callable[[Any], Any] = _verified,
    is_stopping: Callable[[], bool] = lambda: False,
) -> T:
    """Run a core on a store until it returns.

    Args:
        clock: needed by cores that ask for Now (commits).
        others: answers Verify, and what else a core asks that is not the store's to do.
        is_stopping: whether a put that was not answered is left so, as by a crash, and not put for ever.
    Raises:
        UndecidedError: it is stopping, and a put was not answered.
    """
    answer: Any = None
    failed: Exception | None = None
    while True:
        try:
            operation = steps.send(answer) if failed is None else steps.throw(failed)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]  # the steps say which type
        failed = None
        try:
            answer = _answer(operation, store, clock, others)
            if answer is Put.UNKNOWN and isinstance(operation, PutIfAbsent) and is_stopping():
                raise UndecidedError(
                    f"{operation.path}: a put was not answered before the end; the next start sees what became of it"
                )
        except Exception as error:  # noqa: BLE001 - thrown on
            failed = error  # the core says what it means: it goes on through it, unless it is caught there


def _answer(operation: Any, store: Store, clock: Clock | None, others: Callable[[Any], Any]) -> Any:
    match operation:
        case List(directory, after, recursive):
            return store.list(directory, after=after, recursive=recursive)
        case Get(paths):
            return store.get(paths)
        case PutIfAbsent(path, data):
            return store.put_if_absent(path, data)
        case Move(pairs):
            for source, target in pairs:
                store.move(source, target)
        case Delete(paths):
            for path in paths:
                store.delete(path)
        case SyncLog(directory):
            store.sync_log(directory)
        case Now():
            assert clock is not None, "this core asks for the time"
            return clock.monotonic_ms()
        case StoreNow():
            return store.now_ms()
        case _:
            return others(operation)
    return None
