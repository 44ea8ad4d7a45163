"""Landed files of a store elsewhere, copied for the length of a statement: DuckDB without extensions opens local files only."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from headrace.errors import StorageError
from headrace.sinks.table.reader import LiveFile, open_live


def fetched(folder: Path, root: str, topic: str, files: Iterable[LiveFile]) -> list[LiveFile]:
    """The files, as copies below `folder`, which has them where a root on a local disk would.

    Raises:
        StorageError: a file cannot be read, or its copy not be written.
    """
    return [_copied(folder / topic / file.name, root, topic, file) for file in files]


def _copied(path: Path, root: str, topic: str, file: LiveFile) -> LiveFile:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_live(root, topic, file.name) as source, path.open("xb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    except OSError as error:
        raise StorageError(f"{file.path}: copied to {path} to be asked: {error.strerror or error}") from error
    return replace(file, path=str(path))
