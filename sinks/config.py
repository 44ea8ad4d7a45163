"""The loader's configuration (interfaces.md, Configuration)."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from headrace.config import Section
from headrace.config_values import KafkaKeys
from headrace.http_keys import PartHttpKeys
from headrace.schemas.registry_keys import RegistryKeys
from headrace.sinks.iceberg.config import Iceberg
from headrace.sinks.measures import Duration, Patterns, Size
from headrace.sinks.path_template import DEFAULT_PATH, parse_path, path_keys, zone
from headrace.sinks.shape import Shape
from headrace.sinks.stores.roots import SCHEMES, scheme_of


class Rotate(Section):
    """When a file closes, and with it the commit of all that was read: whichever comes first."""

    bytes: Size = Field(default="128MiB", validate_default=True, description="size of an hour's file at which it closes")
    age: Duration = Field(
        default="10m", validate_default=True, description="time since its first row; after half an hour it closes in any case"
    )
    rows: int = Field(default=1_000_000, gt=0, description="rows of an hour's file at which it closes")


FormatName = Literal["parquet", "avro", "json"]


class ParquetKeys(Section):
    """Parquet files."""

    compression: Literal["zstd", "snappy", "gzip", "none"] = Field(default="zstd", description="of the pages")
    compression_level: int = Field(
        default=1, ge=1, le=19, description="of zstd: 3 makes log lines 4 % smaller and takes half as long again"
    )
    dictionary: bool = Field(default=True, description="whether repeated values of a column are written once")
    statistics: bool = Field(default=True, description="whether row groups have the bounds of columns (never of floats)")
    row_group_rows: int = Field(
        default=1_000_000, gt=0, description="most rows of a row group; fewer let readers skip more, and cost bytes"
    )


class AvroKeys(Section):
    """Avro object container files."""

    codec: Literal["deflate", "zstandard", "null"] = Field(
        default="deflate", description="of the blocks; every reader knows deflate, zstandard is faster and smaller"
    )


class JsonKeys(Section):
    """Newline-delimited JSON."""

    compression_level: int = Field(default=1, ge=1, le=19, description="of zstd")


Keep = tuple[Literal["key", "key_fields", "headers", "tombstones"], ...]
Incompatible = Literal["quarantine", "columns"]


class LayoutKeys(Section):
    """Which directory of its table a row lies in."""

    by: str = Field(
        default="event_time",
        min_length=1,
        description="`event_time`, `read_time` (Kafka's timestamp) or a column: a timestamp, date, ISO 8601 text or ms since "
        "1970; where it says no time, the event time counts",
    )
    time_zone: str = Field(default="UTC", description="of the hours and days, as Europe/Zurich")
    path: str = Field(
        default=DEFAULT_PATH,
        description="a template of {date} or {year}, {month} and {day}, of {hour} unless a directory is a day, and of columns, "
        "as service={service}",
    )

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, time_zone: str) -> str:
        zone(time_zone)
        return time_zone

    @field_validator("path")
    @classmethod
    def _is_safe(cls, path: str) -> str:
        parse_path(path)
        return path


class Output(Section):
    """How records become rows, and rows files."""

    format: FormatName = Field(default="parquet", description="of the files; `json` is newline-delimited, in zstd")
    parquet: ParquetKeys = ParquetKeys()
    avro: AvroKeys = AvroKeys()
    json_lines: JsonKeys = JsonKeys()
    layout: LayoutKeys = LayoutKeys()
    rotate: Rotate = Rotate()
    keep: Keep = Field(
        default=(),
        description="what lands of records with a schema beside their values: `key` and `headers` in `_key`, `_headers`;"
        " `key_fields`: also, of any topic, what the key holds by its own schema, in `_key_fields`; `tombstones`: records"
        " without value, told by `_tombstone`, which are quarantined otherwise",
    )
    incompatible: Incompatible = Field(
        default="quarantine",
        description="what becomes of records whose columns do not go with the table's: they are quarantined, or the column"
        " lands under another name, `<name>__2`",
    )

    @property
    def shape(self) -> Shape:
        return Shape(
            key="key" in self.keep or "key_fields" in self.keep,
            key_fields="key_fields" in self.keep,
            headers="headers" in self.keep,
            tombstones="tombstones" in self.keep,
            aside=self.incompatible == "columns",
            path_keys=path_keys(self.layout.path) - {self.layout.by},
        )


class TopicOutput(Section):
    """What is different for some topics; keys that are not given are those of `load`."""

    topics: Patterns = Field(description="regular expressions of whole names")
    format: FormatName | None = Field(None, description="as load.format")
    parquet: ParquetKeys | None = Field(None, description="as load.parquet")
    avro: AvroKeys | None = Field(None, description="as load.avro")
    json_lines: JsonKeys | None = Field(None, description="as load.json_lines")
    layout: LayoutKeys | None = Field(None, description="as load.layout")
    rotate: Rotate | None = Field(None, description="as load.rotate")
    keep: Keep | None = Field(None, description="as load.keep")
    incompatible: Incompatible | None = Field(None, description="as load.incompatible")


class Load(PartHttpKeys, Output):
    """What lands, and where."""

    root: str = Field(min_length=1, description="the directory of the tables: a path, or a URL (docs/stores.md)")
    topics: Patterns = Field(
        (".*",), description="regular expressions of whole names; of those with `_` at their start only `_audit` lands, always"
    )
    per_topic: tuple[TopicOutput, ...] = Field((), description="exceptions; the first whose `topics` match a topic is taken")
    group: str | None = Field(
        None,
        min_length=1,
        description="consumer group in which the loaders of this root share partitions; default: `headrace-load-` and a hash of"
        " `root`. Two roots must not name the same",
    )
    iceberg: Iceberg | None = Field(None, description="Iceberg tables that show the landed ones; `{}` for all, beside them")

    def output_of(self, topic: str) -> Output:
        """How the rows of a topic become files."""
        given: dict[str, Any] = self.model_dump(include=set(Output.model_fields))
        for exception in self.per_topic:
            if any(re.fullmatch(pattern, topic) for pattern in exception.topics):
                own = exception.model_dump(exclude_unset=True, exclude={"topics"})
                given = {key: _merged(value, own.get(key)) for key, value in given.items()}
                break
        return Output.model_validate(given)

    spool: str | None = Field(
        None,
        description="a local directory with room for the files of one commit, where they are written before they go to a store "
        "elsewhere; default: the system's for temporary files",
    )

    @field_validator("root")
    @classmethod
    def _is_known(cls, root: str) -> str:
        if scheme_of(root) not in SCHEMES:
            raise ValueError(f"no store is known by such a URL; give a path, or a URL with {', '.join(SCHEMES)}")
        return root


def _merged(whole: Any, own: Any) -> Any:
    if own is None:
        return whole
    return {**whole, **own} if isinstance(own, dict) else own


class LoadConfig(Section):
    """One `headrace load`."""

    load: Load
    kafka: KafkaKeys = Field(description="librdkafka's keys; bootstrap.servers is needed")
    registry: RegistryKeys | None = Field(
        None, description="URL of a Confluent-compatible schema registry; without one no topic is Avro"
    )
