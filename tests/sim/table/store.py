"""A store in memory with a clock of its own, which forgets at a power cut what was not synced. Passes the store's contract."""

import io
import random
from dataclasses import dataclass
from io import BufferedReader

from headrace.errors import CorruptError
from headrace.sinks.table.store import Entry, NewFile, Put


@dataclass
class _File:
    data: bytes
    changed_ms: int
    durable: bool


class SimStore:
    """One table's directory."""

    stages = True

    def __init__(self) -> None:
        self.files: dict[str, _File] = {}
        self.clock_ms = 1_700_000_000_000

    def list(self, directory: str, *, after: str = "", recursive: bool = False) -> tuple[Entry, ...]:
        found = []
        for path, file in self.files.items():
            name = path.removeprefix(directory + "/") if directory else path
            if (name != path or not directory) and name > after and (recursive or "/" not in name):
                found.append(Entry(name, len(file.data), file.changed_ms))
        return tuple(sorted(found, key=lambda entry: entry.name))

    def get(self, paths: tuple[str, ...]) -> tuple[bytes | None, ...]:
        return tuple(self.files[path].data if path in self.files else None for path in paths)

    def put_if_absent(self, path: str, data: bytes) -> Put:
        answer = self.begin_put(path, data)
        if answer is Put.CREATED:
            self.sync_log(path.rpartition("/")[0])
        return answer

    def begin_put(self, path: str, data: bytes) -> Put:
        """The first half of a put: visible, not yet durable."""
        if path in self.files:
            return Put.EXISTS
        self.files[path] = _File(data, self.clock_ms, durable=False)
        return Put.CREATED

    def write(self, path: str, data: bytes) -> None:
        """A data file, written and synced."""
        assert path not in self.files, f"{path} is overwritten"
        self.files[path] = _File(data, self.clock_ms, durable=True)

    def move(self, source: str, target: str) -> None:
        if source == target or source not in self.files:
            return
        if target in self.files:
            raise CorruptError(f"{target} exists and is not {source}")
        file = self.files.pop(source)
        self.files[target] = _File(file.data, self.clock_ms, file.durable)

    def delete(self, path: str) -> None:
        self.files.pop(path, None)

    def sync_log(self, directory: str) -> None:
        for path, file in self.files.items():
            if path.rpartition("/")[0] == directory:
                file.durable = True

    def now_ms(self) -> int:
        return self.clock_ms

    def create(self, path: str) -> NewFile:
        assert path not in self.files, f"{path} is overwritten"
        return _NewFile(self, path)

    def open(self, path: str) -> BufferedReader:
        if path not in self.files:
            raise FileNotFoundError(path)
        return BufferedReader(io.BytesIO(self.files[path].data))  # type: ignore[arg-type]

    def sizes(self, paths: tuple[str, ...]) -> tuple[int | None, ...]:
        return tuple(len(self.files[path].data) if path in self.files else None for path in paths)

    @property
    def has_unsynced(self) -> bool:
        return any(not file.durable for file in self.files.values())

    def cut_power(self, rng: random.Random) -> None:
        """Names that were not synced are kept up to some point in each directory, in the order in which they were made."""
        lost: set[str] = set()
        for path, file in list(self.files.items()):
            directory = path.rpartition("/")[0]
            if not file.durable and (directory in lost or rng.random() < 0.5):
                lost.add(directory)
                del self.files[path]
            else:
                file.durable = True


class _NewFile:
    """Held in memory until it is finished."""

    def __init__(self, store: SimStore, path: str) -> None:
        self._store, self._path, self._data = store, path, bytearray()

    def write(self, data: bytes | memoryview) -> int:
        self._data += data
        return len(data)

    def finish(self) -> None:
        self._store.write(self._path, bytes(self._data))

    def discard(self) -> None:
        """Nothing was kept."""
