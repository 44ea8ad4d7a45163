"""What a Parquet file's own metadata say of how it was written."""

from pathlib import Path

import pyarrow.parquet as pq


def parquet_settings(file: Path) -> tuple[set[str], bool, bool, int]:
    """The codecs of its pages, whether a column has a dictionary, or statistics, and the most rows of a row group."""
    metadata = pq.ParquetFile(file).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    return (
        {column.compression for column in columns},
        any(column.has_dictionary_page for column in columns),
        any(column.is_stats_set for column in columns),
        max(group.num_rows for group in groups),
    )
