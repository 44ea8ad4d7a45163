"""A landed file as an Iceberg data file: counts and sizes from our record, statistics and the partition from its footer.

A file lies in one hour's directory, so the hour of its first event time is the hour of all; that is read from the statistics of
the column itself, never from the path. Rows without an event time lie in the hour in which they were written: a file with one
has no partition value, and a table with such a file goes on without partitions, pruned by statistics.

A table that jobs write is partitioned by what its directories say, `dt=2026-11-26`: a column that no file has, whose value
readers take from the partition (Iceberg's spec, Column Projection).
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    DataFileStatistics,
    MetricModeTypes,
    MetricsMode,
    StatisticsCollector,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import DayTransform, HourTransform, IdentityTransform, Transform
from pyiceberg.typedef import Record
from pyiceberg.types import StringType

from headrace.sinks.iceberg.schema import paths_in_files
from headrace.sinks.table.record import DataFile

EVENT_TIMES: Final = ("event_time", "_timestamp")
"""Columns whose hour a file's directory is, the first that a table has."""
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SECONDS: Final = {"hour": 3_600, "day": 86_400}
WHOLE: Final = "whole"
_TRANSFORMS: Final[Mapping[str, Transform[Any, Any]]] = {
    "hour": HourTransform(),
    "day": DayTransform(),
    WHOLE: IdentityTransform(),
}
_MOST: Final = 1 << 31
_NO_COLUMN: Final = -1


@dataclass(frozen=True, slots=True)
class Partitioning:
    """By which column's hour or day files are told apart, or (`unit` is WHOLE) by a column that their directories say."""

    column: str
    unit: str

    def value(self, path: str, footer: pq.FileMetaData) -> int | str | None:
        """Hours or days since the epoch of all rows of a file, or what its directory says; None if there is no telling."""
        if self.unit == WHOLE:
            return keys_of(path).get(self.column)
        bounds = _bounds_s(footer, self.column)
        if bounds is None:
            return None
        first, last = (second // _SECONDS[self.unit] for second in bounds)
        return first if first == last and abs(first) < _MOST else None

    @property
    def transform(self) -> Transform[Any, Any]:
        return _TRANSFORMS[self.unit]

    @property
    def name(self) -> str:
        return self.column if self.unit == WHOLE else f"{self.column}_{self.unit}"


def keys_of(path: str) -> dict[str, str]:
    """What the directories of a file say, as `dt=2026-11-26`."""
    return dict(part.split("=", 1) for part in path.split("/")[:-1] if "=" in part)


def fitting(path: str, footer: pq.FileMetaData, candidates: Iterable[Partitioning]) -> tuple[Partitioning, ...]:
    """Those partitionings that give a file one value."""
    return tuple(one for one in candidates if one.value(path, footer) is not None)


def every_partitioning(said: Iterable[str]) -> tuple[Partitioning, ...]:
    """What a new table may be partitioned by, best first; `said`: columns that only directories say."""
    return tuple(Partitioning(column, WHOLE) for column in said) or tuple(
        Partitioning(column, unit) for unit in _SECONDS for column in EVENT_TIMES
    )


def partitioning_of(spec: PartitionSpec, schema: Schema) -> Partitioning | None:
    """How a table is partitioned; None if not at all, or in a way that is not ours."""
    if len(spec.fields) != 1:
        return None
    (field,) = spec.fields
    units = [unit for unit, kind in _TRANSFORMS.items() if isinstance(field.transform, type(kind))]
    column = schema.find_column_name(field.source_id)
    return Partitioning(column, units[0]) if units and column else None


def coarser(one: Partitioning) -> tuple[Partitioning, ...]:
    """A partitioning and what it may become when a file does not fit: hours can become days, and both can end."""
    if one.unit == WHOLE:
        return (one,)
    units = list(_SECONDS)
    return tuple(Partitioning(one.column, unit) for unit in units[units.index(one.unit) :])


def _bounds_s(footer: pq.FileMetaData, name: str) -> tuple[int, int] | None:
    """Whole seconds since the epoch of a time column's first and last value; None if a row lacks it, or there is no telling."""
    schema = footer.schema.to_arrow_schema()
    index = schema.get_field_index(name)
    if index < 0 or not pa.types.is_timestamp(schema.field(index).type) or not footer.num_row_groups:
        return None
    per_second = _PER_SECOND[schema.field(index).type.unit]
    (position,) = [n for n in range(footer.num_columns) if footer.schema.column(n).path == name]
    found: list[int] = []
    for group in range(footer.num_row_groups):
        statistics = footer.row_group(group).column(position).statistics
        if statistics is None or not statistics.has_min_max or not statistics.has_null_count or statistics.null_count:
            return None
        found += [statistics.min_raw // per_second, statistics.max_raw // per_second]
    return min(found), max(found)


def iceberg_file(url: str, file: DataFile, footer: pq.FileMetaData, table: TableMetadata) -> IcebergFile:
    """A file of ours under the table's current schema and partitioning, which it is known to fit."""
    schema, spec = table.schema(), table.spec()
    partitioning = partitioning_of(spec, schema)
    return IcebergFile.from_args(
        content=DataFileContent.DATA,
        file_path=url,
        file_format=FileFormat.PARQUET,
        partition=Record() if partitioning is None else Record(partitioning.value(file.path, footer)),
        file_size_in_bytes=file.bytes,
        sort_order_id=None,
        spec_id=spec.spec_id,
        equality_ids=None,
        key_metadata=None,
        **_statistics(footer, schema, table.properties).to_serialized_dict(),
    )


def _statistics(footer: pq.FileMetaData, schema: Schema, properties: dict[str, str]) -> DataFileStatistics:
    """Counts, sizes and bounds of the columns; without bounds where a value is one that Python's calendar does not know."""
    columns = paths_in_files(parquet_path_to_id_mapping(schema))
    for position in range(footer.num_columns):
        columns.setdefault(footer.schema.column(position).path, _NO_COLUMN)
    plan = compute_statistics_plan(schema, properties)
    untold = MetricsMode(MetricModeTypes.NONE)
    plan[_NO_COLUMN] = StatisticsCollector(_NO_COLUMN, StringType(), untold, "")
    for group, position in itertools.product(range(footer.num_row_groups), range(footer.num_columns)):
        column = footer.row_group(group).column(position)
        if not column.is_stats_set:
            key = columns[column.path_in_schema]
            plan[key] = replace(plan[key], mode=untold)
    try:
        statistics = data_file_statistics_from_parquet_metadata(footer, plan, columns)
    except (ValueError, OverflowError):
        counts = MetricsMode(MetricModeTypes.COUNTS)
        plan = {key: one if one.mode.type is MetricModeTypes.NONE else replace(one, mode=counts) for key, one in plan.items()}
        statistics = data_file_statistics_from_parquet_metadata(footer, plan, columns)
    statistics.column_sizes.pop(_NO_COLUMN, None)
    return statistics
