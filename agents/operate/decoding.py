"""Reads records of ours as people see them."""

import json
from functools import lru_cache
from io import BytesIO
from typing import Any, cast

import fastavro

from headrace.schemas.framing import HEADER_LENGTH


@lru_cache(maxsize=64)
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(json.loads(schema))


def decoded(value: bytes, schema: str) -> dict[str, Any]:
    """What a record's value holds, by its schema (Avro, as JSON)."""
    return cast("dict[str, Any]", fastavro.schemaless_reader(BytesIO(value[HEADER_LENGTH:]), _parsed(schema), None))
