"""Values of any reader in one plain form, so that they compare.

It needs nothing but the standard library, because Spark's and DuckDB's Pythons load it too.
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def plain(value: Any) -> Any:
    """What JSON carries. An instant and a local time are alike, as Spark tells no difference; so are an empty list and map."""
    match value:
        case bytes() | bytearray() | memoryview():
            return {"bytes": bytes(value).hex()}
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
        case UUID():
            return str(value)
        case Decimal():
            return {"decimal": f"{value:f}"}
        case datetime():
            return {"time": (value.astimezone(UTC) if value.tzinfo else value).replace(tzinfo=None).isoformat()}
        case date() | time():
            return {"time": value.isoformat()}
        case Mapping():
            return _object(value.items())
    if hasattr(value, "asDict"):  # a row of Spark's
        return _object(value.asDict().items())
    items = list(value)
    if items and all(isinstance(item, tuple) and not hasattr(item, "asDict") and len(item) == 2 for item in items):
        return _object(items)  # pyarrow's map
    if items and all(isinstance(item, dict) and item.keys() == {"key", "value"} for item in items):
        return _object((item["key"], item["value"]) for item in items)  # polars' map
    return [plain(item) for item in items]


def _object(pairs: Any) -> Any:
    return {str(key): plain(value) for key, value in pairs} or []
