"""Landed files of other formats as Parquet, for the length of a statement: DuckDB without extensions reads no Avro, and JSON
has no types. A copy has the place in its folder that the file has in its table, because DuckDB reads `dt=` and `hour=` there.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from headrace.errors import StorageError
from headrace.sinks.table.reader import LiveFile


def as_parquet(folder: Path, root: Path, topic: str, files: Iterable[LiveFile], *, url: str) -> list[LiveFile]:
    """The files, those that are not Parquet replaced by copies below `folder`.

    Args:
        root: whose path copies repeat; that of the tables, where these are on a local disk.
        url: where the tables are.
    Raises:
        StorageError: a file cannot be read, or its copy not be written.
    """
    table = folder / (root.absolute() / topic).relative_to("/")
    return [file if file.format == "parquet" else _copied(table, url, topic, file) for file in files]


def _copied(table: Path, root: str, topic: str, file: LiveFile) -> LiveFile:
    import pyarrow.parquet as pq

    from headrace.jobs.landed_rows import open_rows
    from headrace.sinks.formats.parquet import compared

    path = table / f"{file.name}.parquet"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_rows(root, topic, file) as landed:
            schema = landed.schema
            with pq.ParquetWriter(path, schema, compression="lz4", write_statistics=compared(schema)) as copy:
                for batch in landed.batches():
                    copy.write_batch(batch)
    except OSError as error:
        raise StorageError(
            f"{path}: {error.strerror or error}; {file.format} files are copied to Parquet to be asked"
        ) from error
    return replace(file, path=str(path))
