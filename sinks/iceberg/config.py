"""The keys of the Iceberg projection: `load.iceberg` of the loader's configuration."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from headrace.config import Section
from headrace.sinks.measures import Duration, Patterns

_CATALOG_TYPES = ("rest", "sql", "hive", "glue", "dynamodb", "bigquery")  # pyiceberg's


class Iceberg(Section):
    """Which Iceberg tables show the landed ones, in which catalog."""

    catalog: dict[str, Any] = Field(
        default={},
        description="properties of pyiceberg's catalog, by its own names: type, uri, warehouse, credential, s3.endpoint …; "
        "without any, those of its own configuration for the catalog's name, else SQLite in ROOT/_iceberg",
    )
    name: str = Field(
        default="headrace", min_length=1, description="the catalog's name, in pyiceberg's configuration and SQL catalogs"
    )
    namespace: str = Field(default="landed", min_length=1, description="the namespace of the tables, made if it is not there")
    topics: Patterns = Field(default=(".*",), description="regular expressions of whole names of tables that are shown")
    interval: Duration = Field(
        default="1m", validate_default=True, description="between two commits to one Iceberg table, at least"
    )
    keep: Duration = Field(default="24h", validate_default=True, description="how long snapshots of Iceberg tables are kept")

    @field_validator("catalog")
    @classmethod
    def _are_texts(cls, catalog: dict[str, Any]) -> dict[str, str]:
        texts = {str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in catalog.items()}
        if texts.get("type") == "in-memory":
            raise ValueError("a catalog in memory ends with this process; choose another type")
        if "type" in texts and texts["type"] not in _CATALOG_TYPES:
            raise ValueError(f"type {texts['type']} is none of {', '.join(_CATALOG_TYPES)}")
        return texts

    def shows(self, topic: str) -> bool:
        """Whether a table is shown; those of internal topics are not."""
        return not topic.startswith("_") and any(re.fullmatch(pattern, topic) for pattern in self.topics)

    @property
    def properties(self) -> Mapping[str, str]:
        return self.catalog
