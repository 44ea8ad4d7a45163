"""How an Iceberg table's columns and partitions take in files that have others (docs/adr/0036)."""

import logging
from collections.abc import Iterable, Sequence, Set
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table import Transaction

from headrace.errors import StorageError
from headrace.sinks.iceberg import data_files, schema

logger = logging.getLogger(__name__)

NAME_MAPPING: Final = "schema.name-mapping.default"


def fit(
    transaction: Transaction, name: str, files: Iterable[tuple[str, pq.FileMetaData]], *, said: Sequence[str], is_new: bool
) -> None:
    """Let the table's columns and partitions take in files with these paths and footers.

    Args:
        said: columns that only the files' directories say.
    Raises:
        StorageError: a column of another kind; the table stays as it was.
    """
    metadata = transaction.table_metadata
    now = data_files.partitioning_of(metadata.spec(), metadata.schema())
    candidates = data_files.every_partitioning(said) if is_new else data_files.coarser(now) if now else ()
    columns: list[pa.Schema] = []
    for path, footer in files:
        candidates = data_files.fitting(path, footer, candidates)
        arrow = footer.schema.to_arrow_schema()
        if not any(arrow.equals(known) for known in columns):
            columns.append(arrow)
    _take_in(transaction, name, columns)
    wanted = next(iter(candidates), None)
    if wanted == now and (now or not metadata.spec().fields):
        return
    with transaction.update_spec() as spec:
        for field in metadata.spec().fields:
            spec.remove_field(field.name)
        if wanted:
            spec.add_field(wanted.column, wanted.transform, wanted.name)


def _take_in(transaction: Transaction, name: str, columns: Iterable[pa.Schema]) -> None:
    for arrow in columns:
        shown = schema.shown_schema(arrow)
        if unlike := schema.unlike(shown, transaction.table_metadata.schema()):
            remedy = "where it has been landed anew with others, `headrace iceberg drop` it, and the next sync makes it anew"
            raise StorageError(f"iceberg table {name}: files have columns of another kind: {', '.join(unlike)}; {remedy}")
        with transaction.update_schema() as update:
            update.union_by_name(shown)
    _map_names(transaction, name, {path for arrow in columns for path in schema.left_out(arrow)})


def _map_names(transaction: Transaction, name: str, left_out: Set[schema.Path]) -> None:
    metadata = transaction.table_metadata
    known = schema.hidden_columns(metadata.name_mapping())
    if new := {".".join(path) for path in left_out - known if path[:-1] not in left_out}:
        logger.warning("iceberg has no type for columns, which are left out: %s", ", ".join(sorted(new)), extra={"table": name})
    mapping = schema.name_mapping(metadata.schema(), known | left_out)
    if metadata.properties.get(NAME_MAPPING) != mapping:
        transaction.set_properties({NAME_MAPPING: mapping})
