"""How what a pipeline yields comes back to the driver, whichever runner it ran on: as one file on a store that both reach.

The elements are gathered under one key and written as JSON lines, by a name that nobody used before. A runner that repeats a
bundle may write several such files; each is whole, and the driver takes any of them. There always is one, because a first line
is gathered with the elements, so that none means that driver and workers do not look at the same place.
"""

import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindows

from headrace.errors import StorageError
from headrace.sinks.stores.roots import open_root
from headrace.sinks.table import names

_BEGIN: Final = b""
_SUFFIX: Final = ".jsonl"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A directory for one run's results: in staging of a table, whose sweeper takes what a driver that died has left."""

    root: str
    table: str
    run: str

    @classmethod
    def below(cls, root: Path | str, table: str) -> "Exchange":
        return cls(str(root), table, uuid.uuid4().hex)

    @property
    def directory(self) -> str:
        return f"{names.STAGING}/results/{self.run}"

    def read(self) -> list[Any]:
        """What was gathered.

        Raises:
            StorageError: it is not there, or cannot be read.
        """
        root = open_root(self.root)
        store = root.table(self.table)
        paths = [f"{self.directory}/{entry.name}" for entry in store.list(self.directory, after="", recursive=False)]
        whole = [path for path in paths if path.endswith(_SUFFIX)]
        data = store.get(tuple(whole[:1]))
        for path in paths:
            store.delete(path)
        if not data or data[0] is None:
            where = root.location(self.table, self.directory)
            raise StorageError(f"{where}: the workers' results are not there; let workers and driver share that place")
        return [json.loads(line) for line in data[0].splitlines() if line]


class Gather(beam.PTransform[Any, Any]):
    """Writes a collection of values that JSON can say to an exchange: the end of a pipeline."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def expand(self, leaf: PCollection[Any]) -> PCollection[Any]:
        begin = leaf.pipeline | "Begin" >> beam.Create([("", _BEGIN)])
        if leaf.windowing.windowfn != GlobalWindows():
            leaf = leaf | "Unwindow" >> beam.WindowInto(GlobalWindows())
        encoded = leaf | "Encode" >> beam.Map(_encoded)
        gathered = (encoded, begin) | beam.Flatten() | beam.GroupByKey()
        written: PCollection[Any] = gathered | "Write" >> beam.Map(_write, self._exchange)
        return written


def _encoded(element: Any) -> tuple[str, bytes]:
    return "", json.dumps(element).encode()


def _write(gathered: tuple[str, Iterable[bytes]], exchange: Exchange) -> str:
    path = f"{exchange.directory}/{uuid.uuid4().hex}{_SUFFIX}"
    file = open_root(exchange.root).table(exchange.table).create(path)
    try:
        file.write(b"\n".join(sorted(gathered[1])))
        file.finish()
    finally:
        file.discard()
    return path
